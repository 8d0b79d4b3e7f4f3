"""Whether the mark lies over the whole picture, or a part of it does not carry it."""

from __future__ import annotations

from typing import Final

import numpy as np

from portrait_lora.rights.watermark.lattice import REACH, Complex, Floats, pattern
from portrait_lora.rights.watermark.search import Place, oriented

_BLOCK_TILES: Final = 2.0
_MOST_BLOCKS: Final = 6
_LEAST: Final = 0.25
"""Of the median block's agreement: less is none."""


def is_whole(signal: Floats, spectrum: Complex, place: Place) -> bool:
    """False where in a block of two tiles or more the read mark is missing that the others show."""
    values = blocks(signal, spectrum, place)
    return bool((values >= _LEAST * np.median(values)).all())


def blocks(signal: Floats, spectrum: Complex, place: Place) -> Floats:
    """(rows, columns) correlation of the signal with the mark as it would lie there, block by block."""
    y, x = np.mgrid[-REACH : REACH + 1, 0 : REACH + 1]
    moved = spectrum * np.exp(2j * np.pi * (y * place.corner[0] + x * place.corner[1]))
    there = reoriented(moved.astype(np.complex64), place.orientation)
    height, width = signal.shape
    mark = pattern(there, (0, height), width, place.tile)
    count = [int(np.clip(side / place.tile / _BLOCK_TILES, 1, _MOST_BLOCKS)) for side in (height, width)]
    rows = np.linspace(0, height, count[0] + 1).astype(int)
    columns = np.linspace(0, width, count[1] + 1).astype(int)
    out = np.empty(count, np.float32)
    for i in range(count[0]):
        for j in range(count[1]):
            part = np.s_[rows[i] : rows[i + 1], columns[j] : columns[j + 1]]
            a, b = signal[part], mark[part]
            out[i, j] = float((a * b).sum() / (np.sqrt((a * a).sum() * (b * b).sum()) + 1e-9))
    return out


def reoriented(spectrum: Complex, orientation: int) -> Complex:
    """Undoes `search.oriented`: the steps are their own inverses, taken in the other order."""
    for step in (4, 2, 1):
        if orientation & step:
            spectrum = oriented(spectrum, step)
    return spectrum
