"""Number of portraits needed to detect a difference, and drift over paraphrases of one prompt.

Both rest on the one-way random-effects model: score = mean + prompt effect + portrait effect, its two
variances estimated by moments with unequal prompts (Searle, Casella & McCulloch 1992, section 3.6).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

from portrait_lora.evaluation.drift import by_prompt, counted
from portrait_lora.records import IdentityScore

DIFFERENCE: Final = 0.02
POWER: Final = 0.8
ALPHA: Final = 0.05
MOST_PROMPTS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Spread:
    """Standard deviations of similarity between prompts and between portraits of one prompt."""

    between: float
    within: float


@dataclass(frozen=True, slots=True)
class SampleSize:
    """Prompts (of `per_prompt` portraits each) needed for a difference of `difference` between two adapters.

    `paired_prompts`: both use the same prompts, whose difficulty cancels out.  `prompts`: each has its own.
    """

    difference: float
    per_prompt: int
    paired_prompts: int
    prompts: int


def spread(groups: Sequence[Sequence[float]]) -> Spread | None:
    """Moment estimates; None when no group has two values or there is one group only."""
    rows = [np.asarray(group, dtype=np.float64) for group in groups if len(group)]
    sizes = np.array([len(row) for row in rows], dtype=np.float64)
    total = float(sizes.sum())
    if len(rows) < 2 or total <= len(rows):
        return None
    within = float(sum(((row - row.mean()) ** 2).sum() for row in rows)) / (total - len(rows))
    mean = float(np.concatenate(rows).mean())
    among = float(sum(len(row) * (row.mean() - mean) ** 2 for row in rows)) / (len(rows) - 1)
    effective = (total - float((sizes**2).sum()) / total) / (len(rows) - 1)
    return Spread(max(among - within, 0.0) ** 0.5 / effective**0.5, within**0.5)


def portraits_needed(
    scores: Sequence[IdentityScore], difference: float = DIFFERENCE, power: float = POWER
) -> SampleSize | None:
    """The sample size of a two-sided t-test at 5 % for `difference` at the given power; None when unknown.

    The paired figure ignores that adapters may differ more on some prompts than on others, which one run
    cannot show: it is a lower bound.
    """
    groups = [[counted(s) for s in group] for group in by_prompt(scores).values()]
    scatter = spread(groups)
    if scatter is None:
        return None
    k = max(1, round(sum(map(len, groups)) / len(groups)))
    noise = scatter.within**2 / k
    paired = _prompts(2 * noise, difference, power, samples=1)
    free = _prompts(2 * (scatter.between**2 + noise), difference, power, samples=2)
    return SampleSize(difference, k, paired, free)


def _prompts(variance: float, difference: float, power: float, samples: int) -> int:
    """The least n with t-test power: sqrt(n) d / sd over the noncentral t's two tails (Cohen 1988)."""
    if variance <= 0:
        return 2

    def reached(n: int) -> bool:
        freedom = samples * (n - 1)
        limit = stats.t.ppf(1 - ALPHA / 2, freedom)
        shift = difference * (n / variance) ** 0.5
        return bool(stats.nct.sf(limit, freedom, shift) >= power)

    low, high = 1, 2
    while not reached(high):
        low, high = high, high * 2
        if high > MOST_PROMPTS:
            return MOST_PROMPTS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


@dataclass(frozen=True, slots=True)
class ParaphraseDrift:
    """Variation over wordings of one meaning: `sd` beyond that of portraits, `widest` range of means."""

    meanings: int
    wordings: int
    sd: float
    widest: float
    widest_meaning: str


def paraphrase_drift(scores: Sequence[IdentityScore], meanings: Mapping[str, str]) -> ParaphraseDrift | None:
    """Drift over paraphrases; `meanings` maps a prompt to what it means.  None without two wordings of one.

    `sd` pools the between-wording variances of the meanings, weighted by their wordings less one.
    """
    groups: dict[str, list[list[float]]] = {}
    for prompt, group in by_prompt(scores).items():
        if prompt in meanings:
            groups.setdefault(meanings[prompt], []).append([counted(s) for s in group])
    several = {meaning: rows for meaning, rows in groups.items() if len(rows) > 1}
    if not several:
        return None
    spreads = [(spread(rows), len(rows) - 1) for rows in several.values()]
    known = [(scatter.between**2, weight) for scatter, weight in spreads if scatter is not None]
    pooled = sum(v * w for v, w in known) / sum(w for _, w in known) if known else float("nan")
    ranges = {m: float(np.ptp([np.mean(row) for row in rows])) for m, rows in several.items()}
    widest = max(ranges, key=lambda m: ranges[m])
    return ParaphraseDrift(len(several), sum(map(len, several.values())), pooled**0.5, ranges[widest], widest)
