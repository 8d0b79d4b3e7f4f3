"""The watermark of a picture that comes back from its layered file: what was not edited keeps its bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

import numpy as np
from PIL import Image

from portrait_lora.finishing.canvas import Canvas
from portrait_lora.generation import save
from portrait_lora.rights import marks
from portrait_lora.stages import finish_files
from portrait_lora.stages.finish_files import KEPT, MARK

_LOSSLESS: Final = (".png", ".tif")


def record_of(record: save.Record, canvas: Canvas, picture: Path, before: Canvas) -> save.Record:
    """The record of an edit of `picture`, whose canvas is `before`, with how its watermark is laid.

    The watermark of its source is kept where it was before; under what compressed it, it is looked for.
    """
    if _before(record).get(MARK) != KEPT:
        return record
    if before.size_px == canvas.size_px and _is_lossless(picture):
        return record | {MARK: KEPT}
    return finish_files.with_mark(record, canvas, picture)


def encoded(canvas: Canvas, record: save.Record, picture: Path, before: Canvas) -> bytes:
    """The bytes of an edit; see `record_of`, and `finish_files.encoded`.

    A picture of an earlier version, whose record lacks what its watermark settled on, is marked anew.
    """
    settled = str(_before(record).get(save.SETTLED, ""))
    comparable = _is_lossless(picture) and (settled or record.get(MARK) == KEPT)

    def marked(one: Canvas, own: save.Record) -> Image.Image:
        if before.size_px == one.size_px and comparable:
            return _marked(one, own, before, settled)
        known = {save.SETTLED: settled} if before.size_px == one.size_px else {}
        return finish_files.marked(one, own | known)

    return finish_files.encoded(canvas, record, picture, mark=marked)


def _before(record: save.Record) -> Mapping[str, object]:
    return cast(Mapping[str, object], record[save.PARENT])


def _is_lossless(picture: Path) -> bool:
    return picture.suffix.lower() in _LOSSLESS


def _marked(canvas: Canvas, record: save.Record, before: Canvas, settled: str) -> Image.Image:
    """What was not edited to the bit, the watermark over the rest."""
    recipe = save.first_recipe(record)
    picture, was = finish_files.delivered(canvas), np.asarray(finish_files.delivered(before).convert("RGBA"))
    rgba = np.asarray(picture.convert("RGBA"))
    unseen = (rgba[..., 3] == 0) & (was[..., 3] == 0)  # editors drop the colour of what is fully transparent
    rgb = np.where(unseen[..., None], was[..., :3], rgba[..., :3])
    if record.get(MARK) == KEPT:
        changed = (rgb != was[..., :3]).any(axis=-1)
        rgb = marks.watermarked(rgb, recipe, mask_HW=changed) if changed.any() else rgb
    else:
        rgb = marks.repeated(rgb, recipe, settled, was[..., :3])
    rgb = np.where(unseen[..., None], was[..., :3], rgb)
    out = Image.fromarray(rgb)
    if "A" in picture.getbands():
        out.putalpha(picture.getchannel("A"))
    return out
