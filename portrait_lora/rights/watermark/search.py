"""Where the mark could lie: sides of the tile worth trying, and the corner of the tile by the pilot.

A picture may have been scaled, cropped, mirrored or turned by quarters since it was marked.  Because the mark
repeats, its energy stands at multiples of one frequency, which shows in the power spectrum wherever the
tile's corner is; the pilot's phases then tell the corner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from portrait_lora.rights.watermark.lattice import REACH, Complex, Floats, Lattice, measured, tile_px

LEAST_TILE_PX: Final = 14.0
MOST_TILE_PX: Final = 52.0
"""Coarser marks are read from the picture at half its size."""
_NYQUIST: Final = 0.47
_STEP_PERIODS: Final = 0.2
"""How far the finest wave may slip across the picture from one tried side to the next."""
_PADDED_PX: Final = (512, 2048)
_LOCAL: Final = 31
_PEAK: Final = 20.0
_CORNERS: Final = 128
_APART: Final = 0.004
_CLEAR: Final = 3.0
_KNOWN_SCALES: Final = (1.0, 0.5, 0.9, 0.75, 2 / 3, 0.8, 2.0, 1.5)
ORIENTATIONS: Final = 8
_TURNS: Final = np.exp(
    -2j * np.pi / _CORNERS * np.outer(np.arange(_CORNERS), np.arange(-REACH, REACH + 1))
).astype(np.complex64)
"""(corners, K) that undo the phase of a wave for each corner tried along one axis."""


@dataclass(frozen=True, slots=True)
class Place:
    """A guess: side of the tile in px of the signal, orientation 0..7, corner (y, x) in tiles.

    `clearness` says how well the pilot is seen there (0 to about 7); `spectrum` is as measured, in this
    orientation, and `noise` the power of what is no mark, both as `lattice.measured` gives them.
    """

    tile: float
    orientation: int
    corner: tuple[float, float]
    clearness: float
    spectrum: Complex
    noise: Floats


def likely_tiles(height: int, width: int) -> list[float]:
    """Sides of the tile in a picture of this size that was scaled by a usual factor, or not at all."""
    tiles = [tile_px(round(height / s), round(width / s)) * s for s in _KNOWN_SCALES]
    return list(dict.fromkeys(tiles))


def tiles_by_spectrum(signal: Floats, points: npt.NDArray[np.int64], count: int) -> list[float]:
    """The sides at whose multiples there is most power, the best first."""
    side = max(signal.shape)
    padded = min(max(2 * side, _PADDED_PX[0]), max(_PADDED_PX[1], side))
    padded = cv2.getOptimalDFTSize(padded)
    power = np.abs(np.fft.rfft2(signal, (padded, padded)).astype(np.complex64)) ** 2
    level = np.log(power + np.float32(1e-6)).astype(np.float32)
    even = np.minimum(np.exp(level - cv2.blur(level, (_LOCAL, _LOCAL))), _PEAK)
    tiles = tried_tiles(signal.shape)
    scores = np.array([_comb(even, points, padded / tile, tile) for tile in tiles])
    chosen: list[int] = []
    for i in np.argsort(-scores):
        if all(abs(np.log(tiles[i] / tiles[j])) > _APART for j in chosen):
            chosen.append(int(i))
        if len(chosen) == count:
            break
    return [float(tiles[i]) for i in chosen]


def tried_tiles(shape: Sequence[int]) -> npt.NDArray[np.float64]:
    """All sides from the least to the most, as close as a picture of this shape can tell them apart."""
    step = _STEP_PERIODS * MOST_TILE_PX / (REACH * max(shape))
    return np.exp(np.arange(np.log(LEAST_TILE_PX), np.log(MOST_TILE_PX) + step, step))


def _comb(even: Floats, points: npt.NDArray[np.int64], bins: float, tile: float) -> float:
    """Mean power at the lattice's points above the level around them, less where few can be seen."""
    seen = points[np.abs(points).max(axis=1) < _NYQUIST * tile]
    at = np.rint(seen * bins).astype(np.int64)
    values = even[at[:, 0] % even.shape[0], at[:, 1]]
    return float((values.mean() - 1) * np.sqrt(len(seen) / len(points)))


_Y, _X = np.mgrid[-REACH : REACH + 1, 0 : REACH + 1]
_RADIUS: Final = np.hypot(_Y, _X)


def places(signal: Floats, tile: float, lattice: Lattice, orientations: Sequence[int]) -> list[Place]:
    """The best corner in each orientation, for one side of the tile."""
    fine = measured(signal, tile, 0.5)
    noise, spectrum = noise_of(fine), np.ascontiguousarray(fine[::2, ::2])
    results = []
    for orientation in orientations:
        turned = oriented(spectrum, orientation)
        clearness, corner = _corner(turned, noise, lattice)
        results.append(Place(tile, orientation, corner, clearness, turned, noise))
    return results


def _between() -> list[npt.NDArray[np.int64]]:
    """For each radius, where in a spectrum of half steps the points between those of the lattice lie."""
    half = np.arange(-REACH, REACH + 0.25, 0.5)
    y, x = np.meshgrid(half, half[len(half) // 2 :], indexing="ij")
    radius, between = np.hypot(y, x), (y % 1 != 0) | (x % 1 != 0)
    return [np.flatnonzero(between & (np.abs(radius - r) < 1)) for r in range(REACH + 1)]


_SHELLS: Final = _between()


def noise_of(fine: Complex) -> Floats:
    """(2 REACH + 1, REACH + 1) power of what is no mark, by the points between those of the lattice."""
    power = (np.abs(fine) ** 2).ravel()
    shells = []
    for shell in _SHELLS:  # the median: numpy's own takes ten times as long over so few
        values = np.sort(power[shell])
        shells.append(0.5 * (values[(len(values) - 1) // 2] + values[len(values) // 2]))
    return (np.interp(_RADIUS, np.arange(REACH + 1), shells) + 1e-9).astype(np.float32)


def _corner(spectrum: Complex, noise: Floats, lattice: Lattice) -> tuple[float, tuple[float, float]]:
    """How clearly the pilot stands out, and the corner of the tile (y, x) in tiles."""
    rows, columns = lattice.pilot[:, 0] + REACH, lattice.pilot[:, 1]
    seen = spectrum[rows, columns] * np.conj(lattice.phase) / np.sqrt(noise[rows, columns])
    # a frequency that is far above its noise tells no more than a clear one
    seen = seen / np.maximum(np.abs(seen), _CLEAR)
    down, across = (_TURNS[:, lattice.pilot[:, axis] + REACH] for axis in (0, 1))
    response = ((down * seen) @ across.T).real
    y, x = divmod(int(response.argmax()), _CORNERS)
    size = float(np.sqrt((np.abs(seen) ** 2).sum() / 2)) + 1e-9
    return float(response[y, x]) / size, (y / _CORNERS, x / _CORNERS)


def oriented(spectrum: Complex, orientation: int) -> Complex:
    """The half spectrum of the picture mirrored left to right (1), top to bottom (2), by the diagonal (4)."""
    whole = np.empty((2 * REACH + 1, 2 * REACH + 1), np.complex64)
    whole[:, REACH:] = spectrum
    whole[:, :REACH] = np.conj(spectrum[::-1, :0:-1])
    if orientation & 1:
        whole = whole[:, ::-1]
    if orientation & 2:
        whole = whole[::-1]
    if orientation & 4:
        whole = whole.T
    return np.ascontiguousarray(whole[:, REACH:])


def aligned(place: Place) -> Complex:
    """The spectrum as it would be with the tile's corner in the picture's."""
    y, x = place.corner
    return (place.spectrum * np.exp(-2j * np.pi * (_Y * y + _X * x))).astype(np.complex64)
