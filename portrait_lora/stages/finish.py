"""Finishing of a series by the look that its sheet or the brand's names; skipped when nothing has changed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from portrait_lora import log, manifest
from portrait_lora.errors import ArtifactError
from portrait_lora.finishing import chain
from portrait_lora.finishing.look import Look, load_look, planned
from portrait_lora.finishing.step import Redraw
from portrait_lora.finishing.tools import PictureTools
from portrait_lora.generation import reading, save
from portrait_lora.removal import plain_name
from portrait_lora.results import FinishedSeries, Value
from portrait_lora.stages import finish_files, finish_models
from portrait_lora.stages.context import Context, folder_digest
from portrait_lora.stages.finish_judge import Models
from portrait_lora.stages.finish_pictures import PAGE, FinishedPicture, Finisher, basis_of, opened

if TYPE_CHECKING:
    from portrait_lora.records import Face, Parts, RGBImage

NAME: Final = "finish"
_PICTURES: Final = "pictures"
_SUMMARY: Final = "finished"
_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Finishing:
    """The look that a sheet asks for, how its gate decides, where the pictures go; `basis` identifies it."""

    look: Look
    sheet: str
    limit: float
    seed: int
    folder: Path
    basis: str


def finishing(ctx: Context, wanted: reading.Finish) -> Finishing:
    """What a sheet asks for, with the files of its look opened.

    Raises `ConfigError` for an unknown look or wrong settings, `InputError` or `ArtifactError` for a file
    that is missing or cannot be used.
    """
    look = look_of(wanted)
    limit = chain.LIMIT if wanted.limit is None else wanted.limit
    tools = PictureTools(
        _Nobody(),
        look.folder,
        0,
        finish_models.finder(ctx.likeness.root),
        studio=ctx.pack.synthetic,
        commercial=ctx.config.commercial,
    )
    return Finishing(
        look=look,
        sheet=wanted.sheet,
        limit=limit,
        seed=wanted.seed or 0,
        folder=ctx.likeness.portraits(f"{ctx.series}-finished") / look.name,
        basis=basis_of(look, opened(look, tools), ctx.pack.digest, limit, wanted.seed or 0),
    )


def look_of(wanted: reading.Finish) -> Look:
    """The look of a sheet: a shipped one, a file (relative to the sheet), or the steps in it.

    Steps in a sheet have the sheet's name.  Raises `ConfigError` naming the sheet and the key.
    """
    where = f"{wanted.path}: finish"
    if wanted.steps is not None:
        steps = planned(list(wanted.steps), where)
        return Look(plain_name(wanted.path.stem, where=where), "", steps, wanted.path.resolve().parent)
    beside = wanted.path.parent / Path(wanted.look).expanduser()
    return load_look(beside if beside.is_file() else wanted.look, where)


class _Nobody:
    """No face pack: files of a look are opened without a picture."""

    def find(self, image_rgb: RGBImage) -> list[Face]:
        return []

    def parts(self, image_rgb: RGBImage, face: Face) -> Parts | None:
        return None


def finish(ctx: Context, wanted: Finishing) -> FinishedSeries:
    """Finish the drawn series into `portraits/<series>-finished/<look>/`, with its page.

    What stands is not made again: a stopped call is gone on with.  What an earlier form of the look left
    makes way, unless somebody changed it.
    """
    series = ctx.likeness.portraits(ctx.series)
    inputs = {
        "portraits": folder_digest(series),
        "dataset": folder_digest(ctx.likeness.dataset),
        "look": wanted.basis,
    }
    redo = "generate" in ctx.redo
    if not redo and (known := _known(wanted, inputs)):
        ctx.skipped.append(NAME)
        _log.info("%-9s nothing has changed, skipped", NAME)
        return known
    started = time.monotonic()
    finisher = Finisher(
        wanted.look, models_of(ctx), wanted.folder, limit=wanted.limit, seed=wanted.seed, sheet=wanted.sheet,
        redo=redo, redraw=lambda record: _redraw(ctx, record),
    )  # fmt: skip
    rows = finisher.finish([series / f"{shot.name}.png" for shot in ctx.shots])
    page = finisher.page(rows)
    pictures = {Path(row.source).stem: Path(row.file).name for row in rows if row.file}
    result = _summary(wanted, page, rows, round(time.monotonic() - started, 2))
    own = {save.sidecar_of(wanted.folder / name) for name in pictures.values()}
    for sidecar in sorted(wanted.folder.glob("*.json")):
        if sidecar not in own:
            finish_files.withdraw(sidecar)
    sealed = {file.name for sidecar in own for file in finish_files.files_of(sidecar)}
    extra: dict[str, object] = {
        _SUMMARY: timeless(result),
        _PICTURES: pictures,
        finish_files.LOOK_FOLDER: str(wanted.look.folder),
    }
    manifest.finish(wanted.folder, kind=_SUMMARY, inputs=inputs, extra=extra, names=sealed | {PAGE})
    for row in rows:
        if row.refused:
            _log.warning("%s: not finished: %s", Path(row.source).name, row.refused)
    return result


def timeless(result: Value) -> dict[str, object]:
    """A result without its time, which would make the same pictures another folder."""
    return {key: value for key, value in result.json_value().items() if key != "seconds"}


def pictures_of(folder: Path) -> dict[str, Path]:
    """Name of the shot -> the finished picture, of a folder that `finish` sealed; empty for another one."""
    try:
        sealed = manifest.read(folder)
    except ArtifactError:
        sealed = None
    raw = sealed.extra.get(_PICTURES) if sealed else None
    rows = cast(Mapping[str, object], raw) if isinstance(raw, dict) else {}
    files = {shot: folder / str(name) for shot, name in rows.items() if sealed and name in sealed.files}
    return {shot: file for shot, file in files.items() if file.is_file()}


def _known(wanted: Finishing, inputs: Mapping[str, str]) -> FinishedSeries | None:
    """What an earlier call left, when it was made from these inputs and is whole."""
    try:
        sealed = manifest.verify(wanted.folder)
        if dict(sealed.inputs) != dict(inputs):
            return None
        known = FinishedSeries.read(sealed.extra.get(_SUMMARY), wanted.folder)
    except ArtifactError:
        return None
    place = {"folder": str(wanted.folder), "page": str(wanted.folder / PAGE), "sheet": wanted.sheet}
    return known.model_copy(update=place)


def models_of(ctx: Context) -> Models:
    """The face pack of a journey with its held-out photos."""
    from portrait_lora.dataset.build import load_dataset_folder
    from portrait_lora.evaluation.similarity import read_rgb

    held_out = tuple(read_rgb(photo) for photo in load_dataset_folder(ctx.likeness.dataset)[1])
    find = finish_models.finder(ctx.likeness.root)
    return Models(ctx.pack, ctx.finder, ctx.reporter, held_out, ctx.config.commercial, find)


def _redraw(ctx: Context, record: save.Record | None) -> Redraw | None:
    from portrait_lora.stages.redraw import redrawing_in

    return redrawing_in(ctx, record)


def _summary(
    wanted: Finishing, page: Path, rows: Sequence[FinishedPicture], seconds: float
) -> FinishedSeries:
    both = [(r.before_b, r.after_b) for r in rows if r.before_b is not None and r.after_b is not None]
    before, after = (round(sum(pair[k] for pair in both) / len(both), 5) if both else None for k in (0, 1))
    return FinishedSeries(
        look=wanted.look.name,
        sheet=wanted.sheet,
        folder=str(wanted.folder),
        page=str(page),
        pictures=sum(row.file is not None for row in rows),
        refused=sum(row.file is None for row in rows),
        before_b=before,
        after_b=after,
        seconds=seconds,
    )
