"""Small JPEG pages of labelled tiles for the documentation, marked as what they are."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image
from torch import Tensor

from portrait_lora import manifest, provenance
from portrait_lora.evaluation.overview import Row, write_overview

QUALITY: Final = 84
_PAPER: Final = (250, 248, 244)
Tiles = list[tuple[Image.Image, str]]


def tiles(pictures: Tensor, words: Sequence[str]) -> Tiles:
    """Pictures (N, 3, H, W) uint8 with the words beneath each."""
    arrays = pictures.permute(0, 2, 3, 1).contiguous().numpy()
    return [(Image.fromarray(np.asarray(a)), w) for a, w in zip(arrays, words, strict=True)]


def rows_of(title: str, note: str, shown: Tiles, columns: int) -> list[Row]:
    """One row after another of `columns` tiles; the title stands over the first."""
    starts = range(0, len(shown), columns)
    return [Row(*((title, note) if s == 0 else ("", "")), shown[s : s + columns]) for s in starts]


def write_page(path: Path, title: str, rows: Sequence[Row], *, drawn: bool) -> None:
    """Write the page.  `drawn` says that a trained model drew pictures on it; otherwise they are renders."""
    with tempfile.TemporaryDirectory() as folder:
        rough = Path(folder) / "page.jpg"
        write_overview(rough, title, rows)
        with Image.open(rough) as page:
            save_page(path, page.convert("RGB"), drawn=drawn)


def save_page(path: Path, page: Image.Image, *, drawn: bool) -> None:
    """Write a JPEG small enough for a repository, with the mark of what is on it."""
    out = io.BytesIO()
    mark = {"xmp": provenance.xmp_bytes(provenance.TRAINED)} if drawn else {}
    page.save(out, "JPEG", quality=QUALITY, optimize=True, **mark)
    data = out.getvalue() if drawn else provenance.studio_marked(out.getvalue())
    manifest.write_bytes_atomic(path, data)
    print(f"{path}: {page.width} x {page.height} px, {len(data) / 1e3:.0f} kB", flush=True)


def stacked(pages: Sequence[Image.Image]) -> Image.Image:
    """The pages below one another."""
    size = max(p.width for p in pages), sum(p.height for p in pages)
    whole = Image.new("RGB", size, _PAPER)
    y = 0
    for page in pages:
        whole.paste(page, (0, y))
        y += page.height
    return whole
