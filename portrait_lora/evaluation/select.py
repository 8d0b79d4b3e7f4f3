"""Which checkpoint to keep: the one most like the person on held-out photos, and of equals the earliest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from portrait_lora.errors import InputError
from portrait_lora.evaluation.drift import counted, face_found_rate
from portrait_lora.records import IdentityScore

ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class CheckpointScore:
    """One checkpoint on the probe portraits; `mean` counts a portrait without a face as 0.

    `values` are the portraits' scores in the order of the probe shots, the same at every checkpoint.
    """

    step: int
    mean: float
    face_found_rate: float
    n: int
    values: tuple[float, ...] = ()

    @property
    def standard_error(self) -> float:
        """Of the mean; 0 when it cannot be told."""
        return _standard_error(self.values)


def checkpoint_score(step: int, scores: Sequence[IdentityScore]) -> CheckpointScore:
    """The row of one checkpoint."""
    if not scores:
        raise InputError("a checkpoint has no probe portraits", where=f"step {step}")
    values = tuple(counted(s) for s in scores)
    return CheckpointScore(step, float(np.mean(values)), face_found_rate(scores), len(values), values)


def choose_checkpoint(table: Sequence[CheckpointScore]) -> int:
    """The step to keep.

    One-standard-error rule (Breiman et al. 1984): the earliest checkpoint whose mean is within one
    standard error of the best.  Later checkpoints overfit more, so a gain inside the noise is not worth
    it.  All checkpoints draw the same probe shots, so the standard error is that of the *paired*
    differences; what makes one prompt harder than another cancels out.  Without paired values it falls
    back to the best checkpoint's own standard error, and without any to plain ties.
    """
    rows = [row for row in table if np.isfinite(row.mean)]
    if not rows:
        raise InputError("there is no scored checkpoint to choose from", got=f"{len(table)} rows")
    best = max(rows, key=lambda row: (row.mean, -row.step))
    equals = [row.step for row in rows if best.mean - row.mean <= _tolerance(row, best) + ROUNDING]
    return min(equals)


def _tolerance(row: CheckpointScore, best: CheckpointScore) -> float:
    if row.values and len(row.values) == len(best.values):
        return _standard_error(np.subtract(best.values, row.values))
    return best.standard_error


def _standard_error(values: Sequence[float] | np.ndarray) -> float:
    return float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0
