"""An overview picture: held-out photos, the bare base, and the adapter on the same prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from portrait_lora import manifest
from portrait_lora.records import Face, RGBImage
from portrait_lora.rights import marks

_PAPER: Final = (250, 248, 244)
_INK: Final = (38, 38, 40)
_GREY: Final = (128, 125, 120)
_TILE_PX: Final = 160
_GUTTER_PX: Final = 12
_MARGIN_PX: Final = 44
_HEAD_PX: Final = 44
_FOOT_PX: Final = 26
FACE_REACH: Final = 1.05
"""Half the side of a head-and-shoulders square, in face sizes."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the picture: (image, caption)."""

    title: str
    note: str
    tiles: Sequence[tuple[Image.Image, str]]


def head_square(image: RGBImage, face: Face | None) -> Image.Image:
    """A square around the head, within the picture; the centre of the picture without a face."""
    height, width = image.shape[:2]
    if face is None:
        side = min(height, width)
        x, y = (width - side) / 2, (height - side) / 2
    else:
        x0, y0, x1, y1 = face.box_xyxy_px
        side = min(2 * FACE_REACH * face.size_px, height, width)
        x = np.clip((x0 + x1) / 2 - side / 2, 0, width - side)
        y = np.clip((y0 + y1) / 2 - side / 2, 0, height - side)
    box = (round(float(x)), round(float(y)), round(float(x + side)), round(float(y + side)))
    return Image.fromarray(image).crop(box)


def write_overview(path: Path, title: str, rows: Sequence[Row]) -> None:
    """Write the JPEG, marked as generated media; the same rows give the same bytes."""
    columns = max(len(row.tiles) for row in rows)
    width = 2 * _MARGIN_PX + columns * (_TILE_PX + _GUTTER_PX) - _GUTTER_PX
    height = 2 * _MARGIN_PX + 36 + len(rows) * (_HEAD_PX + _TILE_PX + _FOOT_PX)
    page = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(page)
    large, middle, small = (ImageFont.load_default(size) for size in (26, 16, 13))
    draw.text((_MARGIN_PX, _MARGIN_PX - 14), title, font=large, fill=_INK)
    y = _MARGIN_PX + 36
    for row in rows:
        draw.text((_MARGIN_PX, y + 14), row.title, font=middle, fill=_INK)
        draw.text((_MARGIN_PX + middle.getlength(row.title) + 12, y + 16), row.note, font=small, fill=_GREY)
        y += _HEAD_PX
        for i, (picture, words) in enumerate(row.tiles):
            x = _MARGIN_PX + i * (_TILE_PX + _GUTTER_PX)
            page.paste(picture.convert("RGB").resize((_TILE_PX, _TILE_PX), Image.Resampling.LANCZOS), (x, y))
            draw.text((x, y + _TILE_PX + 5), words, font=small, fill=_GREY)
        y += _TILE_PX + _FOOT_PX
    manifest.write_bytes_atomic(path, marks.encode(page, "JPEG", marks.DRAWN, quality=92, subsampling=0))
