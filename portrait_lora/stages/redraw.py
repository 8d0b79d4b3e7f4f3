"""Image to image by the model that drew a portrait, for the detail pass of finishing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from portrait_lora import likeness
from portrait_lora.generation import drawing, edits, remake, save
from portrait_lora.records import RGBImage
from portrait_lora.stages.context import Context
from portrait_lora.stages.named_files import adapter_of, find_style


class Redrawing:
    """See `finishing.step.Redraw`: the base with the adapter and the prompt of a generation record.

    The models are opened when the first tile is drawn.
    """

    def __init__(self, ctx: Context, record: save.Record):
        self._ctx, self._record = ctx, record
        self._open: tuple[Any, drawing.Sampler] | None = None
        self.side_px = ctx.base.resolution_px

    def __call__(self, rgb: RGBImage, strength: float, seed: int) -> RGBImage:
        """The tile drawn over; the same bytes for the same tile, strength and seed."""
        if self._open is None:
            sampler = remake.whole_sampler(self._record, find_style(self._ctx))
            adapter = adapter_of(self._ctx, self._record)
            self._open = drawing.open_pipeline(self._ctx.family, adapter, sampler), sampler
        pipe, sampler = self._open
        shot = replace(edits.shot_of(self._record), seed=seed, size_px=(rgb.shape[1], rgb.shape[0]))
        drawn = drawing.from_picture(pipe, Image.fromarray(rgb), shot, sampler, strength)
        return np.asarray(drawn.convert("RGB"))


def redrawing(
    root: Path | None, record: Mapping[str, object] | None, overrides: Sequence[str]
) -> Redrawing | None:
    """What draws over a picture with this record; None without a likeness folder or an adapter in it."""
    drawn = _drawn(record)
    if root is None or drawn is None:
        return None
    return Redrawing(Context(likeness.open_likeness(root, overrides)), drawn)


def redrawing_in(ctx: Context, record: Mapping[str, object] | None) -> Redrawing | None:
    """The same within a journey."""
    drawn = _drawn(record)
    return None if drawn is None else Redrawing(ctx, drawn)


def _drawn(record: Mapping[str, object] | None) -> save.Record | None:
    """The record of the drawing that edits began from; None without an adapter in it."""
    while record is not None and "adapter_sha256" not in record:
        parent = record.get(save.PARENT)
        record = cast(save.Record, parent) if isinstance(parent, dict) else None
    return cast(save.Record, record) if record is not None and record.get("adapter_sha256") else None
