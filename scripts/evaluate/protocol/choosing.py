"""Selection and early stop on simulated likeness curves, where the best checkpoint is known.

Curves rise as a saturating exponential and, for some people, fall again; probes differ in hardness and are
noisy.  These are no trained people: what a real adapter's curve looks like is not measured here.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from portrait_lora.evaluation.checkpoint_choice import CheckpointScore, choose_checkpoint, stop_decision
from scripts.evaluate.protocol.store import Store
from scripts.rows import Row

CHECKPOINTS: Final = 15
EXPOSURES: Final = np.linspace(10, 150, CHECKPOINTS)
DEFAULT_EXPOSURES: Final = 100
PIECE: Final = 100
PROBES, NOISE, HARDNESS = 8, 0.04, 0.08  # probes: the default of select.probes


def curve(rng: np.random.Generator) -> np.ndarray:
    """True likeness of one person at every checkpoint."""
    tau, top = rng.uniform(12, 40), rng.uniform(0.25, 0.6)
    peak, fall = rng.uniform(50, 120), rng.uniform(0, 0.002)
    return top * (1 - np.exp(-EXPOSURES / tau)) - fall * np.maximum(EXPOSURES - peak, 0)


def one(rng: np.random.Generator) -> tuple[float, float, float, float, float]:
    """Regrets of: selection over all, selection with early stop, the last, a random one; and steps saved."""
    truth = curve(rng)
    hard = rng.normal(0, HARDNESS, PROBES)
    values = truth[:, None] + hard + rng.normal(0, NOISE, (CHECKPOINTS, PROBES))
    table = [
        CheckpointScore(int(e), float(v.mean()), 1.0, PROBES, tuple(v))
        for e, v in zip(EXPOSURES, values, strict=True)
    ]
    steps = [row.step for row in table]
    within = [i for i, step in enumerate(steps) if step <= DEFAULT_EXPOSURES]
    stopped = next(
        (i for i in within if stop_decision(table[: i + 1], last_step=DEFAULT_EXPOSURES).stop), within[-1]
    )
    chosen = steps.index(choose_checkpoint(table))
    early = steps.index(choose_checkpoint(table[: stopped + 1], stopped_early=stopped < within[-1]))
    best = float(truth.max())
    saved = 1 - steps[stopped] / DEFAULT_EXPOSURES
    return best - truth[chosen], best - truth[early], best - truth[-1], best - float(truth.mean()), saved


def rows(people: int, seed: int, store: Store) -> list[Row]:
    """Means over simulated people."""

    def work(part: range) -> list[list[float]]:
        return [[float(v) for v in one(np.random.default_rng([seed, i]))] for i in part]

    table = np.array(list(store.pieces(f"choosing-{seed}", people, PIECE, work)))
    chosen, early, last, random, saved = table.mean(axis=0)
    return [
        Row("simulated selection: regret", float(chosen), "cosine", people),
        Row("simulated early stop: regret", float(early), "cosine", people),
        Row("simulated early stop: steps saved", float(saved), "share", people),
        Row("simulated: regret of the last checkpoint", float(last), "cosine", people),
        Row("simulated: regret of a random checkpoint", float(random), "cosine", people),
    ]
