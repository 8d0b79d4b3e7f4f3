"""People who are near to somebody else: what a corpus of strangers does not show.

Everybody has one relative, on the way from them to a third person whom no corpus shows.  Relatives have seeds
of their own, from which both are found again.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

import torch

from portrait_lora.synthetic import People, between, sample_people

FIRST_KIN_SEED: Final = 100_000_000
_FIRST_THIRD_SEED: Final = 50_000_000


def kin_of(seed: int) -> int:
    """The seed of somebody's relative."""
    return FIRST_KIN_SEED + seed


def people_of(seeds: Sequence[int]) -> People:
    """Whom these seeds stand for, relatives among them."""
    own = [seed % FIRST_KIN_SEED for seed in seeds]
    if own == list(seeds):
        return sample_people(seeds)
    thirds = sample_people([_FIRST_THIRD_SEED + seed for seed in own])
    share = torch.tensor([_share(seed) if seed >= FIRST_KIN_SEED else 0.0 for seed in seeds])
    blended = between(sample_people(own), thirds, share)
    return People(tuple(seeds), MappingProxyType(dict(blended.values)))


def _share(seed: int) -> float:
    """How far a relative is on the way to the third person, evenly in 0..1."""
    return random.Random(f"kin-{seed}").random()
