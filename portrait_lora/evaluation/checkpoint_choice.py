"""Checkpoint selection and early stopping: decisions from the scores of probe portraits.

Every checkpoint generates the same probe shots, so checkpoints are compared probe by probe and the difficulty
of prompts cancels out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from portrait_lora.errors import ConfigError, InputError
from portrait_lora.evaluation.drift import counted, face_found_rate
from portrait_lora.records import IdentityScore

ROUNDING: Final = 1e-9
COPY_LIMIT: Final = 0.15
"""Copy guard: a checkpoint with a larger fraction of copied probes is rejected as overfitted."""
ADHERENCE_SLACK: Final = 0.3
"""Adherence guard: maximum deficit against the checkpoint with the best prompt adherence."""
NEGLIGIBLE: Final = 0.01
WORTH: Final = 0.015
MIN_TO_STOP: Final = 4
MIN_TO_SMOOTH: Final = 6
TAUS: Final = 30
FIRST_PROBES: Final = 4
"""Probe portraits of every checkpoint; the others are drawn for those that may still be chosen."""


@dataclass(frozen=True, slots=True)
class CheckpointScore:
    """One checkpoint on the probe portraits; `mean` counts a portrait without a face as 0.

    `values` are the portraits' scores in the order of the probe shots, the same at every checkpoint.
    `copy_score` and `adherence` are shares of the probes, None when they were not measured.  Of the portraits
    without a face, the guard `refused` so many.
    """

    step: int
    mean: float
    face_found_rate: float
    n: int
    values: tuple[float, ...] = ()
    copy_score: float | None = None
    adherence: float | None = None
    refused: int = 0

    @property
    def standard_error(self) -> float:
        """Standard error of the mean; 0 when unknown."""
        return _standard_error(self.values)


@dataclass(frozen=True, slots=True)
class StopDecision:
    """Whether to stop; `gain_at_most` bounds the gain from further training."""

    stop: bool
    gain_at_most: float
    reason: str


def checkpoint_score(
    step: int,
    scores: Sequence[IdentityScore],
    *,
    copy_score: float | None = None,
    adherence: float | None = None,
    refused: int = 0,
) -> CheckpointScore:
    """The row of one checkpoint."""
    if not scores:
        raise InputError("a checkpoint has no probe portraits", where=f"step {step}")
    values = tuple(counted(s) for s in scores)
    mean = float(np.mean(values))
    rate = face_found_rate(scores)
    return CheckpointScore(step, mean, rate, len(values), values, copy_score, adherence, refused)


def choose_checkpoint(
    table: Sequence[CheckpointScore],
    *,
    copy_limit: float = COPY_LIMIT,
    adherence_slack: float = ADHERENCE_SLACK,
    stopped_early: bool = False,
) -> int:
    """The step to keep: the earliest that is not worse than the best of those that pass the guards, or the
    latest of them after early stopping.

    One-standard-error rule (Breiman et al. 1984): not worse means within one standard error of the best, and
    by no more than `NEGLIGIBLE`.  Later checkpoints overfit more, so a gain inside the noise is not worth it.
    The standard error is that of the *paired* differences; without paired values it falls back to the best
    checkpoint's own, and without any to plain ties.  With many checkpoints each is first averaged with its
    neighbours, so that the best of many noisy ones is not taken for the best.  Training that was stopped as
    soon as the curve promised little more ends where likeness still rises a little, and has hardly overfitted
    (`scripts/evaluate/selection.py`).
    """
    rows, best = _steadied(table, copy_limit, adherence_slack)
    good = [r.step for r in rows if best.mean - r.mean <= min(_noise(r, best), NEGLIGIBLE) + ROUNDING]
    return max(good) if stopped_early else min(good)


def in_the_race(table: Sequence[CheckpointScore], *, copy_limit: float = COPY_LIMIT) -> set[int]:
    """The steps that may still be chosen after the first probes (a race, Maron and Moore 1994).

    Out of it is what is worse than the best of those that pass the guards by more than one standard error of
    the paired difference, and by more than `NEGLIGIBLE`.
    """
    best = max(
        guarded(table, copy_limit=copy_limit, adherence_slack=ADHERENCE_SLACK), key=lambda row: row.mean
    )
    return {
        row.step for row in table if best.mean - row.mean <= max(_noise(row, best), NEGLIGIBLE) + ROUNDING
    }


def by_hand(step: int | None, steps: Sequence[int]) -> int | None:
    """The step of `select.step`, or None.  Raises `ConfigError` for one that is not among `steps`."""
    if step is not None and step not in steps:
        raise ConfigError(
            "there is no such checkpoint",
            where="select.step",
            got=step,
            needed=f"one of {', '.join(map(str, sorted(steps)))}, or null for the best on the probes",
        )
    return step


def good_checkpoints(table: Sequence[CheckpointScore], *, copy_limit: float = COPY_LIMIT) -> list[int]:
    """The steps that are statistically indistinguishable from the best, oldest first."""
    rows, best = _steadied(table, copy_limit, ADHERENCE_SLACK)
    return sorted(row.step for row in rows if best.mean - row.mean <= _noise(row, best) + ROUNDING)


def _steadied(
    table: Sequence[CheckpointScore], copy_limit: float, adherence_slack: float
) -> tuple[list[CheckpointScore], CheckpointScore]:
    """The rows that pass the guards, smoothed, and the best of them; those with fewer probes than others are
    out of the race."""
    rows = [row for row in table if np.isfinite(row.mean)]
    if not rows:
        raise InputError("there is no scored checkpoint to choose from", got=f"{len(table)} rows")
    most = max(len(row.values) for row in rows)
    rows = [row for row in rows if len(row.values) in (0, most)]
    rows = _smoothed(guarded(rows, copy_limit=copy_limit, adherence_slack=adherence_slack))
    return rows, max(rows, key=lambda row: (row.mean, -row.step))


def passes(row: CheckpointScore, table: Sequence[CheckpointScore], *, copy_limit: float = COPY_LIMIT) -> bool:
    """Whether a new checkpoint passes the copy and adherence guards, relative to the table."""
    least = max((r.adherence for r in table if r.adherence is not None), default=0.0) - ADHERENCE_SLACK
    obeys = row.adherence is None or row.adherence >= least - ROUNDING
    return obeys and (row.copy_score or 0.0) <= copy_limit + ROUNDING


def guarded(
    rows: Sequence[CheckpointScore], *, copy_limit: float, adherence_slack: float
) -> list[CheckpointScore]:
    """The rows that pass the copy and adherence guards; if none does, those that copy least."""
    least = max((r.adherence for r in rows if r.adherence is not None), default=0.0) - adherence_slack
    obedient = [r for r in rows if r.adherence is None or r.adherence >= least - ROUNDING]
    kept = [r for r in obedient if (r.copy_score or 0.0) <= copy_limit + ROUNDING]
    if kept:
        return kept
    fewest = min(r.copy_score or 0.0 for r in obedient)
    return [r for r in obedient if (r.copy_score or 0.0) <= fewest + ROUNDING]


def stop_decision(
    table: Sequence[CheckpointScore],
    *,
    last_step: int,
    worth: float = WORTH,
    copy_limit: float = COPY_LIMIT,
) -> StopDecision:
    """Decide after each checkpoint whether to continue training to `last_step`.

    Likeness grows like a + b (1 - exp(-step / tau)).  For each tau of a grid, a and b follow by least
    squares from all checkpoints so far; the fits are averaged by their likelihood (Hoeting et al. 1999), and
    training stops when the gain still to come, plus one standard deviation, is below `worth`.  A whole curve
    is more informative than the last two checkpoints, whose difference is too noisy.  Also stops
    when the last two checkpoints copy.
    """
    rows = sorted((r for r in table if r.values), key=lambda r: r.step)
    if len(rows) >= 2 and all((r.copy_score or 0.0) > copy_limit for r in rows[-2:]):
        return StopDecision(True, float("nan"), "the last two checkpoints copy training photos")
    sizes = {len(r.values) for r in rows}
    if len(rows) < MIN_TO_STOP or len(sizes) != 1 or sizes == {1}:
        return StopDecision(False, float("inf"), "too few checkpoints to decide")
    expected, deviation = _gain_to_come(rows, last_step)
    most = expected + deviation
    if most < worth:
        return StopDecision(True, most, f"continuing to step {last_step} gains {most:.3f} at most")
    return StopDecision(False, most, f"up to {most:.3f} may still be gained")


def _gain_to_come(rows: Sequence[CheckpointScore], last_step: int) -> tuple[float, float]:
    """Expected gain between the last row and `last_step`, and its standard deviation."""
    steps = np.array([r.step for r in rows], dtype=np.float64)
    values = np.array([r.values for r in rows], dtype=np.float64)  # (checkpoints, probes)
    probes = values.shape[1]
    means = values.mean(axis=1)
    residuals = values - means[:, None] - values.mean(axis=0) + values.mean()
    freedom = (len(rows) - 1) * (probes - 1)
    variance = max(float((residuals**2).sum()) / freedom, 1e-8) / probes  # of one checkpoint's mean
    fits: list[tuple[float, float, float]] = []
    for tau in np.geomspace(0.4 * steps[0], 1.5 * last_step, TAUS):
        design = np.stack([np.ones_like(steps), 1.0 - np.exp(-steps / tau)], axis=1)
        inverse = np.linalg.pinv(design.T @ design)
        a_b = inverse @ design.T @ means
        left = float(np.exp(-steps[-1] / tau) - np.exp(-last_step / tau))
        misfit = float(((means - design @ a_b) ** 2).sum())
        spread = abs(left) * float(np.sqrt(max(inverse[1, 1], 0.0) * variance))
        fits.append((-misfit / (2 * variance), left * float(a_b[1]), spread))
    logs, gains, spreads = np.array(fits).T
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    expected = float(weights @ gains)
    return expected, float(np.sqrt(weights @ (spreads**2 + (gains - expected) ** 2)))


def _smoothed(rows: Sequence[CheckpointScore]) -> list[CheckpointScore]:
    """Each row averaged with its neighbours (1/4, 1/2, 1/4), from `MIN_TO_SMOOTH` equal rows on."""
    ordered = sorted(rows, key=lambda r: r.step)
    if len(ordered) < MIN_TO_SMOOTH or len({len(r.values) for r in ordered}) != 1 or not ordered[0].values:
        return ordered
    values = np.pad(np.array([r.values for r in ordered]), ((1, 1), (0, 0)), mode="edge")
    smooth = 0.25 * values[:-2] + 0.5 * values[1:-1] + 0.25 * values[2:]
    return [replace(r, mean=float(v.mean()), values=tuple(v)) for r, v in zip(ordered, smooth, strict=True)]


def _noise(row: CheckpointScore, best: CheckpointScore) -> float:
    """One standard error of the difference between the two."""
    if row.values and len(row.values) == len(best.values):
        return _standard_error(np.subtract(best.values, row.values))
    return best.standard_error


def _standard_error(values: Sequence[float] | np.ndarray) -> float:
    return float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0
