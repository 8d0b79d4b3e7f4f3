"""Enlarging in tiles: memory is bounded by the output and one tile, and tiles blend where they overlap.

Every tile is computed with a margin around it, so that what lies at its border was seen whole by the network;
the outer `BLEND_PX` of that margin go over into the neighbour by a smooth ramp (weights that sum to one).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from portrait_lora.records import FloatArray

BLEND_PX: Final = 8
"""Of the input, on each side of the line between two tiles."""
OfTile = Callable[[np.ndarray], np.ndarray]
"""(h, w, 3) float32 -> (scale × h, scale × w, 3)."""


@dataclass(frozen=True, slots=True)
class Span:
    """One tile along an axis, in input pixels: computed from `first` to `last`, used from `begin` to `end`,
    with ramps of `before` and `after` pixels at these ends."""

    first: int
    last: int
    begin: int
    end: int
    before: int
    after: int

    def weights(self, scale: int) -> FloatArray:
        """Of its used part at the output's scale."""
        out = np.ones((self.end - self.begin) * scale, np.float32)
        if self.before:
            out[: self.before * scale] = _ramp(self.before * scale)
        if self.after:
            out[len(out) - self.after * scale :] = _ramp(self.after * scale)[::-1]
        return out


def _ramp(length: int) -> FloatArray:
    """Rises from 0 to 1 by half a cosine; a ramp and its mirror image sum to one."""
    places = (np.arange(length, dtype=np.float32) + 0.5) / length
    return (0.5 - 0.5 * np.cos(np.pi * places)).astype(np.float32)


def spans(length: int, tile: int, margin: int) -> list[Span]:
    """Tiles of about `tile` pixels that cover `length`, each with a margin of `margin` within the picture.

    Lines between tiles lie at equal distances, so that no tile is a sliver.
    """
    count = max(1, -(-length // tile))
    lines = [round(i * length / count) for i in range(count + 1)]
    blend = min([BLEND_PX, *((b - a) // 2 for a, b in pairwise(lines))])
    tiles: list[Span] = []
    for i in range(count):
        begin = lines[i] - (blend if i else 0)
        end = lines[i + 1] + (blend if i + 1 < count else 0)
        first, last = max(0, begin - margin), min(length, end + margin)
        before, after = (2 * blend if i else 0), (2 * blend if i + 1 < count else 0)
        tiles.append(Span(first, last, begin, end, before, after))
    return tiles


def pairs(height: int, width: int, tile: int, margin: int) -> Iterator[tuple[Span, Span]]:
    """(rows, columns) of every tile."""
    columns = spans(width, tile, margin)
    for rows in spans(height, tile, margin):
        for one in columns:
            yield rows, one


def enlarged(rgb_HW3: np.ndarray, scale: int, of_tile: OfTile, *, tile: int, margin: int) -> FloatArray:
    """(scale × H, scale × W, 3) float32: every tile through `of_tile`, added into one array."""
    height, width = rgb_HW3.shape[:2]
    out = np.zeros((height * scale, width * scale, 3), np.float32)
    for rows, columns in pairs(height, width, tile, margin):
        large = of_tile(rgb_HW3[rows.first : rows.last, columns.first : columns.last])
        y, x = (rows.begin - rows.first) * scale, (columns.begin - columns.first) * scale
        part = large[
            y : y + (rows.end - rows.begin) * scale, x : x + (columns.end - columns.begin) * scale
        ].astype(np.float32)
        part *= rows.weights(scale)[:, None, None]
        part *= columns.weights(scale)[None, :, None]
        out[rows.begin * scale : rows.end * scale, columns.begin * scale : columns.end * scale] += part
    return out
