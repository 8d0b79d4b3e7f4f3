"""A finished portrait cropped to the framing of a brand, so that the heads of a team stand at one height.

Cropping can bring a head nearer, never farther, and moves it only as far as the crop leaves room: what would
need pixels beyond the border is not made up.  The nearest crop is taken, and what it misses is told.
It is an edit like any other, the last one: box and framing stand in the recipe, no model is asked again.
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
"""Framing that is off by less, in heights of the picture, is left as it is, and counts as reached."""
_STEP: Final = 0.001


@dataclass(frozen=True, slots=True)
class Target:
    """The framing asked for, in shares of the picture's height; None is free.

    No crop enlarges more than `limit` times.
    """

    eye_line: float | None
    head_height: float | None
    limit: float = 1.25

    @property
    def record(self) -> save.Recipe:
        """As the recipe has it."""
        return {"eye_line": self.eye_line, "head_height": self.head_height, "limit": self.limit}

    def off(self, seen: Framing) -> tuple[float, float]:
        """How far eye line and head height are from what is asked; 0 where nothing is."""
        return (
            0.0 if self.eye_line is None else abs(seen.eye_line - self.eye_line),
            0.0 if self.head_height is None else abs(seen.head_height - self.head_height),
        )


@dataclass(frozen=True, slots=True)
class Crop:
    """The part that is kept (left, top, right, bottom), and how far it stays from the framing asked for."""

    box_px: tuple[float, float, float, float]
    missed: tuple[float, float]

    @property
    def record(self) -> dict[str, float]:
        """What is missed, as the recipe has it."""
        return {
            key: round(value, 4) for key, value in zip(("eye_line", "head_height"), self.missed, strict=True)
        }


def target_of(brand: Brand | None, limit: float) -> Target:
    """The framing of a brand sheet.  Raises `ConfigError` when it says neither eye line nor head height."""
    if brand is None or (brand.eye_line is None and brand.head_height is None):
        raise ConfigError(
            "there is no framing to crop to",
            where="generate.reframe",
            got=f"the brand {brand.name}" if brand else "no brand",
            needed="a brand sheet with framing: {eye_line: ..., head_height: ...}",
            remedy="A head_height above that of most portraits: crops only enlarge.",
        )
    return Target(brand.eye_line, brand.head_height, limit)


def crop_for(face: Face, size_px: tuple[int, int], target: Target) -> Crop | None:
    """The crop of a picture (W, H) that comes nearest to the target, in its own aspect; None: leave it.

    Nearest: the least sum of squares of both distances, and of equals the one that enlarges least.
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
    """The upper border of the crop, in heights of the picture; where no eye line is asked for it stays."""
    eye_line = seen.eye_line if target.eye_line is None else target.eye_line
    return min(max(seen.eye_line - eye_line / zoom, 0.0), 1 - 1 / zoom)


def _framed(seen: Framing, zoom: float, target: Target) -> Framing:
    return Framing((seen.eye_line - _top(seen, zoom, target)) * zoom, seen.head_height * zoom)


def recipe_of(source: Image.Image, recipe: save.Recipe, crop: Crop, target: Target) -> save.Recipe:
    """The recipe of the reframed picture: that of the picture before, with the crop on top."""
    kept = {k: v for k, v in recipe.items() if k not in (*save.OF_ONE_EDIT, save.CONDITIONS)}
    return kept | {
        save.ACTION: ACTION,
        "source_pixels_sha256": save.pixel_digest(source),
        BOX: list(crop.box_px),
        WANTED: target.record,
        MISSED: crop.record,
        save.PARENT: dict(recipe),
    }


def apply(source: Image.Image, recipe: Mapping[str, object]) -> Image.Image:
    """The crop of a recipe, enlarged to its size (Lanczos).  Raises `ArtifactError` for a damaged one."""
    width, height = source.size
    try:
        left, top, right, bottom = (float(v) for v in cast(Sequence[float], recipe[BOX]))
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError("the recipe of the picture is damaged", got=repr(error)) from error
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ArtifactError(
            "the crop in the recipe leaves the picture", got=recipe[BOX], needed=f"within {width}x{height} px"
        )
    return source.convert("RGB").resize(
        (width, height), Image.Resampling.LANCZOS, box=(left, top, right, bottom)
    )
