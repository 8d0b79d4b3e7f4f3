"""Likeness by group: by view and face size within one set, and by skin tone, age and sex across people.

Error rates follow ISO/IEC 19795-1: false non-match rate = share of genuine comparisons below the threshold,
false match rate = share of impostor comparisons at or above it.  Here a portrait that should show the person
is the genuine comparison, and no face is a non-match.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from portrait_lora.errors import InputError
from portrait_lora.evaluation.drift import Estimate, clustered_interval, estimate, verified_rate
from portrait_lora.records import IdentityScore
from portrait_lora.vocabulary import VIEWS

FACE_PX_EDGES: Final = (32, 64, 128, 256)
TINY_FACE_PX: Final = 32
"""Embedders see 112 px; a face enlarged more than threefold has little information on identity."""


@dataclass(frozen=True, slots=True)
class Bin:
    """One group of portraits of one person."""

    name: str
    portraits: int
    mean: Estimate
    verified_rate: float


@dataclass(frozen=True, slots=True)
class Person:
    """One measured person: labels such as {"sex": "woman"}, portraits' scores and impostors' scores."""

    name: str
    labels: Mapping[str, str]
    genuine: tuple[float | None, ...]
    threshold: float
    ceiling: float
    impostor: float
    impostors: tuple[float, ...] = ()

    @property
    def share_of_ceiling(self) -> float:
        """As in `DriftReport`."""
        mean = float(np.mean([0.0 if v is None else v for v in self.genuine]))
        return (mean - self.impostor) / max(self.ceiling - self.impostor, 1e-6)


@dataclass(frozen=True, slots=True)
class GroupRates:
    """One group of people; intervals are clustered by person (with one person they do not generalise).

    `false_match_rate` is None without impostor scores.
    """

    label: str
    group: str
    people: int
    similarity: Estimate
    share_of_ceiling: Estimate
    false_non_match_rate: float
    false_match_rate: float | None


def by_view(scores: Sequence[IdentityScore], threshold: float) -> list[Bin]:
    """Portraits grouped by the view of the face, frontal to profile."""
    return _bins(scores, threshold, VIEWS, lambda s: s.pose_bin)


def size_bin(face_px: float) -> str:
    """`64-128 px`, by the longer side of the box."""
    edges = FACE_PX_EDGES
    if face_px < edges[0]:
        return f"under {edges[0]} px"
    for low, high in itertools.pairwise(edges):
        if face_px < high:
            return f"{low}-{high} px"
    return f"{edges[-1]} px and more"


def by_face_size(scores: Sequence[IdentityScore], threshold: float) -> list[Bin]:
    """Portraits by the size of the scored face, smallest first."""
    order = [size_bin(edge - 1) for edge in FACE_PX_EDGES] + [size_bin(FACE_PX_EDGES[-1])]
    return _bins(scores, threshold, order, lambda s: None if s.face_px is None else size_bin(s.face_px))


def _bins(
    scores: Sequence[IdentityScore],
    threshold: float,
    order: Sequence[str],
    key: Callable[[IdentityScore], str | None],
) -> list[Bin]:
    """The bins with portraits; a portrait without a face is in none."""
    rows = [(name, [s for s in scores if key(s) == name]) for name in order]
    return [Bin(name, len(own), estimate(own), verified_rate(own, threshold)) for name, own in rows if own]


def group_rates(people: Sequence[Person], label: str) -> list[GroupRates]:
    """One row per value of a label, sorted; people without that label form no group."""
    if len({person.name for person in people}) != len(people):
        raise InputError("a person occurs twice", got=", ".join(p.name for p in people))
    names = sorted({person.labels[label] for person in people if label in person.labels})
    return [_rates(label, name, [p for p in people if p.labels.get(label) == name]) for name in names]


def share_over(people: Sequence[Person]) -> Estimate:
    """Mean share of ceiling over people; those without an impostor figure are omitted.

    NaN when none has one.
    """
    known = [(p.name, p.share_of_ceiling) for p in people if math.isfinite(p.share_of_ceiling)]
    if not known:
        return Estimate(math.nan, (math.nan, math.nan), 0, 0)
    return clustered_interval([share for _, share in known], [name for name, _ in known])


def _rates(label: str, group: str, people: Sequence[Person]) -> GroupRates:
    values = [(p.name, 0.0 if v is None else v) for p in people for v in p.genuine]
    missed = [v is None or v < p.threshold for p in people for v in p.genuine]
    strangers = [v >= p.threshold for p in people for v in p.impostors]
    return GroupRates(
        label,
        group,
        len(people),
        clustered_interval([v for _, v in values], [name for name, _ in values]),
        share_over(people),
        float(np.mean(missed)),
        float(np.mean(strangers)) if strangers else None,
    )
