"""Marking a small picture with an eye to what it holds, in measured steps.

In a small picture there are few tiles to average over, and the picture itself is what disturbs the reading
most.  It is known when the mark is made, and so is the reader: the marked picture is sent through what it is
likely to go through (`rehearsal`), what the reading network sees of every coded bit afterwards is measured,
and the amplitudes are set so that all bits come out clearly after each of them, at the same strength overall;
then again, from what that has come to (informed embedding; Cox, Miller and McKellips 1999, Watermarking as
communications with side information).  The corner of the tile is laid where the picture agrees most with the
mark, and where a picture is marked in part already, on the mark that is there: readers look for it anyway.

Legend: N parts of the mark: real parts of the data, their imaginary parts, the pilot; A treatments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from portrait_lora.records import RGBImage
from portrait_lora.rights.watermark.lattice import REACH, Complex, Floats, Lattice, measured
from portrait_lora.rights.watermark.rehearsal import TREATMENTS
from portrait_lora.rights.watermark.search import noise_of
from portrait_lora.rights.watermark.settled import Waves

Values = npt.NDArray[np.float64]

MOST_PX: Final = 400 * 400
_FEW_PX: Final = 200 * 200
_STEPS: Final = (4, 2)
"""Measured steps up to `_FEW_PX` and up to `MOST_PX` pixels."""
_SOLVING: Final = 30
_STEEP: Final = 2.0
_MARGIN: Final = 0.5
"""How far above the noise (in its root mean square) a bit should come out, and how sharply less counts."""
_COARSE_COST: Final = 0.2
"""Of the cost of amplitudes, how much counts beside the usual ones, so that coarse waves stay weak."""
_MOST: Final = 3.0
_STRIDE: Final = 0.6
_PILOT: Final = 2.0
POWER: Final = 2.0
"""Sum of the squares of all parts of a pattern whose root mean square is 1."""
_CORNERS: Final = 64
_TRIED: Final = 5
_APART: Final = 3
_ENOUGH: Final = 0.65
"""Corners that are tried, so many steps apart at least, until this little is missing: in noise at 128 px half
of the marks that cannot be read at the first corner can at another one."""

_Y, _X = np.mgrid[-REACH : REACH + 1, 0 : REACH + 1]
_TURNS: Final = np.exp(
    -2j * np.pi / _CORNERS * np.outer(np.arange(_CORNERS), np.arange(-REACH, REACH + 1))
).astype(np.complex64)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the reading network sees of a picture after one treatment: spectrum and noise (its root)."""

    spectrum: Complex
    noise: Floats
    tile: float


def informed(
    spectrum: Complex,
    lattice: Lattice,
    host: RGBImage,
    mark: Callable[[Complex], RGBImage],
    signal: Callable[[RGBImage], Floats],
    tile: float,
) -> tuple[RGBImage, Waves]:
    """The picture marked with the signs of `spectrum`, whose root mean square is 1, as is best read.

    Also how that is done: `waves_of` makes its spectrum again.

    `mark` puts a spectrum into the picture, `signal` is what the reading network sees of one.
    """
    parts = _Parts(spectrum, lattice)
    hosts = [_seen(treatment(host), host.shape[1], signal, tile) for treatment in TREATMENTS]
    noise_AN = np.stack([parts.spread(one.noise) for one in hosts])
    weight_AN = parts.weight / noise_AN
    scale_AN = weight_AN / weight_AN.mean(1, keepdims=True) / noise_AN
    usual = parts.of(spectrum)
    steps = _STEPS[host.shape[0] * host.shape[1] > _FEW_PX]
    best, waves, least = host, Waves(usual, (0, 0)), np.inf
    for place in _corners(spectrum, hosts):
        corner, amplitude = _turned(place), usual
        host_AN = parts.all_of([one.spectrum * np.conj(corner) for one in hosts])
        for step in range(steps + 1):
            out = mark((parts.grid(amplitude) * corner).astype(np.complex64))
            seen = [
                measured(signal(treatment(out)), one.tile) * np.conj(corner)
                for treatment, one in zip(TREATMENTS, hosts, strict=True)
            ]
            after_AN = parts.all_of(seen)
            missing = float(_missing(after_AN * scale_AN).mean(1).max())  # after the hardest of them
            if missing < least:
                best, waves, least = out, Waves(amplitude, place), missing
            if step == steps:
                break
            gain_AN = parts.gain(after_AN - host_AN, amplitude)
            helps_AN = after_AN - gain_AN * amplitude
            aim = _solved(helps_AN * scale_AN, gain_AN * scale_AN, amplitude, usual)
            amplitude = _scaled(amplitude + _STRIDE * (aim - amplitude))
        if least < _ENOUGH:
            break
    return best, waves


def waves_of(spectrum: Complex, lattice: Lattice, waves: Waves) -> Complex:
    """The spectrum that `informed` settled on, with the signs of `spectrum`."""
    return (_Parts(spectrum, lattice).grid(waves.amplitude) * _turned(waves.corner)).astype(np.complex64)


def _seen(rgb: RGBImage, width: int, signal: Callable[[RGBImage], Floats], tile: float) -> Seen:
    own = tile * rgb.shape[1] / width
    fine = measured(signal(rgb), own, 0.5)
    return Seen(np.ascontiguousarray(fine[::2, ::2]), np.sqrt(noise_of(fine)), own)


def _corners(spectrum: Complex, hosts: list[Seen]) -> Iterator[tuple[int, int]]:
    """Corners (y, x), in steps of the tile, where the picture agrees most with the mark; the best first."""
    white = [one.spectrum / one.noise for one in hosts]
    total = sum((one / (np.median(np.abs(one)) + 1e-9) for one in white), np.zeros_like(spectrum)) * np.conj(
        spectrum
    )
    response = ((_TURNS @ total) @ _TURNS[:, REACH:].T).real.copy()
    for _ in range(_TRIED):
        y, x = divmod(int(response.argmax()), _CORNERS)
        yield y, x
        near = np.arange(-_APART, _APART + 1)
        response[np.ix_((y + near) % _CORNERS, (x + near) % _CORNERS)] = -np.inf


def _turned(corner: tuple[int, int]) -> Complex:
    """The turns of all waves for a corner."""
    y, x = corner
    return np.exp(2j * np.pi / _CORNERS * (_Y * y + _X * x)).astype(np.complex64)


def _missing(clear_AN: Values) -> Values:
    """How much each part falls short: near 0 above the margin, growing in proportion below it."""
    return np.logaddexp(0, -_STEEP * (clear_AN - _MARGIN))


def _solved(helps_AN: Values, gain_AN: Values, start: Values, usual: Values) -> Values:
    """Amplitudes (N,) of the same power with which the least is missing: a fixed point of its gradient.

    What is read is taken as `helps_AN + gain_AN * amplitude`.
    """
    most = _MOST * np.maximum(usual, 0.3 * usual.mean())
    cost = _COARSE_COST * (usual**2).mean() / (usual**2 + 1e-3) + 1 - _COARSE_COST
    amplitude = start
    for _ in range(_SOLVING):
        short_AN = _STEEP * (helps_AN + gain_AN * amplitude - _MARGIN)
        pull = (gain_AN / (1 + np.exp(np.minimum(short_AN, 50)))).sum(0) + 1e-12
        aim = np.minimum(_scaled(pull / cost), most)
        amplitude = _scaled(0.8 * amplitude + 0.2 * aim)
    return amplitude


def _scaled(amplitude: Values) -> Values:
    return amplitude * np.sqrt(POWER / (amplitude**2).sum())


class _Parts:
    """Spectra as (N,) numbers, each along the direction in which its part of the mark points."""

    def __init__(self, spectrum: Complex, lattice: Lattice):
        self._data = lattice.data[:, 0] + REACH, lattice.data[:, 1]
        self._pilot = lattice.pilot[:, 0] + REACH, lattice.pilot[:, 1]
        self._real, self._imaginary = np.sign(spectrum[self._data].real), np.sign(spectrum[self._data].imag)
        self._phase, self._shape = lattice.phase, spectrum.shape
        points = np.concatenate([lattice.data, lattice.data, lattice.pilot])
        self._shells = np.rint(np.hypot(points[:, 0], points[:, 1]))
        self.weight = lattice.amplitude(points).astype(np.float64)
        """How the reader weighs each part; the pilot counts more, since without it nothing is read."""
        self.weight[-len(lattice.pilot) :] *= _PILOT

    def of(self, spectrum: Complex) -> Values:
        """(N,) of a spectrum."""
        data, pilot = spectrum[self._data], spectrum[self._pilot]
        along = (pilot * np.conj(self._phase)).real
        return np.concatenate([data.real * self._real, data.imag * self._imaginary, along]).astype(float)

    def all_of(self, spectra: list[Complex]) -> Values:
        """(A, N) of several."""
        return np.stack([self.of(one) for one in spectra])

    def grid(self, amplitude: Values) -> Complex:
        """The spectrum of (N,) amplitudes."""
        out, count = np.zeros(self._shape, np.complex64), len(self._real)
        real, imaginary = amplitude[:count], amplitude[count : 2 * count]
        out[self._data] = real * self._real + 1j * imaginary * self._imaginary
        out[self._pilot] = amplitude[2 * count :] * self._phase
        return out

    def spread(self, values: Floats) -> Values:
        """(N,) of a real value per wave."""
        data = values[self._data]
        return np.concatenate([data, data, values[self._pilot]]).astype(float)

    def gain(self, passed_AN: Values, amplitude: Values) -> Values:
        """(A, N): what is seen per amplitude, alike for waves of one radius; at least 0."""
        out = np.zeros_like(passed_AN)
        for shell in np.unique(self._shells):
            one = self._shells == shell
            seen = (passed_AN[:, one] * amplitude[one]).sum(1) / (amplitude[one] ** 2).sum()
            out[:, one] = np.maximum(seen, 0)[:, None]
        return out
