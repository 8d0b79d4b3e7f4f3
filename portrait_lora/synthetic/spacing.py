"""How far people are apart: the smallest distance among many, who is too near to somebody before them, and
who is between two others."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

from portrait_lora.synthetic.identity import CHOICES, People, distance, shape_vectors

MIN_DISTANCE: Final = 0.5
"""Half of what two strangers are apart.  About one pair in a million is nearer, so a crowd of thousands loses
a few people only.  The numbers of two faces at this distance differ by 0.8 of their spread: a recogniser that
must tell a thousand strangers apart cannot be blamed for taking nearer ones for one person."""
_CHUNK: Final = 1024
_NO_DEGREE: Final = frozenset((*CHOICES, "moles"))


@dataclass(frozen=True, slots=True)
class Near:
    """`seed` is `apart` from `earlier`, who came before and was kept."""

    seed: int
    earlier: int
    apart: float


@dataclass(frozen=True, slots=True)
class Spacing:
    """The nearest two of all (None for fewer than two people), those too near, and who is kept, in order."""

    nearest: Near | None
    too_near: tuple[Near, ...]
    kept: tuple[int, ...]


def spacing(people: People, limit: float = MIN_DISTANCE) -> Spacing:
    """Smallest `distance` among all people, and those nearer than `limit` to an earlier one who is kept.

    More people at the end change nothing about who is kept before them.
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
