"""The table of the scheme: which waves of the tile carry the pilot, and which carry what coded bit."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from portrait_lora.rights.watermark.lattice import REACH

_SEED: Final = 28_101
_LEAST: Final = 2.0
_STRENGTH: Final = (0.0, 0.0, 0.7, 1.0, 1.15, 1.2, 1.15, 1.0, 0.9, 0.8)
"""By radius.  Compression leaves most at 3 to 6 periods, and what is finer is seen least: a compromise."""
_PILOT_STRENGTH: Final = 1.0


def _points() -> list[tuple[int, int]]:
    every = [(y, x) for y in range(-REACH, REACH + 1) for x in range(REACH + 1) if x > 0 or y > 0]
    return sorted((p for p in every if _LEAST <= np.hypot(*p) <= REACH), key=lambda p: (np.hypot(*p), p))


def table(coded_bits: int) -> dict[str, npt.NDArray[np.generic]]:
    """The tensors `lattice.*` of the weights file; always the same."""
    points = _points()
    data_count = coded_bits // 2
    count = len(points) - data_count
    rng = np.random.Generator(np.random.PCG64(_SEED))
    # one of every few along the radius, so that some are left whatever a picture went through
    chosen = {int((i + rng.random()) * len(points) / count) for i in range(count)}
    rest = rng.permutation([i for i in range(len(points)) if i not in chosen])
    chosen |= set(rest[: count - len(chosen)].tolist())
    phase = 2 * np.pi * rng.random(count)
    return {
        "lattice.data": np.array([p for i, p in enumerate(points) if i not in chosen], np.int8),
        "lattice.pilot": np.array([points[i] for i in sorted(chosen)], np.int8),
        "lattice.phase": np.stack([np.cos(phase), np.sin(phase)], 1).astype(np.float32),
        "lattice.order": rng.permutation(coded_bits).astype(np.uint8),
        "lattice.signs": (rng.integers(0, 2, coded_bits) * 2 - 1).astype(np.int8),
        "lattice.strength": np.array(_STRENGTH, np.float32),
        "lattice.pilot_strength": np.array([_PILOT_STRENGTH], np.float32),
    }


_AT: Final = np.array(_points())
POINTS: Final = _AT + REACH
"""(N, 2) rows and columns of all waves in a square spectrum."""
SHELLS: Final = np.rint(np.hypot(_AT[:, 0], _AT[:, 1])).astype(np.int64)
