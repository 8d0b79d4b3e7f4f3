"""Whether the mark lies over the whole picture, or a part of it does not show it."""

from __future__ import annotations

from typing import Final

import numpy as np

from portrait_lora.rights.watermark.lattice import REACH, Complex, Floats, pattern
from portrait_lora.rights.watermark.search import Place, oriented

_MOST_BLOCKS: Final = 6
_BLOCK_TILES: Final = 1.5
_LEAST: Final = 0.2
"""Of the median block's agreement: less is none."""
_INDEPENDENT: Final = 0.1
"""Of the pixels, as many as the mark's band has waves: by chance the agreement of a block with something else
is one over the root of their number."""
_CLEAR: Final = 6.0
"""How many times that chance the median block has to reach, or blocks of this size tell nothing."""


def is_whole(signal: Floats, spectrum: Complex, place: Place) -> bool:
    """False where a block does not show the mark that was read and most others do: something was pasted in.

    The blocks are as small as the mark is clear enough for; where even quarters of the picture are not, the
    mark counts as whole.
    """
    mark = laid(signal, spectrum, place)
    for count in range(_MOST_BLOCKS, 1, -1):
        if min(signal.shape) < count * _BLOCK_TILES * place.tile:
            continue
        values = blocks(signal, mark, count)
        chance = (_INDEPENDENT * signal.size / count**2) ** -0.5
        if np.median(values) >= _CLEAR * chance:
            return bool((values >= _LEAST * np.median(values)).all())
    return True


def laid(signal: Floats, spectrum: Complex, place: Place) -> Floats:
    """The mark as it would lie in the signal."""
    y, x = np.mgrid[-REACH : REACH + 1, 0 : REACH + 1]
    moved = spectrum * np.exp(2j * np.pi * (y * place.corner[0] + x * place.corner[1]))
    there = reoriented(moved.astype(np.complex64), place.orientation)
    height, width = signal.shape
    return pattern(there, (0, height), width, place.tile)


def blocks(signal: Floats, mark: Floats, count: int) -> Floats:
    """(count, count) correlation of the signal with the mark, block by block."""
    rows, columns = (np.linspace(0, side, count + 1).astype(int) for side in signal.shape)
    out = np.empty((count, count), np.float32)
    for i in range(count):
        for j in range(count):
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
