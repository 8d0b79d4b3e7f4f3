"""Reframing: crop a finished portrait to the framing of a brand, so that a team's heads are at one height.

Cropping can only enlarge a head, and move it as far as the crop leaves room: no pixels are invented beyond
the border.  The nearest possible crop is used, and its remaining error is recorded.  It is the last edit:
box and framing are in the generation record, and no model is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from PIL import Image

from portrait_lora.errors import ArtifactError, ConfigError
from portrait_lora.generation import save
from portrait_lora.generation.brand import Brand
from portrait_lora.generation.checklist import Framing, framing
from portrait_lora.records import Face

ACTION: Final = "reframe"
WANTED: Final = "framing"
BOX: Final = "box_px"
MISSED: Final = "framing_missed"
NEAR: Final = 0.01
"""Tolerance of the framing, as a fraction of the picture's height."""
_STEP: Final = 0.001


@dataclass(frozen=True, slots=True)
class Target:
    """The requested framing, as fractions of the picture's height; None means any.

    No crop enlarges by more than `limit`.
    """

    eye_line: float | None
    head_height: float | None
    limit: float = 1.25

    @property
    def entry(self) -> save.Record:
        """As in the generation record."""
        return {"eye_line": self.eye_line, "head_height": self.head_height, "limit": self.limit}

    def off(self, seen: Framing) -> tuple[float, float]:
        """Absolute errors of eye line and head height; 0 where nothing is requested."""
        return (
            0.0 if self.eye_line is None else abs(seen.eye_line - self.eye_line),
            0.0 if self.head_height is None else abs(seen.head_height - self.head_height),
        )


@dataclass(frozen=True, slots=True)
class Crop:
    """The crop box (left, top, right, bottom), and its remaining errors from the requested framing."""

    box_px: tuple[float, float, float, float]
    missed: tuple[float, float]

    @property
    def entry(self) -> dict[str, float]:
        """The remaining errors, as in the generation record."""
        return {
            key: round(value, 4) for key, value in zip(("eye_line", "head_height"), self.missed, strict=True)
        }


def target_of(brand: Brand | None, limit: float) -> Target:
    """The framing of a brand sheet.  Raises `ConfigError` if it has neither eye line nor head height."""
    if brand is None or (brand.eye_line is None and brand.head_height is None):
        raise ConfigError(
            "there is no framing to crop to",
            where="generate.reframe",
            got=f"the brand {brand.name}" if brand else "no brand",
            needed="a brand sheet with framing: {eye_line: ..., head_height: ...}",
            remedy="Set head_height above that of most portraits: crops only enlarge.",
        )
    return Target(brand.eye_line, brand.head_height, limit)


def crop_for(face: Face, size_px: tuple[int, int], target: Target) -> Crop | None:
    """The crop of a picture (W, H), in its own aspect ratio, that is nearest to the target; None: no crop.

    Nearest: least sum of the two squared errors; ties go to the least enlargement.
    """
    width, height = size_px
    seen = framing(face, height)
    if max(target.off(seen)) <= NEAR:
        return None
    zooms = 1 + _STEP * np.arange(round((target.limit - 1) / _STEP) + 1)
    costs = [round(sum(v * v for v in target.off(_framed(seen, float(z), target))), 7) for z in zooms]
    zoom = float(zooms[int(np.argmin(costs))])
    if zoom == 1.0:
        return Crop((0.0, 0.0, float(width), float(height)), target.off(seen))
    x0, _, x1, _ = face.box_xyxy_px
    wide, tall = width / zoom, height / zoom
    left = min(max((x0 + x1 - wide) / 2, 0.0), width - wide)
    top = _top(seen, zoom, target) * height
    box = (left, top, left + wide, top + tall)
    inside = tuple(
        min(max(round(v, 3), 0.0), float(m)) for v, m in zip(box, (*size_px, *size_px), strict=True)
    )
    return Crop(cast(tuple[float, float, float, float], inside), target.off(_framed(seen, zoom, target)))


def _top(seen: Framing, zoom: float, target: Target) -> float:
    """The upper border of the crop, as a fraction of the height; without a target the eye line is kept."""
    eye_line = seen.eye_line if target.eye_line is None else target.eye_line
    return min(max(seen.eye_line - eye_line / zoom, 0.0), 1 - 1 / zoom)


def _framed(seen: Framing, zoom: float, target: Target) -> Framing:
    return Framing((seen.eye_line - _top(seen, zoom, target)) * zoom, seen.head_height * zoom)


def record_of(source: Image.Image, record: save.Record, crop: Crop, target: Target) -> save.Record:
    """The generation record of the reframed picture: that of the source with the crop added."""
    kept = {k: v for k, v in record.items() if k not in (*save.OF_ONE_EDIT, save.CONDITIONS)}
    return kept | {
        save.ACTION: ACTION,
        "source_pixels_sha256": save.pixel_digest(source),
        BOX: list(crop.box_px),
        WANTED: target.entry,
        MISSED: crop.entry,
        save.PARENT: dict(record),
    }


def apply(source: Image.Image, record: Mapping[str, object]) -> Image.Image:
    """Apply the crop in a generation record and enlarge it (Lanczos).  `ArtifactError` if it is damaged."""
    width, height = source.size
    try:
        left, top, right, bottom = (float(v) for v in cast(Sequence[float], record[BOX]))
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError("the generation record of the picture is damaged", got=repr(error)) from error
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ArtifactError(
            "the crop in the generation record exceeds the picture",
            got=record[BOX],
            needed=f"within {width}x{height} px",
        )
    return source.convert("RGB").resize(
        (width, height), Image.Resampling.LANCZOS, box=(left, top, right, bottom)
    )
