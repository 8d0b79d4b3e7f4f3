"""Setting up: `init`, `models` and `config show|schema`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from portrait_lora.commands.options import (
    FolderArg,
    JsonOpt,
    SetOpt,
    answer,
    overrides,
)


def init(
    folder: FolderArg,
    photos: Annotated[Path, typer.Option("--photos", help="folder of 10-20 pictures of one person")],
    settings: SetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Make a likeness folder: copies the photos and writes likeness.yaml."""
    from portrait_lora import recipe

    summary = recipe.init(folder, photos, overrides=overrides(settings))
    lines = [
        f"{summary['photos']} files copied to {folder / 'photos'}; settings in {folder / 'likeness.yaml'}"
    ]
    answer(summary, as_json, lines, f"portrait-lora check {folder}")


def models(as_json: JsonOpt = False) -> None:
    """The base models this program knows, with their licence and needs."""
    from portrait_lora import summaries
    from portrait_lora.families import catalog

    rows = catalog.table()
    answer(
        {"models": rows},
        as_json,
        summaries.of_models(rows),
        "portrait-lora init DIR --photos PHOTOS -s base=NAME",
    )


def config_show(
    folder: Annotated[Path | None, typer.Argument(metavar="[LIKENESS_DIR]")] = None, settings: SetOpt = None
) -> None:
    """Print the resolved configuration as YAML."""
    from portrait_lora import config

    file = None if folder is None else folder / config.FILE_NAME
    typer.echo(config.dump(config.load(file, overrides(settings))), nl=False)


def config_schema() -> None:
    """Print the JSON Schema of likeness.yaml."""
    from portrait_lora import config

    typer.echo(json.dumps(config.LikenessConfig.model_json_schema(), indent=2))


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (init, models):
        app.command()(command)
    config_app = typer.Typer(help="Show the resolved configuration or its JSON Schema.", no_args_is_help=True)
    config_app.command("show")(config_show)
    config_app.command("schema")(config_schema)
    app.add_typer(config_app, name="config")
