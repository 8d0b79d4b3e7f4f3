"""Accessories for a picture: hats, sunglasses, make-up."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

import torch

from portrait_lora import vocabulary
from portrait_lora.synthetic.identity import People, seeded

_SALT: Final = 0x2545F9
_HAT_ODDS: Final = 0.36
_SUNGLASSES_ODDS: Final = 0.18
_MAKEUP_ODDS: Final = 0.5
"""Of women."""


def dressed(
    people: People,
    seeds: Sequence[int],
    *,
    hat: str | None = None,
    glasses: str | None = None,
    makeup: str | None = None,
) -> People:
    """The same people with hats, sunglasses and make-up drawn per seed: over half wear something of these.

    `hat` ("no hat", "navy beanie"), `glasses` and `makeup` fix an item for everybody, in the words of
    `vocabulary`.  Nothing else of a person changes; who draws no sunglasses keeps their own glasses.
    Raises `ValueError` for another number of seeds and for unknown words.
    """
    if len(seeds) != len(people):
        raise ValueError(f"dressed: {len(people)} people but {len(seeds)} seeds")
    fixed = (
        _hat(hat)
        | _item("glasses", glasses, vocabulary.ALL_GLASSES)
        | _item("makeup", makeup, vocabulary.MAKEUP)
    )
    own, female = people.values["glasses"].tolist(), people.values["female"].tolist()
    drawn = [
        _drawn(int(seed), int(worn), is_female > 0.5) | fixed
        for seed, worn, is_female in zip(seeds, own, female, strict=True)
    ]
    new = (
        {k: torch.tensor([row[k] for row in drawn], device=people.device) for k in drawn[0]} if drawn else {}
    )
    return People(people.seeds, MappingProxyType({**people.values, **new}))


def _drawn(seed: int, glasses: int, female: bool) -> dict[str, int]:
    u = torch.rand(6, generator=seeded(seed, _SALT)).tolist()
    made_up = female and u[4] < _MAKEUP_ODDS
    return {
        "hat": 1 + int(u[1] * (len(vocabulary.HATS) - 1)) if u[0] < _HAT_ODDS else 0,
        "hat_colour": int(u[2] * len(vocabulary.GARMENT_COLOURS)),
        "glasses": vocabulary.ALL_GLASSES.index("sunglasses") if u[3] < _SUNGLASSES_ODDS else glasses,
        "makeup": 1 + int(u[5] * (len(vocabulary.MAKEUP) - 1)) if made_up else 0,
    }


def _hat(words: str | None) -> dict[str, int]:
    if words is None or words == vocabulary.HATS[0]:
        return {} if words is None else {"hat": 0}
    colour, _, kind = words.partition(" ")
    return _item("hat", kind, vocabulary.HATS) | _item("hat_colour", colour, vocabulary.GARMENT_COLOURS)


def _item(name: str, word: str | None, words: Sequence[str]) -> dict[str, int]:
    if word is None:
        return {}
    if word not in words:
        raise ValueError(f"dressed: {name}={word!r} is not one of {', '.join(words)}")
    return {name: words.index(word)}
