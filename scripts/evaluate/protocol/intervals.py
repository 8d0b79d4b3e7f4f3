"""Do 95 % intervals hold the true mean in 95 % of studies?  People, prompts and seeds are all drawn anew."""

from __future__ import annotations

from typing import Final

import numpy as np

from portrait_lora.evaluation.drift import clustered_interval
from scripts.evaluate.protocol.store import Store
from scripts.rows import Row

PROMPTS: Final = (8, 24, 60)
BETWEEN, WITHIN, OF_PEOPLE = 0.06, 0.04, 0.1
MISSING: Final = 0.05


def covered(rng: np.random.Generator, prompts: int, *, skewed: bool, missing: float) -> bool:
    """One study of one person: is their own true mean inside the interval?"""
    person = rng.normal(0.45, OF_PEOPLE)
    sizes = rng.integers(2, 5, prompts)
    labels = np.repeat(np.arange(prompts), sizes)
    shape = rng.exponential(1.0, prompts) - 1.0 if skewed else rng.normal(0, 1, prompts)
    values = person + BETWEEN * shape[labels] + rng.normal(0, WITHIN, len(labels))
    values = np.where(rng.random(len(labels)) < missing, 0.0, values)
    low, high = clustered_interval(values.tolist(), labels.tolist()).ci95
    return bool(low <= person * (1 - missing) <= high)


def coverage(prompts: int, studies: int, seed: int, *, skewed: bool = False, missing: float = 0.0) -> float:
    """Share of studies whose interval holds the truth."""
    rng = np.random.default_rng([seed, prompts, int(skewed), int(1000 * missing)])
    hits = [covered(rng, prompts, skewed=skewed, missing=missing) for _ in range(studies)]
    return float(np.mean(hits))


def rows(studies: int, seed: int, store: Store) -> list[Row]:
    """Targets hold for normal prompt effects; the harder worlds are shown beside them."""

    def share(name: str, prompts: int, *, skewed: bool = False, missing: float = 0.0) -> float:
        return store.piece(
            f"intervals-{name}-{prompts}-{studies}",
            lambda: coverage(prompts, studies, seed, skewed=skewed, missing=missing),
        )

    out: list[Row] = []
    for prompts in PROMPTS:
        plain, name = share("plain", prompts), f"interval covers, {prompts} prompts"
        out.append(Row(name, plain, "share", studies, 0.94))
        out.append(Row(f"{name}: not too wide", plain, "share", studies, 0.96, at_most=True))
        lost = share("missing", prompts, missing=MISSING)
        out.append(Row(f"{name}, {MISSING:.0%} without a face", lost, "share", studies))
        skewed = share("skewed", prompts, skewed=True)
        out.append(Row(f"{name}, prompts skewed as an exponential", skewed, "share", studies))
    return out
