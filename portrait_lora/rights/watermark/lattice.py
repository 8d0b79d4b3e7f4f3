"""The mark as a periodic pattern: which frequencies of its tile carry what, and sums over a picture.

The tile repeats over the whole picture, so every part of it, cut out anywhere, holds the whole mark.  Its
frequencies are integer points (periods per tile) between two radii: a fifth carry a fixed pilot, by whose
phases the tile's corner is found, and the others two coded bits each, as the signs of their real and
imaginary parts.  The table is part of the shipped weights: it stays as it is for as long as the scheme does.

Legend: K frequencies along one axis, -REACH..REACH; M points of data; P points of the pilot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Complex = npt.NDArray[np.complex64]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint8]

REACH: Final = 9
"""Periods of the finest wave in one tile."""
TILE_PX: Final = 40.0
"""Side of the tile in pictures whose shorter side is at most `PLAIN_PX`: waves of 4.4 to 20 px."""
PLAIN_PX: Final = 192
GROWTH: Final = 0.5
"""In larger pictures the tile grows with this power of the side: fine enough not to be seen, and coarse
enough to be left by compression, and when the picture is shrunk for a page."""


def tile_px(height: int, width: int) -> float:
    """Side of the tile in a picture of this size, a whole number of px."""
    return float(round(TILE_PX * max(1.0, min(height, width) / PLAIN_PX) ** GROWTH))


_TILT_RADII, _TILT = (2.0, 3.0, 4.0, 5.0, 6.0, 9.0), (0.15, 0.3, 0.6, 1.0, 1.15, 1.1)
_RADIUS: Final = np.hypot(*np.mgrid[-REACH : REACH + 1, 0 : REACH + 1])


def unit(spectrum: np.ndarray) -> Complex:
    """Scaled so that the pattern's root mean square is 1."""
    return (spectrum / np.sqrt((np.abs(spectrum) ** 2).sum() / 2)).astype(np.complex64)


@dataclass(frozen=True, slots=True)
class Lattice:
    """`data` (M, 2) and `pilot` (P, 2) are frequencies (y, x) of half a plane; `phase` (P,) are the pilot's.

    Coded bit i is part `order[i]` of the data (real parts first, then imaginary ones), with the sign
    `signs[i]`.  `strength` (REACH + 1,) is the amplitude at each radius, `pilot_strength` a factor on it.
    """

    data: Ints
    pilot: Ints
    phase: Complex
    order: Ints
    signs: Floats
    strength: Floats
    pilot_strength: float

    def amplitude(self, points: Ints) -> Floats:
        """(N,) of frequencies (N, 2)."""
        radius = np.hypot(points[:, 0], points[:, 1])
        return np.interp(radius, np.arange(REACH + 1), self.strength).astype(np.float32)

    def spectrum(self, coded: Bits) -> Complex:
        """(2 REACH + 1, REACH + 1) of the pattern, whose root mean square is 1; columns are x = 0..REACH."""
        grid = np.zeros((2 * REACH + 1, REACH + 1), np.complex64)
        parts = np.empty(len(self.order), np.float32)
        parts[self.order] = (2.0 * coded - 1.0) * self.signs
        pairs = parts[: len(self.data)] + 1j * parts[len(self.data) :]
        grid[self.data[:, 0] + REACH, self.data[:, 1]] = pairs * self.amplitude(self.data) / np.sqrt(2)
        grid[self.pilot[:, 0] + REACH, self.pilot[:, 1]] = (
            self.phase * self.amplitude(self.pilot) * self.pilot_strength
        )
        return unit(grid)

    def tilted(self, spectrum: Complex, tilt: float) -> Complex:
        """With less of the coarse waves: in a small picture these are as large as eyes and mouth, are seen
        most and are disturbed most.  `tilt` 0 changes nothing, 1 leaves a seventh of the coarsest."""
        return unit(spectrum * np.interp(_RADIUS, _TILT_RADII, _TILT) ** tilt)

    def soft(self, grid: Complex, weight: Floats) -> Floats:
        """(192,) evidence per coded bit from a measured spectrum; `weight` like the grid."""
        rows, columns = self.data[:, 0] + REACH, self.data[:, 1]
        seen = grid[rows, columns] * weight[rows, columns] * self.amplitude(self.data)
        return np.concatenate([seen.real, seen.imag])[self.order] * self.signs


def waves(count: int, tile: float, step: float = 1.0, origin: float = 0.0) -> Complex:
    """(count, K) of exp(2 pi i k x / tile) for k from -REACH to REACH in `step`, x from `origin`."""
    x = np.arange(count) + origin
    turns = np.repeat(np.exp(2j * np.pi / tile * step * x)[:, None], round(REACH / step), axis=1)
    right = np.cumprod(turns, axis=1)  # powers of one wave: far cheaper than an exponential each
    middle = np.ones((count, 1), right.dtype)
    return np.hstack([np.conj(right[:, ::-1]), middle, right]).astype(np.complex64)


def pattern(spectrum: Complex, rows: tuple[int, int], width: int, tile: float) -> Floats:
    """(rows, width) of the repeated pattern, from row `rows[0]` to before `rows[1]` of the picture."""
    if tile == int(tile):
        side = int(tile)
        one = _waved(spectrum, waves(side, tile), waves(side, tile))
        lines = np.tile(one, (1, -(-width // side)))[:, :width]
        return lines[np.arange(*rows) % side]
    return _waved(spectrum, waves(rows[1] - rows[0], tile, origin=rows[0]), waves(width, tile))


def _waved(spectrum: Complex, down: Complex, across: Complex) -> Floats:
    half = (down @ spectrum).astype(np.complex64)  # (rows, REACH + 1)
    right = across[:, REACH:]
    return np.asarray(half.real @ right.real.T - half.imag @ right.imag.T, np.float32)


def measured(signal: Floats, tile: float, step: float = 1.0) -> Complex:
    """(K, K') sums of a picture times the conjugate waves: its spectrum at a tile's frequencies.

    K' are the columns x >= 0.  With `step` 0.5 the points in between are measured too.
    """
    height, width = signal.shape
    down, across = waves(height, tile, step), waves(width, tile, step)
    across = across[:, (across.shape[1] - 1) // 2 :]
    half = signal @ across.real - 1j * (signal @ across.imag)
    return (np.conj(down).T @ half.astype(np.complex64)).astype(np.complex64)
