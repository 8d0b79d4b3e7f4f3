"""Portraits: `generate`, `vary`, `fix`, `reproduce`, `sweep` and `prompts lint`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, cast

import typer

from portrait_lora import errors
from portrait_lora.commands.options import (
    PORTRAITS,
    FolderArg,
    ForceOpt,
    JsonOpt,
    SetOpt,
    Summary,
    SyntheticOpt,
    answer,
    collect_overrides,
    confirm,
    following,
)
from portrait_lora.commands.paths import need_file, need_likeness

FileArg = Annotated[Path, typer.Argument(metavar="FILE", help="a portrait made by this program")]
LikenessOpt = Annotated[
    Path | None, typer.Option("--likeness", help="its likeness folder (default: the one it lies in)")
]
ChangeOpt = Annotated[
    list[str] | None,
    typer.Option("--change", "-c", metavar="LAYER=WORDS", help="say one layer of the prompt differently"),
]


def generate(
    folder: FolderArg,
    series: Annotated[str, typer.Option("--series", help="a packaged series or a YAML file")] = "",
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", metavar="WORDS", help='your own, such as "as an astronaut"; repeatable'),
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option("--prompts", metavar="FILE", help="a text file with one prompt per line")
    ] = None,
    aspect: Annotated[str, typer.Option("--aspect", metavar="W:H", help="of pictures of your prompts")] = "",
    brand: Annotated[str, typer.Option("--brand", help="a brand sheet over every shot")] = "",
    best_of: Annotated[
        int | None, typer.Option("--best-of", min=1, max=64, help="candidates per picture; the best is kept")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="remarks of the linter are errors")] = False,
    price_per_hour: Annotated[
        float | None, typer.Option("--price-per-hour", min=0, help="of the machine: tells the cost")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask before a large series")] = False,
    settings: SetOpt = None,
    force: ForceOpt = False,
    allow_synthetic: SyntheticOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Make portraits: a series, or whatever your own prompts ask for."""
    need_likeness(folder)
    need_file(prompts, "file of prompts", "a text file with one prompt per line")
    from portrait_lora import recipe, summaries

    if prompt or prompts:
        from portrait_lora.stages.own_words import write_series

        if series:
            raise typer.BadParameter("give --series, or --prompt and --prompts")
        series = str(write_series(folder, prompt or [], prompts, aspect))
    elif aspect:
        raise typer.BadParameter("--aspect goes with --prompt or --prompts")

    own: dict[str, object] = {"series": series, "brand": brand, "best_of": best_of}
    own |= {"strict": strict or None, "price_per_hour": price_per_hour}
    own |= {"max_pictures": 10**9 if yes else None}
    overrides = collect_overrides(settings, allow_synthetic)
    overrides += [f"generate.{key}={value}" for key, value in own.items() if value not in ("", None)]
    summary = _asking(lambda more: recipe.generate(folder, overrides=[*overrides, *more], force=force))
    lines = [*summaries.of_generate(summary), *_series_lines(summary)]
    answer(summary, as_json, lines, following("score", folder, overrides))


def _asking(run: Callable[[Sequence[str]], Summary]) -> Summary:
    """Run with further overrides; a series that is too large is asked about on a terminal, else refused."""
    try:
        return run(())
    except errors.InputError as error:
        count = getattr(error, "count", None)
        if count is None or not sys.stdin.isatty():
            raise
        confirm(f"{error.what}. Go on?", "Stopped before the first portrait; what was there before is kept.")
        return run((f"generate.max_pictures={count}",))


def _series_lines(summary: Summary) -> list[str]:
    remarks, flawed = cast(list[str], summary.get("remarks", [])), summary.get("flawed")
    each, cost = summary.get("seconds_per_portrait"), summary.get("cost_per_portrait")
    lines = [f"the page, worst first: {summary['gallery']}"] if "gallery" in summary else []
    lines += [f"{flawed} portraits fail a check"] if flawed else []
    lines += [f"{each} s per portrait" + (f", cost {cost:g}" if cost is not None else "")] if each else []
    return lines + ([f"{len(remarks)} remarks on the prompts"] if remarks else [])


def vary(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a portrait, or a reference from elsewhere")],
    strength: Annotated[
        float, typer.Option("--strength", min=0.05, max=1.0, help="how much may change")
    ] = 0.5,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=64)] = 4,
    change: ChangeOpt = None,
    shot: Annotated[str, typer.Option("--shot", help="for a reference: which shot of the series")] = "",
    likeness: LikenessOpt = None,
    settings: SetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Variations of a portrait: same composition, controlled change."""
    need_file(file, "picture")
    from portrait_lora.tasks import edit as editing

    summary = editing.vary(
        file,
        likeness,
        collect_overrides(settings),
        strength=strength,
        count=count,
        changes=editing.layer_changes(change or []),
        shot=shot,
    )
    rows = cast(list[Summary], summary["made"])
    lines = [f"{row['file']}  similarity {row['similarity']}" for row in rows]
    answer(summary, as_json, lines, f"portrait-lora fix {rows[0]['file']} --region eyes")


def fix(
    file: FileArg,
    region: Annotated[str, typer.Option("--region", help="eyes, face, skin, hair or background")],
    strength: Annotated[float, typer.Option("--strength", min=0.05, max=1.0)] = 0.4,
    tries: Annotated[int, typer.Option("--tries", min=1, max=32, help="the best of so many is kept")] = 4,
    keep: Annotated[bool, typer.Option("--keep", help="keep the best even where the likeness falls")] = False,
    change: ChangeOpt = None,
    likeness: LikenessOpt = None,
    settings: SetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Draw one region again; the rest stays to the bit, and the likeness must not fall."""
    need_file(file, "picture")
    from portrait_lora.generation.regions import REGIONS, Region
    from portrait_lora.tasks import edit as editing

    if region not in REGIONS:
        raise errors.InputError("unknown region", where="--region", got=region, needed=", ".join(REGIONS))
    summary = editing.fix(
        file,
        likeness,
        collect_overrides(settings),
        region=cast(Region, region),
        strength=strength,
        tries=tries,
        changes=editing.layer_changes(change or []),
        keep=keep,
    )
    answer(summary, as_json, _fix_lines(summary), _after_fix(summary, file, region))
    if not summary["kept"]:
        raise typer.Exit(errors.EXIT_FAILED)


def _fix_lines(summary: Summary) -> list[str]:
    """What became of a fix, with the picture that was refused."""
    was, now = summary["similarity_before"], summary["similarity_after"]
    figures = f"(similarity {was} before, {now} after)"
    if summary["kept"]:
        fell = "; the likeness fell, kept as asked" if summary["likeness_fell"] else ""
        return [f"{summary['file']} {figures}{fell}"]
    if summary["refused"] is None:
        return [f"not kept: no face was found in any try {figures}"]
    return [f"not kept: the likeness fell {figures}", f"  look at it: {summary['refused']}"]


def _after_fix(summary: Summary, file: Path, region: str) -> str:
    if summary["kept"]:
        return shlex.join(["portrait-lora", "reproduce", str(summary["file"])])
    words = ["portrait-lora", "fix", str(file), "--region", region]
    return shlex.join([*words, "--keep"] if summary["refused"] else [*words, "--strength", "0.25"])


def reproduce(
    file: FileArg,
    source: Annotated[
        Path | None, typer.Option("--source", help="the reference that it was drawn over")
    ] = None,
    likeness: LikenessOpt = None,
    settings: SetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Make a portrait again from its recipe, and say whether it is the same to the bit."""
    need_file(file, "picture")
    need_file(source, "reference")
    from portrait_lora.tasks import edit as editing

    summary = editing.reproduce(file, likeness, source, collect_overrides(settings))
    changed = f"{summary['changed_pixels']} pixels differ, PSNR {summary['psnr_db']} dB"
    lines = ["the same to the bit" if summary["same"] else changed]
    lines += [f"  {line}" for line in cast(list[str], summary["differences"])]
    answer(summary, as_json, lines, f"portrait-lora inspect {file}")
    if not summary["same"]:
        raise typer.Exit(errors.EXIT_FAILED)


def sweep(
    folder: FolderArg,
    scales: Annotated[
        str, typer.Option("--scales", help="strengths, separated by commas")
    ] = "0.6,0.8,1,1.2,1.4",
    shots: Annotated[int, typer.Option("--shots", min=1, max=64, help="the first so many of the series")] = 4,
    settings: SetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """The same shots at several strengths of the adapter, side by side."""
    need_likeness(folder)
    try:
        values = [float(part) for part in scales.split(",") if part.strip()]
    except ValueError as error:
        raise typer.BadParameter(f"--scales takes numbers, not {scales!r}") from error
    if not values or not all(0 <= value <= 2 for value in values):
        raise typer.BadParameter("--scales takes numbers from 0 to 2")
    from portrait_lora.tasks import scales as swept

    overrides = collect_overrides(settings)
    summary = swept.sweep(folder, values, shots, overrides)
    rows = cast(list[Summary], summary["rows"])
    lines = [f"scale {row['scale']:g}: similarity {row['similarity']}, {row['faces']} faces" for row in rows]
    best = max(rows, key=lambda row: cast(float, row["similarity"]))
    then = following("generate", folder, [*overrides, f"generate.adapter_scale={best['scale']:g}"])
    answer(summary, as_json, [*lines, f"the sheet: {summary['contact_sheet']}"], then)


def lint(
    text: Annotated[str, typer.Argument(metavar="TEXT|FILE", help="a prompt, a text file, or a series")],
    base: Annotated[str, typer.Option("--base", help="judge for this base model")] = "",
    aspect: Annotated[str, typer.Option("--aspect", help="W:H of the picture")] = "",
    strict: Annotated[bool, typer.Option("--strict", help="remarks give exit code 2")] = False,
    as_json: JsonOpt = False,
) -> None:
    """Say what weakens a prompt, and what to write instead."""
    from portrait_lora.tasks import lint as linting

    rows = linting.lint_text(text, base, aspect)
    count = sum(len(cast(list[object], row["remarks"])) for row in rows)
    lines: list[str] = []
    for row in rows:
        remarks = cast(list[dict[str, str]], row["remarks"])
        lines.append(f"{row['where']}: {row['prompt']}")
        lines += [f"  {r['code']}: {r['said']}. {r['instead']}" for r in remarks] or ["  nothing to say"]
    answer({"prompts": rows, "remarks": count}, as_json, lines, "portrait-lora generate LIKENESS_DIR")
    if strict and count:
        raise typer.Exit(errors.EXIT_BAD_INPUT)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (generate, vary, fix, reproduce, sweep):
        app.command(rich_help_panel=PORTRAITS)(command)
    prompts = typer.Typer(
        help="The prompt book: what to write, and what to write instead.", no_args_is_help=True
    )
    prompts.command("lint")(lint)
    app.add_typer(prompts, name="prompts", rich_help_panel=PORTRAITS)
