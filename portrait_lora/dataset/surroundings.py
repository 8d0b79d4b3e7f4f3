"""The surroundings of a face: colours of clothes and backdrop, and direction of the light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from portrait_lora.dataset.clothes import chest_of
from portrait_lora.dataset.colours import to_lab
from portrait_lora.dataset.subject import average_linkage
from portrait_lora.faces.quality import light_balance
from portrait_lora.records import Face, RGBImage, Variety

ALIKE_LAB: Final = 12.0
"""Colours closer than this on average (CIE76 in Lab) count as the same outfit or backdrop."""
_COLLAR: Final = 0.15
"""Height of the clothes in face heights that is enough to compare photos; a word asks for more."""
_LIGHT_UNITS: Final = (0.4, 0.4, 8.0, 5.0)
"""Of a difference in light: stops between left and right, and above and below; lightness; warmth (Lab b)."""
_LIGHT_ALIKE: Final = 1.3
"""Two photos of one session are 1.1 apart in the median (18 pairs by eye), the same photo twice 0.5."""
_PLAIN_SPREAD: Final = (12.0, 6.0)
"""Most spread (half of 10th to 90th percentile) of lightness, and of a and b, of a coloured backdrop: two
hedges, or two crowds, are no less alike in the median than two pictures of one wall."""
_SIDES_ALIKE_LAB: Final = 10.0
_ENOUGH_PIXELS: Final = 20_000
_FACE: Final = (slice(36, 100), slice(26, 86))
"""Of the aligned 112 px crop: brows to mouth, without hair and backdrop."""
Light = tuple[float, float, float, float]
"""Of a face, in units of `_LIGHT_UNITS`."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Colours around a face, CIE Lab (L 0..100), None unless clothes and backdrop are seen and each has one
    colour; and the light on the face."""

    clothes_lab: tuple[float, float, float] | None
    backdrop_lab: tuple[float, float, float] | None
    light: Light | None = None


def group_sizes(surroundings: Sequence[Surroundings]) -> tuple[Variety, ...]:
    """Numbers of photos that share an outfit, a backdrop, a light; omitted if no photo shows it."""
    varieties: list[Variety] = []
    clothes = [s.clothes_lab for s in surroundings if s.clothes_lab is not None]
    backdrops = [s.backdrop_lab for s in surroundings if s.backdrop_lab is not None]
    lights = [s.light for s in surroundings if s.light is not None]
    varieties += [Variety("outfit", _sizes(colour_groups(clothes)))] if clothes else []
    varieties += [Variety("backdrop", _sizes(colour_groups(backdrops)))] if backdrops else []
    varieties += [Variety("light", _sizes(_groups(lights, _LIGHT_ALIKE)))] if lights else []
    return tuple(varieties)


def _sizes(groups: Sequence[Sequence[int]]) -> tuple[int, ...]:
    return tuple(sorted((len(g) for g in groups), reverse=True))


def colour_groups(colours_lab: Sequence[tuple[float, float, float]]) -> list[list[int]]:
    """Groups of indices of similar colours: average linkage cut at `ALIKE_LAB`."""
    return _groups(colours_lab, ALIKE_LAB)


def _groups(vectors: Sequence[tuple[float, ...]], limit: float) -> list[list[int]]:
    """Average linkage of vectors, cut at a distance."""
    table = np.asarray(vectors, dtype=np.float64).reshape(len(vectors), -1)
    apart = np.linalg.norm(table[:, None] - table[None], axis=-1)
    return average_linkage(-apart, -limit)


def surroundings_of(image_rgb: RGBImage, face: Face, aligned_rgb: RGBImage | None = None) -> Surroundings:
    """Colours of clothes and backdrop; the face is in pixels of this picture.  The light is measured on the
    aligned 112 px crop, if any."""
    chest = chest_of(image_rgb, face, _COLLAR)
    clothes = tuple(float(v) for v in chest.lab) if chest is not None and chest.has_one_colour else None
    return Surroundings(
        (clothes[0], clothes[1], clothes[2]) if clothes else None,
        _backdrop_lab(image_rgb, face),
        None if aligned_rgb is None else light_of(aligned_rgb),
    )


def _backdrop_lab(image_rgb: RGBImage, face: Face) -> tuple[float, float, float] | None:
    """The backdrop's colour if it has one, the same on both sides."""
    sides = [side for side in _beside(image_rgb, face) if len(side)]
    if not sides:
        return None
    pixels = np.concatenate(sides)
    low, high = np.percentile(to_lab(pixels), (10, 90), axis=0)
    spread = (high - low) / 2
    if spread[0] > _PLAIN_SPREAD[0] or max(spread[1:]) > _PLAIN_SPREAD[1]:
        return None
    medians = [np.asarray(mean_lab(side)) for side in sides]
    if np.linalg.norm(medians[0] - medians[-1]) > _SIDES_ALIKE_LAB:
        return None
    return mean_lab(pixels)


def light_of(aligned_rgb: RGBImage) -> Light:
    """The light on an aligned face."""
    lab = to_lab(aligned_rgb).reshape(*aligned_rgb.shape)[_FACE]
    luma = aligned_rgb[_FACE].astype(np.float64).mean(axis=-1)
    half = len(luma) // 2
    upright = float(np.log2(max(luma[:half].mean(), 4.0) / max(luma[half:].mean(), 4.0)))
    measured = (
        light_balance(aligned_rgb),
        upright,
        float(np.median(lab[..., 0])),
        float(np.median(lab[..., 2])),
    )
    a, b, c, d = (v / unit for v, unit in zip(measured, _LIGHT_UNITS, strict=True))
    return a, b, c, d


def clothes_pixels(image_rgb: RGBImage, face: Face) -> RGBImage:
    """(N, 3) pixels of the chest below the chin; empty when the picture ends above it."""
    x0, y0, x1, y1 = face.box_xyxy_px
    size, middle = y1 - y0, (x0 + x1) / 2
    return _window(image_rgb, middle - 0.45 * size, y1 + 0.45 * size, middle + 0.45 * size, y1 + 0.95 * size)


def backdrop_pixels(image_rgb: RGBImage, face: Face) -> RGBImage:
    """(N, 3) pixels beside the head and above the shoulders, away from hair; empty without room."""
    return np.concatenate(_beside(image_rgb, face))


def _beside(image_rgb: RGBImage, face: Face) -> tuple[RGBImage, RGBImage]:
    """The same of the left and of the right side."""
    x0, y0, x1, _ = face.box_xyxy_px
    size = face.size_px
    left = _window(image_rgb, x0 - 1.3 * size, y0 - 0.5 * size, x0 - 0.3 * size, y0 + 0.2 * size)
    right = _window(image_rgb, x1 + 0.3 * size, y0 - 0.5 * size, x1 + 1.3 * size, y0 + 0.2 * size)
    return left, right


def _window(image_rgb: RGBImage, x0: float, y0: float, x1: float, y1: float) -> RGBImage:
    """The pixels of a window clipped to the picture, (N, 3); empty when hardly any of it is inside."""
    height, width = image_rgb.shape[:2]
    left, right = max(0, int(x0)), min(width, int(x1))
    top, bottom = max(0, int(y0)), min(height, int(y1))
    if right - left < 3 or bottom - top < 3 or (right - left) * (bottom - top) < 0.06 * (x1 - x0) * (y1 - y0):
        return np.zeros((0, 3), np.uint8)
    step = max(1, int(((bottom - top) * (right - left) / _ENOUGH_PIXELS) ** 0.5))
    return image_rgb[top:bottom:step, left:right:step].reshape(-1, 3)


def mean_lab(rgb: RGBImage) -> tuple[float, float, float] | None:
    """The median colour of (N, 3) sRGB pixels in Lab; None for no pixels."""
    if len(rgb) == 0:
        return None
    lightness, a, b = (float(v) for v in np.median(to_lab(rgb), axis=0))
    return lightness, a, b
