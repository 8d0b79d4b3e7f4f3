"""Portraits for others: `team` over many people, `publish` for copies without a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from portrait_lora import errors
from portrait_lora.commands.options import (
    PORTRAITS,
    RIGHTS,
    JsonOpt,
    SetOpt,
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
    series: Annotated[str, typer.Option("--series", help="name of a packaged series, or a YAML file")] = "",
    brand: Annotated[
        str, typer.Option("--brand", help="brand sheet, applied to every shot of every person")
    ] = "",
    best_of: Annotated[
        int | None, typer.Option("--best-of", min=1, max=64, help="candidates per picture; the best is kept")
    ] = None,
    price_per_hour: Annotated[
        float | None, typer.Option("--price-per-hour", min=0, help="price of the machine, to report the cost")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="output folder of the contact sheet")
    ] = Path("team"),
    settings: SetOpt = None,
    allow_synthetic: SyntheticOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Generate one series in one brand for many people, with a contact sheet of all."""
    if not any((folder / "photos").is_dir() for folder in folders):
        need_likeness(folders[0])
    from portrait_lora import recipe
    from portrait_lora.results import GenerateResult
    from portrait_lora.tasks import team as teams

    own: dict[str, object] = {
        "series": series, "brand": brand, "best_of": best_of, "price_per_hour": price_per_hour,
    }  # fmt: skip
    overrides = collect_overrides(settings, allow_synthetic)
    overrides += [f"generate.{key}={value}" for key, value in own.items() if value not in ("", None)]

    def make(folder: Path) -> GenerateResult:
        return recipe.generate(folder, overrides=overrides).of(GenerateResult)

    result = teams.generate(folders, make, out, overrides)
    lines = [f"{row.person}: {row.error or f'{row.portraits} portraits'}" for row in result.people]
    lines += [f"contact sheet: {result.contact_sheet}"] if result.contact_sheet else []
    lines += [f"finished pictures: {result.finished_sheet}"] if result.finished_sheet else []
    whole = next((f for f, row in zip(folders, result.people, strict=True) if not row.error), None)
    answer(result, as_json, lines, following("score", whole, overrides) if whole else "")
    if result.failed:
        raise typer.Exit(errors.EXIT_FAILED)


def publish(
    places: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE|FOLDER...", help="generated portraits, folders of them, or one likeness folder"
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="output folder")],
    kind: Annotated[
        Literal["jpeg", "webp", "png"], typer.Option("--as", help="format of the copies")
    ] = "jpeg",
    quality: Annotated[int, typer.Option("--quality", min=1, max=100)] = 92,
    keep_names: Annotated[
        bool, typer.Option("--keep-names", help="keep file names, which reveal the shot")
    ] = False,
    with_recipe: Annotated[
        bool, typer.Option("--with-recipe", help="include prompt and settings in the copies")
    ] = False,
    series: Annotated[
        str, typer.Option("--series", help="with a likeness folder: deliver this series, finished if it is")
    ] = "",
    audience: Annotated[
        Literal["eu", "anywhere"],
        typer.Option("--for", help="eu: with the visible label, unless --no-label"),
    ] = "anywhere",
    label: Annotated[
        bool | None,
        typer.Option("--label/--no-label", help="the visible label AI in a corner, never over a face"),
    ] = None,
    commercial: Annotated[
        bool, typer.Option("--commercial", help="the consent has to cover commercial use")
    ] = False,
    settings: SetOpt = None,
    allow_synthetic: SyntheticOpt = False,
    as_json: JsonOpt = False,
) -> None:
    """Write copies with both layers of marks and no other metadata; of a likeness folder, a series."""
    from portrait_lora.config import FILE_NAME as CONFIG_FILE

    if len(places) == 1 and (places[0] / CONFIG_FILE).is_file():
        if keep_names or with_recipe:
            raise errors.InputError("a series is delivered without names and recipes", where=places[0])
        from portrait_lora.tasks.deliver import deliver

        delivery = deliver(
            places[0], out, series=series, audience=audience, label=label, commercial=commercial, kind=kind,
            quality=quality, overrides=collect_overrides(settings, allow_synthetic),
        )  # fmt: skip
        rows = [f"{out / row.file}  from {row.source}" for row in delivery.pictures]
        answer(delivery, as_json, rows, f"portrait-lora detect {out}")
        return
    if series or audience != "anywhere" or label or commercial or settings:
        needed = "one likeness folder, whose face models tell where the face is and whose consent is known"
        raise errors.InputError("a delivery of single files", where=places[0], needed=needed)
    files = _portraits(places)
    from portrait_lora.config import FILE_NAME
    from portrait_lora.generation.publish import publish as make
    from portrait_lora.tasks import outside

    copies = make(files, out, kind, quality=quality, keep_names=keep_names, with_record=with_recipe)
    for file, copy in zip(files, copies, strict=True):
        if root := next((p for p in file.resolve().parents if (p / FILE_NAME).is_file()), None):
            outside.record(root, [copy])
    pairs = [{"file": str(file), "copy": str(copy)} for file, copy in zip(files, copies, strict=True)]
    lines = [f"{pair['copy']}  from {pair['file']}" for pair in pairs]
    answer({"copies": pairs, "format": kind}, as_json, lines, f"portrait-lora inspect {copies[0]}")


def _portraits(places: list[Path]) -> list[Path]:
    """The files, and the PNG pictures of the folders.  `InputError` for a folder without any."""
    files: list[Path] = []
    for place in places:
        inside = sorted(p for p in place.glob("*.png") if p.is_file()) if place.is_dir() else [place]
        if not inside:
            raise errors.InputError(
                "no portraits in this folder", where=place, needed="PNG files written by `generate`"
            )
        files += inside
    need_files(files, "picture")
    return files


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(rich_help_panel=PORTRAITS)(team)
    app.command(rich_help_panel=RIGHTS)(publish)
