"""The sheet that shows finishing step by step: small pictures in a row, and the finished one beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from portrait_lora import manifest
from portrait_lora.finishing.canvas import Canvas, to_bytes
from portrait_lora.rights import marks

_PAPER: Final = "#faf8f4"
_INK: Final = "#262628"
_GREY: Final = "#6f6c67"
_ACCENT: Final = "#2f5d73"
_MARGIN_PX: Final = 44
_GAP_PX: Final = 26
_SMALL_PX: Final = 268
_LARGE_PX: Final = 512
"""Width of a small picture and of the finished one."""
_CAPTION_PX: Final = 76
_CHECKS: Final = ((214, 212, 208), (244, 243, 240))
_CHECK_PX: Final = 16
_QUALITIES: Final = (90, 86, 82, 78, 72, 66, 60)


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of the sheet with its two lines of words."""

    canvas: Canvas
    label: str
    note: str


def write_sheet(
    path: Path, panels: Sequence[Panel], *, title: str, facts: Sequence[str], mark: bytes, max_bytes: int
) -> Path:
    """Write the JPEG, signed: the last panel is the large one.  `mark` is its XMP packet.

    The quality is the highest of a few with which the file has at most `max_bytes` (else the lowest of them).
    """
    *small, large = panels
    big = _shown(large.canvas, _LARGE_PX)
    shown = [_shown(one.canvas, _SMALL_PX) for one in small]
    left = len(shown) * _SMALL_PX + max(0, len(shown) - 1) * _GAP_PX
    width = 2 * _MARGIN_PX + left + _GAP_PX + 14 + _LARGE_PX
    row = max(one.height for one in shown)
    height = 2 * _MARGIN_PX + max(big.height, row + _CAPTION_PX + 106 + 32 * len(facts)) + _CAPTION_PX
    page = Image.new("RGB", (width, height - 14), _PAPER)
    pen = ImageDraw.Draw(page)
    for place, (picture, panel) in enumerate(zip(shown, small, strict=True)):
        x = _MARGIN_PX + place * (_SMALL_PX + _GAP_PX)
        page.paste(picture, (x, _MARGIN_PX))
        _caption(pen, (x, _MARGIN_PX + row), place + 1, panel)
    x = width - _MARGIN_PX - _LARGE_PX
    page.paste(big, (x, _MARGIN_PX))
    _caption(pen, (x, _MARGIN_PX + big.height), len(panels), large)
    _words(pen, (_MARGIN_PX, _MARGIN_PX + row + _CAPTION_PX + 38), title, facts)
    manifest.write_bytes_atomic(path, _jpeg(page, mark, max_bytes))
    return path


def _caption(pen: ImageDraw.ImageDraw, at: tuple[int, int], number: int, panel: Panel) -> None:
    x, y = at
    label, note = ImageFont.load_default(25), ImageFont.load_default(20)
    pen.text((x, y + 12), f"{number}", font=label, fill=_ACCENT)
    pen.text((x + 22, y + 12), panel.label, font=label, fill=_INK)
    pen.text((x + 22, y + 44), panel.note, font=note, fill=_GREY)


def _words(pen: ImageDraw.ImageDraw, at: tuple[int, int], title: str, facts: Sequence[str]) -> None:
    x, y = at
    pen.rectangle((x, y, x + 56, y + 3), fill=_ACCENT)
    pen.text((x, y + 18), title, font=ImageFont.load_default(32), fill=_INK)
    for line, fact in enumerate(facts):
        pen.text((x, y + 68 + 32 * line), fact, font=ImageFont.load_default(22), fill=_GREY)


def _shown(canvas: Canvas, width: int) -> Image.Image:
    """The picture at that width; what is cut out lies on a chequerboard."""
    size = width, max(1, round(width * canvas.size_px[1] / canvas.size_px[0]))
    picture = Image.fromarray(to_bytes(canvas.rgb_HW3)).resize(size, Image.Resampling.LANCZOS)
    if canvas.alpha_HW is None:
        return picture
    alpha = Image.fromarray(to_bytes(canvas.alpha_HW)).resize(size, Image.Resampling.LANCZOS)
    rows, columns = np.indices((size[1], size[0])) // _CHECK_PX
    board = np.asarray(_CHECKS, np.uint8)[(rows + columns) % 2]
    return Image.composite(picture, Image.fromarray(board), alpha)


def _jpeg(page: Image.Image, mark: bytes, max_bytes: int) -> bytes:
    data = b""
    for quality in _QUALITIES:
        origin = marks.Origin(marks.of_packet(mark))
        data = marks.encode(page, "JPEG", origin, quality=quality, subsampling=0, optimize=True)
        if len(data) <= max_bytes:
            break
    return data
