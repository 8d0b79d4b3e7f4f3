"""A contact sheet with every portrait of a series."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from portrait_lora import manifest
from portrait_lora.records import Portrait
from portrait_lora.rights import marks

_PAPER: Final = (250, 248, 244)
_INK: Final = (38, 38, 40)
_GREY: Final = (128, 125, 120)
_GUTTER_PX: Final = 28
_MARGIN_PX: Final = 56
_CELL_PX: Final = (256, 384)
"""Narrower pictures are enlarged to the first width, wider ones reduced to the second."""


def contact_sheet(
    portraits: Sequence[Portrait],
    path: Path,
    *,
    title: str = "",
    columns: int | None = None,
    notes: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Write a JPEG: even gutters, a caption under each picture, signed, with the mark of generated media.

    The last line of a caption is the file name.  `notes` (path or file name -> words) replace the second
    line.  The same portraits give the same bytes.
    """
    if not portraits:
        raise ValueError("a contact sheet needs at least one portrait")
    widest = max(p.shot.size_px[0] for p in portraits)
    cell_w = min(max(widest, _CELL_PX[0]), _CELL_PX[1])
    cell_h = max(round(cell_w * p.shot.size_px[1] / p.shot.size_px[0]) for p in portraits)
    columns = columns or min(len(portraits), 4 if len(portraits) <= 16 else 6)
    rows = math.ceil(len(portraits) / columns)
    small, large = ImageFont.load_default(13), ImageFont.load_default(26)
    caption_h, title_h = 63, 58 if title else 0
    width = 2 * _MARGIN_PX + columns * cell_w + (columns - 1) * _GUTTER_PX
    height = 2 * _MARGIN_PX + title_h + rows * (cell_h + caption_h) + (rows - 1) * _GUTTER_PX
    page = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(page)
    if title:
        draw.text((_MARGIN_PX, _MARGIN_PX - 14), title, font=large, fill=_INK)
    for i, portrait in enumerate(portraits):
        row, column = divmod(i, columns)
        x = _MARGIN_PX + column * (cell_w + _GUTTER_PX)
        y = _MARGIN_PX + title_h + row * (cell_h + caption_h + _GUTTER_PX)
        with Image.open(portrait.path) as picture:
            tall = round(cell_w * picture.height / picture.width)
            shown = picture.convert("RGB").resize((cell_w, tall), Image.Resampling.LANCZOS)
        page.paste(shown, (x, y + (cell_h - tall) // 2))
        for line, (text, ink) in enumerate(_caption(portrait, notes)):
            draw.text((x, y + cell_h + 8 + 17 * line), _fit(text, small, cell_w), font=small, fill=ink)
    manifest.write_bytes_atomic(path, marks.encode(page, "JPEG", marks.DRAWN, quality=92, subsampling=0))
    return path


def _caption(
    portrait: Portrait, notes: Mapping[str, Sequence[str]] | None
) -> list[tuple[str, tuple[int, int, int]]]:
    layers = dict(portrait.shot.layers)
    look = " · ".join(layers[k] for k in ("view", "expression", "lighting") if k in layers)
    rest = " · ".join(layers[k] for k in ("wardrobe", "setting") if k in layers)
    if notes is not None:
        remarks = notes.get(str(portrait.path), notes.get(portrait.path.name, ()))
        rest = ", ".join(remarks) or "nothing found"
    return [
        (look or portrait.shot.name, _INK),
        (rest or portrait.shot.prompt, _GREY),
        (portrait.path.name, _GREY),
    ]


def _fit(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width_px: int) -> str:
    """The text, shortened with an ellipsis if it is too wide."""
    if font.getlength(text) <= width_px:
        return text
    while text and font.getlength(f"{text.rstrip(' ·')}…") > width_px:
        text = text[:-1]
    return f"{text.rstrip(' ·')}…"
