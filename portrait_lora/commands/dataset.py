"""`dataset import` and `dataset export`: datasets of other trainers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from portrait_lora.commands.options import DATA, FolderArg, JsonOpt, SetOpt, answer, collect_overrides
from portrait_lora.commands.paths import need_folder, need_likeness


def import_(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="a kohya dataset (10_sks person/), or an imagefolder")
    ],
    folder: FolderArg,
    settings: SetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Create a likeness folder from another trainer's dataset: pictures, captions, trigger and class word."""
    need_folder(
        source, "such folder", "folders such as `10_sks person`, or a metadata.jsonl beside the pictures"
    )
    from portrait_lora.tasks import exchange

    imported = exchange.import_dataset(source, folder, collect_overrides(settings))
    lines = [f"{imported.photos} photos and {imported.captions} captions copied to {folder / 'photos'}"]
    if imported.rows_without_picture:
        lines.append(f"  {imported.rows_without_picture} rows of metadata.jsonl match no picture")
    if imported.passed_over:
        lines.append(f"  symbolic links are not followed: {imported.passed_over} skipped")
    answer(imported, as_json, lines, f"portrait-lora check {folder}")


def export(
    folder: FolderArg,
    out: Annotated[Path, typer.Option("--out", help="output folder; new, or an earlier export")],
    target: Annotated[Literal["kohya"], typer.Option("--for", help="trainer that will read it")] = "kohya",
    repeats: Annotated[
        int, typer.Option("--repeats", min=1, max=1000, help="repeats per epoch, part of the folder's name")
    ] = 10,
    as_json: JsonOpt = False,
) -> None:
    """Write the prepared training crops for another trainer; held-out photos are excluded."""
    need_likeness(folder)
    from portrait_lora.tasks import exchange

    exported = exchange.export_dataset(folder, out, repeats)
    lines = [f"{exported.crops} crops with captions in {exported.folder}"]
    value = {"for": target, **exported.json_value()}
    answer(value, as_json, lines, f"pass {Path(exported.folder).parent} to kohya")


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="Import and export datasets of other trainers.", no_args_is_help=True)
    group.command("import")(import_)
    group.command("export")(export)
    app.add_typer(group, name="dataset", rich_help_panel=DATA)
