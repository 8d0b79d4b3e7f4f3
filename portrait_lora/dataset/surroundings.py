"""The surroundings of a face: colours of clothes and backdrop, and direction of the light."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np

from portrait_lora.dataset.subject import average_linkage
from portrait_lora.faces.quality import light_balance
from portrait_lora.records import Face, FloatArray, RGBImage, Variety

ALIKE_LAB: Final = 12.0
"""Colours closer than this on average (CIE76 in Lab) count as the same outfit or backdrop."""
SIDE_LIGHT_STOPS: Final = 0.6
"""Minimum difference in stops of luma between the halves of a face that is lit from one side."""
_ENOUGH_PIXELS: Final = 20_000
Light = Literal["from the left", "even", "from the right"]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Mean colours around a face, CIE Lab (L 0..100), None if they are not visible; and the side
    of the picture that the light on the face comes from."""

    clothes_lab: tuple[float, float, float] | None
    backdrop_lab: tuple[float, float, float] | None
    light: Light | None = None


def group_sizes(surroundings: Sequence[Surroundings]) -> tuple[Variety, ...]:
    """Numbers of photos that share an outfit, a backdrop, a side of light; omitted if no photo shows it."""
    varieties: list[Variety] = []
    clothes = [s.clothes_lab for s in surroundings if s.clothes_lab is not None]
    backdrops = [s.backdrop_lab for s in surroundings if s.backdrop_lab is not None]
    lights = Counter(s.light for s in surroundings if s.light is not None)
    varieties += [Variety("outfit", _sizes(colour_groups(clothes)))] if clothes else []
    varieties += [Variety("backdrop", _sizes(colour_groups(backdrops)))] if backdrops else []
    varieties += [Variety("light", tuple(sorted(lights.values(), reverse=True)))] if lights else []
    return tuple(varieties)


def _sizes(groups: Sequence[Sequence[int]]) -> tuple[int, ...]:
    return tuple(sorted((len(g) for g in groups), reverse=True))


def colour_groups(colours_lab: Sequence[tuple[float, float, float]]) -> list[list[int]]:
    """Groups of indices of similar colours: average linkage cut at `ALIKE_LAB`."""
    table = np.asarray(colours_lab, dtype=np.float64).reshape(-1, 3)
    apart = np.linalg.norm(table[:, None] - table[None], axis=-1)
    return average_linkage(-apart, -ALIKE_LAB)


def surroundings_of(image_rgb: RGBImage, face: Face, aligned_rgb: RGBImage | None = None) -> Surroundings:
    """Colours of clothes and backdrop; the face is in pixels of this picture.  The light is estimated
    from the aligned 112 px crop, if any."""
    return Surroundings(
        mean_lab(clothes_pixels(image_rgb, face)),
        mean_lab(backdrop_pixels(image_rgb, face)),
        None if aligned_rgb is None else light_of(aligned_rgb),
    )


def light_of(aligned_rgb: RGBImage) -> Light:
    """The side of the picture that the face is lit from."""
    balance = light_balance(aligned_rgb)
    if abs(balance) <= SIDE_LIGHT_STOPS:
        return "even"
    return "from the left" if balance > 0 else "from the right"


def clothes_pixels(image_rgb: RGBImage, face: Face) -> RGBImage:
    """(N, 3) pixels of the chest below the chin; empty when the picture ends above it."""
    x0, y0, x1, y1 = face.box_xyxy_px
    size, middle = y1 - y0, (x0 + x1) / 2
    return _window(image_rgb, middle - 0.45 * size, y1 + 0.45 * size, middle + 0.45 * size, y1 + 0.95 * size)


def backdrop_pixels(image_rgb: RGBImage, face: Face) -> RGBImage:
    """(N, 3) pixels beside the head and above the shoulders, away from hair; empty without room."""
    x0, y0, x1, y1 = face.box_xyxy_px
    size = max(x1 - x0, y1 - y0)
    left = _window(image_rgb, x0 - 1.3 * size, y0 - 0.5 * size, x0 - 0.3 * size, y0 + 0.2 * size)
    right = _window(image_rgb, x1 + 0.3 * size, y0 - 0.5 * size, x1 + 1.3 * size, y0 + 0.2 * size)
    return np.concatenate([left, right])


def _window(image_rgb: RGBImage, x0: float, y0: float, x1: float, y1: float) -> RGBImage:
    """The pixels of a window clipped to the picture, (N, 3); empty when hardly any of it is inside."""
    height, width = image_rgb.shape[:2]
    left, right = max(0, int(x0)), min(width, int(x1))
    top, bottom = max(0, int(y0)), min(height, int(y1))
    if right - left < 3 or bottom - top < 3 or (right - left) * (bottom - top) < 0.06 * (x1 - x0) * (y1 - y0):
        return np.zeros((0, 3), np.uint8)
    step = max(1, int(((bottom - top) * (right - left) / _ENOUGH_PIXELS) ** 0.5))
    return image_rgb[top:bottom:step, left:right:step].reshape(-1, 3)


def to_lab(rgb: RGBImage) -> FloatArray:
    """(N, 3) sRGB bytes to CIE Lab, L 0..100."""
    scaled = rgb.reshape(1, -1, 3).astype(np.float32) / 255.0
    return np.asarray(cv2.cvtColor(scaled, cv2.COLOR_RGB2LAB)[0], dtype=np.float32)


def mean_lab(rgb: RGBImage) -> tuple[float, float, float] | None:
    """The median colour of (N, 3) sRGB pixels in Lab; None for no pixels."""
    if len(rgb) == 0:
        return None
    lightness, a, b = (float(v) for v in np.median(to_lab(rgb), axis=0))
    return lightness, a, b
