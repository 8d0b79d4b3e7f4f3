"""Who a picture shows, told to the UNet beside the words.

A base that saw real pictures knows the names of many people, and somebody new is learnt into what names
already do (Yuan et al. 2023, "Inserting Anybody in Diffusion Models via Celeb Basis").  The people of the
studio have no names; what they are made of stands in: a small network turns it into a vector that is added to
what the text encoder says of the noun (`man`).  Nothing of this is needed to draw: an adapter that changes
what the UNet reads at that word finds the way already there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

import torch
from torch import Tensor, nn
from transformers import CLIPTokenizer

from portrait_lora.synthetic import sample_people
from portrait_lora.synthetic.identity import BODY_AND_SKIN, FACE_SHAPE
from portrait_lora.vocabulary import SUBJECTS
from scripts.kin import people_of

from .configs import TEXT_WIDTH

TRAITS: Final = (
    *FACE_SHAPE,
    *BODY_AND_SKIN,
    *("female", "freckles", "stubble", "recess", "hair_mel", "hair_red", "eye_mel", "eye_green", "iris_r"),
)
"""What stays of a person from picture to picture; hair, beard and glasses are drawn anew."""
HIDDEN: Final = 256
FILE: Final = "names.safetensors"
"""Beside the base that ships: for training that goes on from it."""
_SPREAD_OF: Final = range(1_000_000, 1_002_000)


@cache
def _spread() -> tuple[Tensor, Tensor]:
    """(T,) middle and spread of the traits among people of the corpus."""
    table = _table(sample_people(_SPREAD_OF).values)
    return table.mean(0), table.std(0)


def _table(values: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([values[name].float() for name in TRAITS], 1)


def traits(seeds: Sequence[int]) -> Tensor:
    """(N, T) what the people of these seeds are made of, relatives among them; each of middle 0, spread 1."""
    each = list(dict.fromkeys(seeds))
    row = {seed: i for i, seed in enumerate(each)}
    middle, spread = _spread()
    return ((_table(people_of(each).values) - middle) / spread)[[row[seed] for seed in seeds]]


def noun_ids(tokenizer: CLIPTokenizer) -> list[int]:
    """The tokens that a name stands at."""
    return [tokenizer(word, add_special_tokens=False).input_ids[0] for word in (*SUBJECTS, "person")]


class Names(nn.Module):
    """(N, T) traits -> (N, `TEXT_WIDTH`) names; all are nothing at first."""

    def __init__(self) -> None:
        super().__init__()
        last = nn.Linear(HIDDEN, TEXT_WIDTH)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(nn.Linear(len(TRAITS), HIDDEN), nn.SiLU(), last)

    def forward(self, traits_NT: Tensor) -> Tensor:
        return self.layers(traits_NT)


def told(states_NLD: Tensor, place_NL: Tensor, names_ND: Tensor) -> Tensor:
    """The text encoder's answer with the names added where `place_NL` is 1."""
    return states_NLD + place_NL[..., None] * names_ND[:, None]
