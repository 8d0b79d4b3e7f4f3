"""Who a picture shows, as an input of the UNet beside the words.

A base that saw real pictures knows the names of many people, and somebody new is learnt into what names
already do (Yuan et al. 2023, "Inserting Anybody in Diffusion Models via Celeb Basis").  The people of the
studio have no names; what they are made of stands in: a small network turns it into a vector that is added to
what the text encoder says of the noun (`man`).  Nothing of this is needed to draw: an adapter that changes
what the UNet reads at that word finds the way already there.
"""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn
from transformers import CLIPTokenizer

from portrait_lora.vocabulary import SUBJECTS
from scripts.train.traits import KEPT

from .configs import TEXT_WIDTH

HIDDEN: Final = 256
FILE: Final = "names.safetensors"
"""For training that goes on from a base: beside its checkpoints; the shipped one's is beside this module."""


def noun_ids(tokenizer: CLIPTokenizer) -> list[int]:
    """The tokens that a name stands at."""
    return [tokenizer(word, add_special_tokens=False).input_ids[0] for word in (*SUBJECTS, "person")]


class Names(nn.Module):
    """(N, T) traits (`KEPT`) -> (N, `TEXT_WIDTH`) names; all are nothing at first."""

    def __init__(self) -> None:
        super().__init__()
        last = nn.Linear(HIDDEN, TEXT_WIDTH)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(nn.Linear(len(KEPT), HIDDEN), nn.SiLU(), last)

    def forward(self, traits_NT: Tensor) -> Tensor:
        return self.layers(traits_NT)


def with_names(states_NLD: Tensor, place_NL: Tensor, names_ND: Tensor) -> Tensor:
    """The text encoder's answer with the names added where `place_NL` is 1."""
    return states_NLD + place_NL[..., None] * names_ND[:, None]
