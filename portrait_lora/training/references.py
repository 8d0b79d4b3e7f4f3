"""Which photos of the person may be shown in context while training and drawing.  Torch-free."""

from __future__ import annotations

from collections.abc import Sequence

from portrait_lora.records import CaptionedCrop


def tightest(crops: Sequence[CaptionedCrop]) -> list[CaptionedCrop]:
    """The tightest crop of every photo, where the face is largest."""
    chosen: dict[str, CaptionedCrop] = {}
    for crop in sorted(crops, key=lambda one: (_area(one), one.path.name)):
        chosen.setdefault(crop.source_sha256, crop)
    return list(chosen.values())


def _area(crop: CaptionedCrop) -> int:
    x0, y0, x1, y1 = crop.crop_xyxy_px
    return (x1 - x0) * (y1 - y0)
