"""What a person of the studio is made of, as numbers of even spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

import torch
from torch import Tensor

from portrait_lora.synthetic import sample_people
from portrait_lora.synthetic.identity import BODY_AND_SKIN, FACE_SHAPE
from scripts.train.kin import people_of

LOOKS: Final = (
    *FACE_SHAPE,
    *("melanin", "skin_red", "skin_yellow", "lip_red", "age", "female"),
    *("freckles", "eye_mel", "eye_green", "iris_r"),
)
"""The face itself: what a recogniser should see."""
KEPT: Final = (
    *FACE_SHAPE,
    *BODY_AND_SKIN,
    *("female", "freckles", "stubble", "recess", "hair_mel", "hair_red", "eye_mel", "eye_green", "iris_r"),
)
"""All that stays of a person from picture to picture; hair style, beard and glasses are drawn anew.

The names that ship with the base (`scripts/train/base/names.py`) read them in this order."""
_SPREAD_OF: Final = range(1_000_000, 1_002_000)


def traits(seeds: Sequence[int], which: tuple[str, ...]) -> Tensor:
    """(N, T) what the people of these seeds, relatives among them, are made of; middle 0, spread 1 each."""
    each = list(dict.fromkeys(seeds))
    row = {seed: i for i, seed in enumerate(each)}
    middle, spread = _spread(which)
    table = (_table(people_of(each).values, which) - middle) / spread
    return table[[row[seed] for seed in seeds]]


@cache
def _spread(which: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """(T,) middle and spread among people of the corpus."""
    table = _table(sample_people(_SPREAD_OF).values, which)
    return table.mean(0), table.std(0)


def _table(values: Mapping[str, Tensor], which: tuple[str, ...]) -> Tensor:
    return torch.stack([values[name].float() for name in which], 1)
