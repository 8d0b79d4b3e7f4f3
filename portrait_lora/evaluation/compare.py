"""Comparison of two adapters on the same prompts and seeds: difference in likeness, with its interval.

Prompts are resampled with replacement, both adapters together (paired bootstrap); the standard deviation of
the resampled means is the standard error.  With few prompts it is too small by sqrt((n - 1) / n), and
percentiles are too narrow: it is scaled up and used with Student's t ("t with bootstrap standard error",
Hesterberg 2015, section 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

from portrait_lora.errors import InputError
from portrait_lora.evaluation.drift import by_prompt, counted
from portrait_lora.evaluation.power import portraits_needed
from portrait_lora.records import IdentityScore

RESAMPLES: Final = 10_000
MIN_PROMPTS: Final = 3
ALPHA: Final = 0.05


@dataclass(frozen=True, slots=True)
class Measured:
    """One side of a comparison, from `drift.json`."""

    name: str
    scores: tuple[IdentityScore, ...]
    pack_digest: str
    holdout: tuple[str, ...]
    prompts_known: bool = True


@dataclass(frozen=True, slots=True)
class Comparison:
    """A minus B over the prompts that both have; `by_prompt` maps each to its difference.

    `ci95` is None, and `prompts` 0, if prompts are unknown: portraits that may share one are not
    independent.
    """

    a: str
    b: str
    difference: float
    ci95: tuple[float, float] | None
    mean_a: float
    mean_b: float
    prompts: int
    portraits: int
    unpaired: int
    by_prompt: tuple[tuple[str, float], ...]
    prompts_needed: int | None
    sentence: str


def compare(a: Measured, b: Measured, *, seed: int = 0) -> Comparison:
    """Compare A with B.  Raises InputError when they were not measured in the same way."""
    _refuse_unlike(a, b)
    if not (a.prompts_known and b.prompts_known):
        return _without_prompts(a, b)
    pairs = _paired(a, b)
    if len(pairs) < MIN_PROMPTS:
        raise InputError(
            "too few shared prompts",
            got=len(pairs),
            needed=MIN_PROMPTS,
            remedy="Generate the same series with both adapters.",
        )
    differences = np.array([np.mean(x) - np.mean(y) for x, y in pairs.values()])
    sizes = np.array([len(x) for x, _ in pairs.values()], dtype=np.float64)
    low, high = bootstrap_interval(differences, sizes, seed=seed)
    mean = float(np.average(differences, weights=sizes))
    portraits = int(sizes.sum())
    total = len(a.scores) + len(b.scores)
    needed = portraits_needed(a.scores)
    text = sentence(a.name, b.name, mean, (low, high), None if needed is None else needed.paired_prompts)
    return Comparison(
        a.name,
        b.name,
        mean,
        (low, high),
        float(np.mean([v for x, _ in pairs.values() for v in x])),
        float(np.mean([v for _, y in pairs.values() for v in y])),
        len(pairs),
        portraits,
        total - 2 * portraits,
        tuple((prompt, float(d)) for prompt, d in zip(pairs, differences, strict=True)),
        None if needed is None else needed.paired_prompts,
        text,
    )


def _without_prompts(a: Measured, b: Measured) -> Comparison:
    """The means of both sides, without an interval."""
    mine, other = ([counted(s) for s in side.scores] for side in (a, b))
    mean_a, mean_b = float(np.mean(mine)), float(np.mean(other))
    portraits = min(len(mine), len(other))
    text = (
        f"{a.name} minus {b.name} is {mean_a - mean_b:+.3f}; without prompts it is unknown whether that "
        "is more than chance: score both again with --prompts."
    )
    unpaired = len(mine) + len(other) - 2 * portraits
    return Comparison(
        a.name, b.name, mean_a - mean_b, None, mean_a, mean_b, 0, portraits, unpaired, (), None, text
    )


def _refuse_unlike(a: Measured, b: Measured) -> None:
    if not a.scores or not b.scores:
        raise InputError("there is nothing to compare", where=a.name if not a.scores else b.name)
    embedders = {s.embedder_id for s in (*a.scores, *b.scores)}
    if len(embedders) > 1 or a.pack_digest != b.pack_digest:
        raise InputError(
            "the two were measured with different face packs",
            got=f"{', '.join(sorted(embedders))}; {a.pack_digest[:12]} and {b.pack_digest[:12]}",
            remedy="Score both again with one pack: similarities of different packs are not comparable.",
        )
    if set(a.holdout) != set(b.holdout):
        raise InputError(
            "the two were measured against different held-out photos",
            got=f"{', '.join(a.holdout)} and {', '.join(b.holdout)}",
            remedy="Score both against the same photos.",
        )


def _paired(a: Measured, b: Measured) -> dict[str, tuple[list[float], list[float]]]:
    """Per shared prompt the values of the shared portraits, matched by file name, else by order."""
    ours, theirs = by_prompt(a.scores), by_prompt(b.scores)
    pairs: dict[str, tuple[list[float], list[float]]] = {}
    for prompt in ours:
        mine = {s.portrait: counted(s) for s in ours[prompt]}
        other = {s.portrait: counted(s) for s in theirs.get(prompt, [])}
        shared = [name for name in mine if name in other]
        if shared:
            pairs[prompt] = ([mine[n] for n in shared], [other[n] for n in shared])
        elif other:
            k = min(len(mine), len(other))
            pairs[prompt] = (list(mine.values())[:k], list(other.values())[:k])
    return pairs


def bootstrap_interval(
    differences: np.ndarray, sizes: np.ndarray | None = None, *, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of the (weighted) mean of paired differences, one per prompt."""
    n = len(differences)
    weights = np.ones(n) if sizes is None else np.asarray(sizes, dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(0, n, (RESAMPLES, n))
    means = (differences * weights)[drawn].sum(axis=1) / weights[drawn].sum(axis=1)
    error = float(means.std()) * (n / (n - 1)) ** 0.5
    half = float(stats.t.ppf(1 - ALPHA / 2, n - 1)) * error
    middle = float(np.average(differences, weights=weights))
    return middle - half, middle + half


def sentence(a: str, b: str, difference: float, ci95: tuple[float, float], needed: int | None) -> str:
    """`A is better by 0.031 [0.012, 0.050].`, or that there is no significant difference."""
    low, high = ci95
    if low > 0:
        return f"{a} is better by {difference:.3f} [{low:.3f}, {high:.3f}]."
    if high < 0:
        return f"{b} is better by {-difference:.3f} [{-high:.3f}, {-low:.3f}]."
    text = f"No significant difference: {a} minus {b} is {difference:+.3f} [{low:+.3f}, {high:+.3f}]"
    return f"{text}; a difference of 0.02 takes at least {needed} prompts." if needed else f"{text}."
