"""Portraits for others: `team` over many people, `publish` for copies without a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from portrait_lora import errors
from portrait_lora.commands.options import (
    PORTRAITS,
    RIGHTS,
    JsonOpt,
    SetOpt,
    Summary,
    SyntheticOpt,
    answer,
    collect_overrides,
    following,
)
from portrait_lora.commands.paths import need_files, need_likeness


def team(
    folders: Annotated[
        list[Path], typer.Argument(metavar="LIKENESS_DIR...", help="one likeness folder per person")
    ],
    series: Annotated[str, typer.Option("--series", help="a packaged series or a YAML file")] = "",
    brand: Annotated[str, typer.Option("--brand", help="a brand sheet over every shot of everybody")] = "",
    best_of: Annotated[
        int | None, typer.Option("--best-of", min=1, max=64, help="candidates per picture; the best is kept")
    ] = None,
    price_per_hour: Annotated[
        float | None, typer.Option("--price-per-hour", min=0, help="of the machine: tells the cost")
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="for the sheet of all")] = Path("team"),
    settings: SetOpt = None,
    allow_synthetic: SyntheticOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """One series and one brand over many people, with a sheet of everybody."""
    if not any((folder / "photos").is_dir() for folder in folders):
        need_likeness(folders[0])
    from portrait_lora import recipe
    from portrait_lora.tasks import team as teams

    own: dict[str, object] = {
        "series": series, "brand": brand, "best_of": best_of, "price_per_hour": price_per_hour,
    }  # fmt: skip
    overrides = collect_overrides(settings, allow_synthetic)
    overrides += [f"generate.{key}={value}" for key, value in own.items() if value not in ("", None)]
    summary = teams.generate(
        folders, lambda folder: recipe.generate(folder, overrides=overrides), out, overrides
    )
    rows = cast(list[Summary], summary["people"])
    lines = [f"{row['person']}: {row.get('error') or str(row['portraits']) + ' portraits'}" for row in rows]
    lines += [f"the sheet: {summary['contact_sheet']}"] if "contact_sheet" in summary else []
    whole = next((f for f, row in zip(folders, rows, strict=True) if not row.get("error")), None)
    answer(summary, as_json, lines, following("score", whole, overrides) if whole else "")
    if summary["failed"]:
        raise typer.Exit(errors.EXIT_FAILED)


def publish(
    places: Annotated[
        list[Path],
        typer.Argument(metavar="FILE|FOLDER...", help="portraits of this program, or folders of them"),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="where the copies go")],
    kind: Annotated[
        Literal["jpeg", "webp", "png"], typer.Option("--as", help="format of the copies")
    ] = "jpeg",
    quality: Annotated[int, typer.Option("--quality", min=1, max=100)] = 92,
    keep_names: Annotated[bool, typer.Option("--keep-names", help="file names tell the shot")] = False,
    with_recipe: Annotated[
        bool, typer.Option("--with-recipe", help="put prompt and settings into the copies")
    ] = False,
    as_json: JsonOpt = False,
) -> None:
    """Write copies that keep the mark of generated media and tell nothing else."""
    files = _portraits(places)
    from portrait_lora.config import FILE_NAME
    from portrait_lora.generation.publish import publish as make
    from portrait_lora.tasks import outside

    copies = make(files, out, kind, quality=quality, keep_names=keep_names, with_recipe=with_recipe)
    for file, copy in zip(files, copies, strict=True):
        if root := next((p for p in file.resolve().parents if (p / FILE_NAME).is_file()), None):
            outside.record(root, [copy])
    pairs = [{"file": str(file), "copy": str(copy)} for file, copy in zip(files, copies, strict=True)]
    lines = [f"{pair['copy']}  from {pair['file']}" for pair in pairs]
    answer({"copies": pairs, "format": kind}, as_json, lines, f"portrait-lora inspect {copies[0]}")


def _portraits(places: list[Path]) -> list[Path]:
    """The files, and the PNG pictures of the folders.  `InputError` for a place without any."""
    files: list[Path] = []
    for place in places:
        inside = sorted(p for p in place.glob("*.png") if p.is_file()) if place.is_dir() else [place]
        if not inside:
            raise errors.InputError(
                "no portraits in this folder", where=place, needed="PNG files of `generate`"
            )
        files += inside
    need_files(files, "picture")
    return files


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(rich_help_panel=PORTRAITS)(team)
    app.command(rich_help_panel=RIGHTS)(publish)
