"""How well an embedder tells people apart: genuine against impostor pairs, with intervals over people.

Pairs of one person are not independent, so every interval comes from resampling people, not pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from portrait_lora.errors import InputError

Numbers = npt.NDArray[np.float64]
RESAMPLES: Final = 400
_SEED: Final = 0
_LEVEL: Final = 0.95
_LEAST_D_PRIME: Final = 0.01
"""An embedder that orders pairs the wrong way round still has a finite ratio."""
LEAST_RATE: Final = 1e-3
PAIRS_PER_FALSE_MATCH: Final = 3
"""Rule of three: fewer than 3 / rate pairs of strangers cannot show a rate (95 %)."""


@dataclass(frozen=True, slots=True)
class Separation:
    """What pairs of pictures show.  AUC: the chance that a pair of one person is more alike than a pair of
    strangers.  `true_match` is the share of genuine pairs at or above the cosine that strangers reach at
    `rate`, the lowest rate that the pairs can show (1e-3 at least)."""

    people: int
    genuine_pairs: int
    impostor_pairs: int
    auc: float
    auc_ci95: tuple[float, float]
    true_match: float
    true_match_ci95: tuple[float, float]
    rate: float
    genuine_mean: float
    stranger_mean: float

    @property
    def sentence(self) -> str:
        """For people, with what the pairs can not show."""
        low, high = self.true_match_ci95
        return (
            f"AUC {self.auc:.4f} [{self.auc_ci95[0]:.4f}, {self.auc_ci95[1]:.4f}], strangers' mean cosine "
            f"{self.stranger_mean:.3f}, same person's {self.genuine_mean:.3f}; true match "
            f"{self.true_match:.1%} [{low:.1%}, {high:.1%}] at a false-match rate of {self.rate:.1g} "
            f"({self.people} people, {self.genuine_pairs} genuine and {self.impostor_pairs} impostor pairs)"
        )


@dataclass(frozen=True, slots=True)
class Advantage:
    """How much better one set of embeddings separates than another: the ratio of their d′, its interval."""

    ratio: float
    interval: tuple[float, float]


class Pairs:
    """All pairs of pictures of labelled people; similarities of several sets of embeddings are compared on
    the same resamples.  Raises `InputError` with fewer than two people or no genuine pair."""

    def __init__(self, labels: Sequence[int]):
        known = np.unique(np.asarray(labels), return_inverse=True)[1]
        self._a, self._b = np.triu_indices(len(known), 1)
        self._same = known[self._a] == known[self._b]
        self._first, self._second = known[self._a], known[self._b]
        self.people = int(known.max()) + 1 if len(known) else 0
        if self.people < 2 or not self._same.any():
            raise InputError(
                "too few pictures to tell people apart with",
                got=f"{len(known)} pictures of {self.people} people",
                needed="2 people, at least one of them with 2 pictures",
            )
        rng = np.random.default_rng(_SEED)
        drawn = rng.integers(0, self.people, (RESAMPLES, self.people))
        self._times = np.stack([np.bincount(row, minlength=self.people) for row in drawn])

    def similarities(self, embeddings: npt.NDArray[np.float32]) -> Numbers:
        """Cosine of every pair."""
        rows = np.asarray(embeddings, dtype=np.float64)
        return np.einsum("nd,nd->n", rows[self._a], rows[self._b])

    def impostors(self, similarities: Numbers) -> Numbers:
        """Those of different people."""
        return similarities[~self._same]

    def separation(self, similarities: Numbers) -> Separation:
        genuine, impostor = similarities[self._same], similarities[~self._same]
        rate = max(LEAST_RATE, min(0.5, PAIRS_PER_FALSE_MATCH / len(impostor)))
        limit = float(np.quantile(impostor, 1 - rate))
        order = np.argsort(similarities, kind="stable")
        aucs, matches = [], []
        for times in self._times:
            weight = self._weights(times)
            if weight[self._same].sum() > 0 and weight[~self._same].sum() > 0:
                aucs.append(_auc(similarities, self._same, weight, order))
                own = weight[self._same]
                matches.append(float((own * (genuine >= limit)).sum() / own.sum()))
        return Separation(
            self.people,
            len(genuine),
            len(impostor),
            _auc(similarities, self._same, np.ones(len(similarities)), order),
            _interval(aucs),
            float((genuine >= limit).mean()),
            _interval(matches),
            rate,
            float(genuine.mean()),
            float(impostor.mean()),
        )

    def share_of_strangers(self, similarities: Numbers, threshold: float) -> tuple[float, float]:
        """(share of impostor pairs at or above a threshold, its lower bound at 95 %)."""
        passed = similarities[~self._same] >= threshold
        shares = []
        for times in self._times:
            weight = self._weights(times)[~self._same]
            if weight.sum() > 0:
                shares.append(float((weight * passed).sum() / weight.sum()))
        return float(passed.mean()), _interval(shares)[0]

    def advantage(self, other: Numbers, stated: Numbers, *, tried: int) -> Advantage:
        """d′ of `other` over d′ of `stated`, with an interval that holds for `tried` comparisons at once
        (Bonferroni).  d′ = (mean genuine − mean impostor) / √((var genuine + var impostor) / 2)."""
        ratios = []
        for times in self._times:
            weight = self._weights(times)
            if (weight[self._same] > 0).sum() > 1 and (weight[~self._same] > 0).sum() > 1:
                ratios.append(self._ratio(other, stated, weight))
        return Advantage(
            self._ratio(other, stated, np.ones(len(stated))), _interval(ratios, 1 - (1 - _LEVEL) / tried)
        )

    def _ratio(self, other: Numbers, stated: Numbers, weight: Numbers) -> float:
        return self._d_prime(other, weight) / max(self._d_prime(stated, weight), _LEAST_D_PRIME)

    def _weights(self, times: npt.NDArray[np.int64]) -> Numbers:
        """Of every pair when person p was drawn times[p] times; a person is no stranger to their own copy."""
        both = times[self._first] * times[self._second]
        return np.where(self._same, times[self._first], both).astype(np.float64)

    def _d_prime(self, similarities: Numbers, weight: Numbers) -> float:
        (mean_g, var_g), (mean_i, var_i) = (
            _moments(similarities[chosen], weight[chosen]) for chosen in (self._same, ~self._same)
        )
        return float((mean_g - mean_i) / max(np.sqrt((var_g + var_i) / 2), 1e-12))


def _moments(values: Numbers, weight: Numbers) -> tuple[float, float]:
    mean = float(np.average(values, weights=weight))
    return mean, float(np.average((values - mean) ** 2, weights=weight))


def _auc(
    similarities: Numbers, same: npt.NDArray[np.bool_], weight: Numbers, order: npt.NDArray[np.int64]
) -> float:
    """Weighted area under the ROC curve; ties count half."""
    values, genuine, weight = similarities[order], same[order], weight[order]
    starts = np.concatenate([[True], values[1:] != values[:-1]])
    block = np.cumsum(starts) - 1
    impostor = np.bincount(block, np.where(genuine, 0.0, weight))
    own = np.bincount(block, np.where(genuine, weight, 0.0))
    below = np.cumsum(impostor) - impostor / 2
    return float((own * below).sum() / (own.sum() * impostor.sum()))


def _interval(values: Sequence[float], level: float = _LEVEL) -> tuple[float, float]:
    """Percentile interval of the resamples; (nan, nan) without any."""
    if not values:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
