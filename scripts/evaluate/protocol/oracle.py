"""What choosing a checkpoint costs against somebody who knows the person.

In the studio the person can be photographed again, so every checkpoint's likeness is known better than its
probes show: embedder B, new prompts and seeds, new photos.  The oracle keeps the best by that.  A best among
noisy values looks better than it is, so it is chosen on half of the portraits and its gain taken from the
other half, and the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from portrait_lora.evaluation.checkpoint_choice import CheckpointScore, choose_checkpoint, stop_decision
from portrait_lora.evaluation.drift import clustered_interval
from scripts.rows import Row

DEFAULT_EXPOSURES: Final = 100
MOST_EXPOSURES: Final = 150
CHECKPOINTS: Final = 15


@dataclass(frozen=True, slots=True)
class Study:
    """One trained person: `probes` by embedder A, and `truth`, the portraits' likeness by B per checkpoint.

    `rate`: learning rate over that of the recipe.
    """

    seed: int
    rate: float
    probes: tuple[CheckpointScore, ...]
    truth: tuple[tuple[float, ...], ...]

    def to_json(self) -> dict[str, object]:
        return asdict(self)

    @classmethod
    def from_json(cls, raw: dict) -> Study:
        probes = tuple(CheckpointScore(**(row | {"values": tuple(row["values"])})) for row in raw["probes"])
        return cls(raw["seed"], raw["rate"], probes, tuple(map(tuple, raw["truth"])))


@dataclass(frozen=True, slots=True)
class Regrets:
    """Likeness lost against the oracle, by who chooses, and the share of the default's steps saved.

    `early_of_default` is held against the best checkpoint up to the default's last step, `highest` against
    the best of all values, noise included.
    """

    chosen: float
    early: float
    early_of_default: float
    last: float
    random: float
    highest: float
    saved: float


def regrets(study: Study) -> Regrets:
    """What each way of choosing loses on this person."""
    table = list(study.probes)
    steps = [row.step for row in table]
    default = steps[_nearest(steps, DEFAULT_EXPOSURES / MOST_EXPOSURES * steps[-1])]
    within = [i for i, step in enumerate(steps) if step <= default]
    stopped = next((i for i in within if stop_decision(table[: i + 1], last_step=default).stop), within[-1])
    chosen = steps.index(choose_checkpoint(table))
    early = steps.index(choose_checkpoint(table[: stopped + 1], stopped_early=stopped < within[-1]))
    truth = np.array(study.truth)  # (checkpoints, portraits)
    means = truth.mean(axis=1)
    best, best_of_default = _cross_fitted(truth), _cross_fitted(truth[: len(within)])
    return Regrets(
        chosen=best - float(means[chosen]),
        early=best - float(means[early]),
        early_of_default=best_of_default - float(means[early]),
        last=best - float(means[-1]),
        random=best - float(means.mean()),
        highest=float(means.max() - means[chosen]),
        saved=1 - steps[stopped] / default,
    )


def _nearest(steps: Sequence[int], wanted: float) -> int:
    return int(np.argmin(np.abs(np.array(steps) - wanted)))


def _cross_fitted(truth: np.ndarray) -> float:
    """Likeness of the oracle's checkpoint, measured on portraits that did not choose it."""
    odd, even = truth[:, 1::2].mean(axis=1), truth[:, ::2].mean(axis=1)
    return float(odd[even.argmax()] + even[odd.argmax()]) / 2


def rows(studies: Sequence[Study]) -> list[Row]:
    """Means over people, with intervals over people; targets hold for all of them together."""
    outcomes = [regrets(study) for study in studies]
    n = len(outcomes)

    def row(name: str, field: str, target: float | None = None, *, at_most: bool = True) -> Row:
        values = [float(getattr(r, field)) for r in outcomes]
        ci95 = clustered_interval(values, range(n)).ci95 if n > 1 else None
        unit = "share" if field == "saved" else "cosine"
        return Row(name, float(np.mean(values)), unit, n, target, at_most, ci95)

    overfitted = float(np.mean([r.last > 0.01 for r in outcomes]))
    return [
        row("selection: regret", "chosen", 0.01),
        row("early stop: regret against the best up to the default's end", "early_of_default", 0.01),
        row("early stop: regret against the best up to 150 exposures", "early"),
        row("early stop: steps saved", "saved", 0.3, at_most=False),
        row("regret of the last checkpoint", "last"),
        row("regret of a random checkpoint", "random"),
        row("selection: regret against the best noisy value", "highest"),
        Row("people whose last checkpoint is 0.01 below the best", overfitted, "share", n),
        Row("checkpoints per person, fewest", min(len(s.probes) for s in studies), "count", n),
    ]
