"""A mark carried over to an edited picture: what was not edited keeps the bytes that were delivered.

The unmarked picture of before is not at hand, but it can be computed back from the marked one: the pattern is
known, and its strength at a place follows from the unmarked picture around it, which the marked one already
resembles closely.  So the unmarked picture is a fixed point, reached in a few rounds; where the edited
picture with this mark gives just what was delivered, it was not edited there, and settles what rounding left
open.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from portrait_lora.records import RGBImage
from portrait_lora.rights.watermark.lattice import Floats

_ROUNDS: Final = 8
_LEEWAY: Final = 0.05
"""Of the strength, how far what is computed back may be off: then a change by one grey level may be taken for
the mark's own rounding, where the mark is strong."""
_STRIP: Final = 512


def unedited(
    edited: RGBImage,
    delivered: RGBImage,
    strength: Callable[[RGBImage], Floats],
    pattern: Callable[[int, int], Floats],
    shares: Floats,
) -> np.ndarray:
    """(H, W) bool: where `edited`, which has no mark, is what `delivered` was before it was marked.

    `strength` (H, W) of a picture is what it is marked with, `pattern` the rows of the pattern from one to
    before another, `shares` (3,) those of red, green and blue.
    """
    likely, kept = delivered, np.zeros(edited.shape[:2], bool)
    for _ in range(_ROUNDS):
        before, likely = likely, np.empty_like(delivered)
        laid = strength(before)
        for top in range(0, len(edited), _STRIP):
            rows = slice(top, min(top + _STRIP, len(edited)))
            mark = (pattern(rows.start, rows.stop) * laid[rows])[..., None] * shares
            kept[rows] = _fits(edited[rows], delivered[rows], mark)
            likely[rows] = np.where(kept[rows][..., None], edited[rows], _undone(delivered[rows], mark))
        if np.array_equal(before, likely):
            break
    return kept


def _fits(edited: RGBImage, delivered: RGBImage, mark: Floats) -> np.ndarray:
    """(H, W) bool: whether the mark (H, W, 3), a little weaker or stronger, leads from one to the other."""
    weak, strong = (edited + np.rint(mark * np.float32(1 + sign * _LEEWAY)) for sign in (-1, 1))
    low, high = np.minimum(weak, strong).clip(0, 255), np.maximum(weak, strong).clip(0, 255)
    return np.all((low <= delivered) & (delivered <= high), axis=-1)


def _undone(delivered: RGBImage, mark: Floats) -> RGBImage:
    """Without the mark; what is black or white is most likely to have been so."""
    plain = (delivered - np.rint(mark)).clip(0, 255).astype(np.uint8)
    return np.where((delivered == 0) | (delivered == 255), delivered, plain)
