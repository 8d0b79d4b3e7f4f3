"""Marking a small picture with an eye to what it holds: waves that it would drown are made stronger.

In a small picture there are few tiles to average over, and the picture itself is what disturbs the reading
most.  It is known when the mark is made: what the reading network will see of it at each wave is measured,
and the amplitudes are set so that all bits come out about as clearly, within limits, at the same strength
overall (informed embedding; Cox, Miller and McKellips 1999, Watermarking as communications with side
information).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from portrait_lora.records import RGBImage
from portrait_lora.rights.watermark.lattice import REACH, Complex, Floats, Lattice, measured, unit

_LEAST, _MOST = 0.3, 2.5
_Y, _X = np.mgrid[-REACH : REACH + 1, 0 : REACH + 1]
_SHELL: Final = np.rint(np.hypot(_Y, _X)).astype(np.int64)


def informed(
    spectrum: Complex,
    lattice: Lattice,
    host: RGBImage,
    mark: Callable[[Complex], RGBImage],
    signal: Callable[[RGBImage], Floats],
    tile: float,
) -> Complex:
    """The spectrum with amplitudes for this picture; its signs stay, and its root mean square is 1.

    `mark` puts a spectrum into the picture, `signal` is what the reading network sees of one.
    """
    before = measured(signal(host), tile)
    after = measured(signal(mark(spectrum)), tile)
    there = np.abs(spectrum) > 0
    gain = np.ones(spectrum.shape, np.float32)
    for shell in np.unique(_SHELL[there]):
        one = there & (shell == _SHELL)
        passed = ((after - before)[one] * np.conj(spectrum[one])).real.sum() / (
            np.abs(spectrum[one]) ** 2
        ).sum()
        gain[one] = max(float(passed), 1e-6)
    drowned = after / gain - spectrum
    size = np.where(there, np.abs(spectrum), 1.0)
    out = np.zeros(spectrum.shape, np.complex64)
    data = lattice.data[:, 0] + REACH, lattice.data[:, 1]
    part = size[data] / np.sqrt(2)
    real, imaginary = np.sign(spectrum[data].real), np.sign(spectrum[data].imag)
    out[data] = part * real * _against(real * drowned[data].real / part) + 1j * (
        part * imaginary * _against(imaginary * drowned[data].imag / part)
    )
    pilot = lattice.pilot[:, 0] + REACH, lattice.pilot[:, 1]
    towards = spectrum[pilot] / size[pilot]
    out[pilot] = spectrum[pilot] * _against((drowned[pilot] * np.conj(towards)).real / size[pilot])
    return unit(out)


def _against(helps: np.ndarray) -> np.ndarray:
    """The amplitude for a wave that the picture itself helps that much already (hinders, below 0)."""
    return np.clip(1 - helps, _LEAST, _MOST)
