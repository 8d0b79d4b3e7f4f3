"""The visible label: the letters "AI" in a corner of a picture that is delivered, never over a face.

White on a dark pill with a light rim: it stands out on light and on dark ground alike (white on the pill has
a contrast of at least 7 whatever lies under it; the rim parts the pill from dark ground).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from portrait_lora.errors import InputError

Box = tuple[float, float, float, float]
TEXT: Final = "AI"
HEIGHTS: Final = (0.055, 0.045, 0.036)
"""Of the picture's shorter side, the largest first."""
_LEAST_PX: Final = 12
_MARGIN: Final = 0.5
"""Between label and edge, of the label's height."""
_PILL: Final = (18, 18, 20, 235)
_RIM: Final = (255, 255, 255, 235)
_INK: Final = (255, 255, 255, 255)
_SHARP: Final = 4
"""Drawn so many times larger, for smooth edges."""


def labelled(picture: Image.Image, faces: Sequence[Box]) -> Image.Image:
    """A copy with the label; `faces` are boxes in pixels (left, top, right, bottom) that it stays clear of.

    Raises `InputError` for a picture without a corner for it.
    """
    left, top, width, height = place_of(picture.size, faces)
    tile = _drawn(width, height)
    labelled_picture = picture.convert("RGBA") if "A" in picture.getbands() else picture.convert("RGB")
    labelled_picture.paste(tile, (left, top), tile)
    return labelled_picture


def place_of(size_px: tuple[int, int], faces: Sequence[Box]) -> tuple[int, int, int, int]:
    """(left, top, width, height) of the label: the lower right corner, else the next that is free.

    Raises `InputError` where every corner lies over a face, even of the smallest label.
    """
    for share in HEIGHTS:
        height = max(_LEAST_PX, round(share * min(size_px)))
        width, margin = round(1.9 * height), max(2, round(_MARGIN * height))
        right, bottom = size_px[0] - margin - width, size_px[1] - margin - height
        if right < margin or bottom < margin:
            continue
        for left, top in ((right, bottom), (margin, bottom), (right, margin), (margin, margin)):
            box = (left, top, left + width, top + height)
            if not any(_overlap(box, face) for face in faces):
                return left, top, width, height
    raise InputError(
        "there is no corner for the label",
        got=f"{size_px[0]} x {size_px[1]} px, {len(faces)} faces",
        needed="a corner that no face reaches",
        remedy="Use a wider picture, or --no-label and say it beside the picture.",
    )


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _drawn(width: int, height: int) -> Image.Image:
    """The pill, (width, height) RGBA."""
    w, h = width * _SHARP, height * _SHARP
    tile = Image.new("RGBA", (w, h), (0, 0, 0, 0))
    pen = ImageDraw.Draw(tile)
    rim = max(_SHARP, round(0.06 * h))
    pen.rounded_rectangle((0, 0, w - 1, h - 1), radius=h // 3, fill=_RIM)
    pen.rounded_rectangle((rim, rim, w - 1 - rim, h - 1 - rim), radius=h // 3 - rim // 2, fill=_PILL)
    font = ImageFont.load_default(round(0.66 * h))
    left, top, right, bottom = pen.textbbox((0, 0), TEXT, font=font)
    at = ((w - right - left) / 2, (h - bottom - top) / 2)
    pen.text(at, TEXT, font=font, fill=_INK, stroke_width=round(0.02 * h), stroke_fill=_INK)
    return tile.resize((width, height), Image.Resampling.LANCZOS)


def contrast(a: Sequence[float], b: Sequence[float]) -> float:
    """The contrast ratio of two sRGB colours 0..255 (WCAG 2.2, 1.4.3)."""

    def luminance(colour: Sequence[float]) -> float:
        c = np.asarray(colour, np.float64)[:3] / 255
        linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)
