"""Distances between people: the smallest among many, people too close to an earlier one, and people
interpolated between two others."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

from portrait_lora.synthetic.identity import CHOICES, People, distance, shape_vectors

MIN_DISTANCE: Final = 0.5
"""Half the typical distance of two strangers.  About one pair in a million is closer, so thousands of people
lose only a few.  The parameters of two faces at this distance differ by 0.8 of their spread: a recogniser
for a thousand strangers cannot be expected to distinguish closer ones."""
_CHUNK: Final = 1024
_NO_DEGREE: Final = frozenset((*CHOICES, "moles"))


@dataclass(frozen=True, slots=True)
class Near:
    """`seed` is at distance `apart` from the kept person `earlier`."""

    seed: int
    earlier: int
    apart: float


@dataclass(frozen=True, slots=True)
class Spacing:
    """The closest pair (None for fewer than two people), those too close, and the kept ones, in order."""

    nearest: Near | None
    too_near: tuple[Near, ...]
    kept: tuple[int, ...]


def spacing(people: People, limit: float = MIN_DISTANCE) -> Spacing:
    """Smallest `distance` among all people, and those nearer than `limit` to an earlier one who is kept.

    Appending people does not change who is kept before them.
    """
    vectors = shape_vectors(people).cpu()
    nearest: Near | None = None
    close: dict[int, list[int]] = {}
    for start in range(0, len(people), _CHUNK):
        rows = vectors[start : start + _CHUNK]
        apart = torch.cdist(rows, vectors, compute_mode="donot_use_mm_for_euclid_dist")
        place = torch.arange(start, start + len(rows))[:, None]
        apart = torch.where(torch.arange(len(people)) < place, apart, torch.inf)
        best = int(apart.argmin())
        row, column = start + best // len(people), best % len(people)
        least = float(apart[row - start, column])
        if least < (nearest.apart if nearest else torch.inf):
            nearest = Near(people.seeds[row], people.seeds[column], least)
        for i, j in (apart < limit).nonzero().tolist():
            close.setdefault(start + i, []).append(j)
    return _sorted_out(people, close, nearest)


def _sorted_out(people: People, close: dict[int, list[int]], nearest: Near | None) -> Spacing:
    left_out: set[int] = set()
    too_near: list[Near] = []
    for row in sorted(close):
        kept = [j for j in close[row] if j not in left_out]
        if kept:
            left_out.add(row)
            apart = distance(people.take([row] * len(kept)), people.take(kept))
            which = int(apart.argmin())
            too_near.append(Near(people.seeds[row], people.seeds[kept[which]], float(apart[which])))
    seeds = tuple(seed for i, seed in enumerate(people.seeds) if i not in left_out)
    return Spacing(nearest, tuple(too_near), seeds)


def between(a: People, b: People, share: float | Tensor) -> People:
    """The people `share` of the way from a to b, a number or one (B,) for each; what is not a matter of
    degree (sex, hair style, beard, glasses, moles) and the seeds are a's."""
    values = {
        k: v if k in _NO_DEGREE else v.float() + share * (b.values[k].float() - v.float())
        for k, v in a.values.items()
    }
    return People(a.seeds, MappingProxyType(values))
