"""Colours in CIE Lab, and the names that nobody would dispute: lightness, chroma and hue with gaps between
neighbours."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from portrait_lora.records import FloatArray, RGBImage

_MONOCHROME_CHROMA: Final = 5.0
"""Chroma that 1 % of a black-and-white picture's pixels may exceed: JPEG artefacts reach 3 to 4."""
_TINTED_SPREAD: Final = 5.0
"""Most distance of a and b from a curve over lightness in a toned picture; its colours mean nothing."""

_HUES: Final = (
    # name, hue from, to (degrees), chroma at least, lightness from, to
    ("red", 14.0, 42.0, 38.0, 22.0, 60.0),
    ("orange", 52.0, 68.0, 50.0, 52.0, 80.0),
    ("yellow", 84.0, 108.0, 45.0, 66.0, 97.0),
    ("green", 128.0, 168.0, 22.0, 20.0, 75.0),
    ("blue", 240.0, 300.0, 24.0, 30.0, 72.0),
    ("light blue", 222.0, 275.0, 18.0, 72.1, 92.0),
    ("dark blue", 255.0, 305.0, 16.0, 8.0, 26.0),
    ("purple", 308.0, 326.0, 24.0, 18.0, 65.0),
    ("pink", 338.0, 372.0, 24.0, 58.0, 90.0),
)
"""Teal, brown, beige and burgundy have no entry: their neighbours cannot be told from them by one number."""
_GREYS: Final = (
    # name, lightness from, to, chroma at most
    ("dark", 0.0, 22.0, 14.0),
    ("grey", 42.0, 68.0, 5.0),
    ("white", 86.0, 100.1, 5.0),
    ("light", 80.0, 100.1, 10.0),
)
"""In this order.  "dark" is black, charcoal, navy or brown, which nobody tells apart in a shadow; "light"
is white, cream or a pale grey."""


def to_lab(rgb: RGBImage) -> FloatArray:
    """(N, 3) or (H, W, 3) sRGB bytes to (N, 3) CIE Lab, L 0..100."""
    scaled = rgb.reshape(1, -1, 3).astype(np.float32) / 255.0
    return np.asarray(cv2.cvtColor(scaled, cv2.COLOR_RGB2LAB)[0], dtype=np.float32)


def colour_name(lab: npt.NDArray[np.floating]) -> str | None:
    """A colour that nobody would call otherwise; None between two names."""
    lightness, a, b = (float(v) for v in lab)
    chroma, hue = float(np.hypot(a, b)), float(np.degrees(np.arctan2(b, a))) % 360
    for name, dark, bright, most in _GREYS:
        if dark <= lightness <= bright and chroma <= most:
            return name
    for name, low, high, least, dark, bright in _HUES:
        turned = hue + 360 if hue + 360 <= high else hue
        if low <= turned <= high and chroma >= least and dark <= lightness <= bright:
            return name
    return None


def tone_name(lab: npt.NDArray[np.floating]) -> str | None:
    """For a picture without colours: `dark`, `light` or None."""
    return "dark" if lab[0] <= _GREYS[0][2] else "light" if lab[0] >= _GREYS[3][1] else None


def is_black_and_white(rgb: RGBImage) -> bool:
    """Whether a picture has no colour at all."""
    lab = to_lab(rgb.reshape(-1, 3))
    return float(np.percentile(np.hypot(lab[:, 1], lab[:, 2]), 99)) <= _MONOCHROME_CHROMA


def is_toned(rgb: RGBImage) -> bool:
    """Whether all colours follow from the lightness, as in sepia or in black and white."""
    lab = to_lab(rgb.reshape(-1, 3)).astype(np.float64)
    powers = np.stack([np.ones(len(lab)), lab[:, 0] / 100, (lab[:, 0] / 100) ** 2], axis=1)
    fitted, *_ = np.linalg.lstsq(powers, lab[:, 1:], rcond=None)
    left = np.linalg.norm(lab[:, 1:] - powers @ fitted, axis=1)
    return float(np.percentile(left, 95)) <= _TINTED_SPREAD
