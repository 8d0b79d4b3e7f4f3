"""The command line: thin commands over `recipe`; everything heavy is imported inside them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from portrait_lora import __version__, errors, log

app = typer.Typer(
    name="portrait-lora",
    help="Photos of one person in; a LoRA and portraits whose likeness is measured out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
config_app = typer.Typer(help="Show the resolved configuration or its JSON Schema.", no_args_is_help=True)
app.add_typer(config_app, name="config")

Summary = Mapping[str, object]

FolderArg = Annotated[
    Path, typer.Argument(metavar="LIKENESS_DIR", help="folder with photos/ and likeness.yaml")
]
SetOpt = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="override one configuration value"),
]
JsonOpt = Annotated[bool, typer.Option("--json", help="print a machine-readable summary on stdout")]
ForceOpt = Annotated[bool, typer.Option("--force", help="do the stage again even when nothing has changed")]
SyntheticOpt = Annotated[
    bool,
    typer.Option(
        "--allow-synthetic-models", help="let the embedded synthetic models look at real photographs"
    ),
]


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="say more, and show tracebacks")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="print the version and leave"),
    ] = False,
) -> None:
    """Options of every command."""
    log.configure(verbose=verbose, quiet=quiet)


def _overrides(pairs: list[str] | None, allow_synthetic: bool = False) -> list[str]:
    return [*(pairs or []), *(["allow_synthetic_models=true"] if allow_synthetic else [])]


def _answer(summary: Summary, as_json: bool, lines: list[str], following: str) -> None:
    """The result on stdout: JSON for programs, or a few lines and the next command for people."""
    if as_json:
        typer.echo(json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False))
        return
    for line in lines:
        typer.echo(line)
    if following:
        typer.echo(f"\nNext: {following}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="folder to make the likeness in")] = Path("demo"),
    person_seed: Annotated[
        int, typer.Option("--person-seed", min=0, max=9999, help="which made-up person")
    ] = 7,
    settings: SetOpt = None,
    force: ForceOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """The whole journey for a made-up person, on the embedded models; nothing is downloaded."""
    from portrait_lora import recipe, summaries

    summary = recipe.demo(out, person_seed, overrides=_overrides(settings), force=force)
    _answer(summary, as_json, summaries.of_run(summary, out), f"open {out / 'reports' / 'drift.html'}")


@app.command()
def init(
    folder: FolderArg,
    photos: Annotated[Path, typer.Option("--photos", help="folder of 10-20 pictures of one person")],
    settings: SetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Make a likeness folder: copies the photos and writes likeness.yaml."""
    from portrait_lora import recipe

    summary = recipe.init(folder, photos, overrides=_overrides(settings))
    lines = [
        f"{summary['photos']} files copied to {folder / 'photos'}; settings in {folder / 'likeness.yaml'}"
    ]
    _answer(summary, as_json, lines, f"portrait-lora check {folder}")


@app.command()
def check(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="a likeness folder, or a folder of photos")
    ],
    settings: SetOpt = None,
    allow_synthetic: SyntheticOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Look at every photo: face, sharpness, sameness, angle and expression coverage."""
    from portrait_lora import recipe, summaries

    summary = recipe.check(folder, overrides=_overrides(settings, allow_synthetic))
    _answer(summary, as_json, summaries.of_check(summary), f"portrait-lora prepare {folder}")
    if not summary["enough"]:
        raise typer.Exit(errors.EXIT_PHOTOS)


@app.command()
def prepare(
    folder: FolderArg,
    settings: SetOpt = None,
    force: ForceOpt = False,
    allow_synthetic: SyntheticOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Hold photos out, crop and caption the others."""
    from portrait_lora import recipe, summaries

    summary = recipe.prepare(folder, overrides=_overrides(settings, allow_synthetic), force=force)
    _answer(summary, as_json, summaries.of_prepare(summary), f"portrait-lora train {folder}")


@app.command()
def train(
    folder: FolderArg,
    settings: SetOpt = None,
    force: ForceOpt = False,
    allow_synthetic: SyntheticOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Train the LoRA and choose its checkpoint on held-out photos."""
    from portrait_lora import recipe, summaries

    summary = recipe.train(folder, overrides=_overrides(settings, allow_synthetic), force=force)
    _answer(summary, as_json, summaries.of_train(summary), f"portrait-lora generate {folder}")


@app.command()
def generate(
    folder: FolderArg,
    settings: SetOpt = None,
    force: ForceOpt = False,
    allow_synthetic: SyntheticOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Make a series of portraits."""
    from portrait_lora import recipe, summaries

    summary = recipe.generate(folder, overrides=_overrides(settings, allow_synthetic), force=force)
    _answer(summary, as_json, summaries.of_generate(summary), f"portrait-lora score {folder}")


@app.command()
def score(
    folder: FolderArg,
    settings: SetOpt = None,
    force: ForceOpt = False,
    allow_synthetic: SyntheticOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Measure how much of the identity survived, prompt by prompt."""
    from portrait_lora import recipe, summaries

    summary = recipe.score(folder, overrides=_overrides(settings, allow_synthetic), force=force)
    report = folder / "reports" / "drift.html"
    _answer(summary, as_json, summaries.of_likeness(summary), f"open {report}")


@app.command()
def run(
    folder: FolderArg,
    settings: SetOpt = None,
    force: ForceOpt = False,
    allow_synthetic: SyntheticOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Everything: check, prepare, train, select, generate, score.  Done stages are skipped."""
    from portrait_lora import recipe, summaries

    summary = recipe.run(folder, overrides=_overrides(settings, allow_synthetic), force=force)
    _answer(summary, as_json, summaries.of_run(summary, folder), f"open {folder / 'reports' / 'drift.html'}")


@app.command()
def models(as_json: JsonOpt = False) -> None:
    """The base models this program knows, with their licence and needs."""
    from portrait_lora import summaries
    from portrait_lora.families import catalog

    rows = catalog.table()
    _answer(
        {"models": rows},
        as_json,
        summaries.of_models(rows),
        "portrait-lora init DIR --photos PHOTOS -s base=NAME",
    )


@config_app.command("show")
def config_show(
    folder: Annotated[Path | None, typer.Argument(metavar="[LIKENESS_DIR]")] = None, settings: SetOpt = None
) -> None:
    """Print the resolved configuration as YAML."""
    from portrait_lora import config

    file = None if folder is None else folder / config.FILE_NAME
    typer.echo(config.dump(config.load(file, _overrides(settings))), nl=False)


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON Schema of likeness.yaml."""
    from portrait_lora import config

    typer.echo(json.dumps(config.LikenessConfig.model_json_schema(), indent=2))


def _report(error: errors.PortraitError) -> int:
    typer.echo(f"Error: {error}", err=True)
    if "--json" in sys.argv:
        value = {
            "error": error.what,
            "where": error.where,
            "got": error.got,
            "needed": error.needed,
            "remedy": error.remedy,
            "exit_code": error.exit_code,
        }
        typer.echo(json.dumps(value, ensure_ascii=False))
    return error.exit_code


def main() -> None:
    """Run the command line and leave with one of the stable exit codes."""
    sys.exit(_run(app))


def _run(call: Callable[..., object]) -> int:
    from typer.exceptions import TyperException

    try:
        code = call(standalone_mode=False)
    except errors.PortraitError as error:
        return _report(error)
    except typer.Abort:
        return _interrupted()
    except TyperException as error:  # wrong use; typer's own errors know how to show themselves
        show = getattr(error, "show", None)
        show() if callable(show) else typer.echo(f"Error: {error}", err=True)
        return errors.EXIT_BAD_INPUT
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:
        if "--verbose" in sys.argv or "-v" in sys.argv:
            raise
        said = f"{type(error).__name__}: {error}"
        return _report(
            errors.PortraitError(f"something unforeseen failed ({said})", remedy="See it with --verbose.")
        )
    return code if isinstance(code, int) else errors.EXIT_DONE


def _interrupted() -> int:
    typer.echo("Interrupted. What was finished is saved; run the same command again to go on.", err=True)
    return errors.EXIT_INTERRUPTED


if __name__ == "__main__":
    main()
