"""What the base should draw: the words of pictures that the studio can take, with those pictures beside.

Every word of a list comes as often as the others, except where the world forbids it: beards are men's, hair
goes with sex, and its colour with the skin.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

from portrait_lora import synthetic, vocabulary
from portrait_lora.synthetic import colours
from portrait_lora.synthetic.identity import People
from portrait_lora.synthetic.styles import styled
from portrait_lora.vocabulary import Look

FIRST_SEED: Final = 880_000
"""People who trained, calibrated and measured nothing else."""
SUPERSAMPLE: Final = 2
"""As in the corpus."""
_TRIES: Final = 100
_BATCH: Final = 16


@dataclass(frozen=True, slots=True)
class Wanted:
    """N prompts, the looks they describe, and a render of each."""

    looks: tuple[Look, ...]
    prompts: tuple[str, ...]
    renders: Tensor  # (N, 3, S, S) uint8


def _dealt(words: tuple[str, ...], count: int, generator: torch.Generator) -> list[str]:
    """`count` words, each as often as the others, shuffled."""
    order = torch.randperm(count, generator=generator).tolist()
    return [words[place % len(words)] for place in order]


def _person(first_seed: int, hair_colour: str) -> int:
    """The first of some seeds whose person has hair of this colour."""
    for seed in range(first_seed, first_seed + _TRIES):
        person = synthetic.sample_people([seed]).rows()[0]
        bald = person.style_name == vocabulary.HAIR_STYLES[0]
        if not bald and colours.hair_colour_word(person) == hair_colour:
            return seed
    return first_seed


def _dressed(people: People, beards: list[str], glasses: list[str]) -> People:
    """The people with these beards (men only) and glasses."""
    men = people.values["female"] < 0.5
    beard = torch.tensor([vocabulary.BEARDS.index(b) for b in beards])
    worn = torch.tensor([vocabulary.ALL_GLASSES.index(g) for g in glasses])
    changed = {"beard": torch.where(men, beard, 0), "glasses": worn}
    return replace(people, values=MappingProxyType({**people.values, **changed}))


def _settings(count: int, generator: torch.Generator, *, later: bool) -> list[str]:
    """`grey seamless backdrop`; with later words half of them are places."""
    v = vocabulary
    kinds, colours = _dealt(v.BACKDROPS, count, generator), _dealt(v.BACKDROP_COLOURS, count, generator)
    backdrops = [f"{colour} {kind}" for colour, kind in zip(colours, kinds, strict=True)]
    if not later:
        return backdrops
    places, placed = _dealt(v.PLACES, count, generator), _dealt(("yes", "no"), count, generator)
    return [p if w == "yes" else t for p, t, w in zip(places, backdrops, placed, strict=True)]


def draw_wanted(count: int, seed: int = 0, size_px: int = 128, edition: int = 1) -> Wanted:
    """`count` prompts of seed `seed` and their renders, `size_px` a side.

    Those of `edition` 2 have the later words too, and half of them a style.
    """
    generator = torch.Generator().manual_seed(seed)
    v, later = vocabulary, edition > 1
    first = FIRST_SEED + 1_000_003 * seed
    hair = _dealt(v.HAIR_COLOURS, count, generator)
    people = synthetic.sample_people([_person(first + _TRIES * i, c) for i, c in enumerate(hair)])
    seeds = [first + _TRIES * i for i in range(count)]
    if later:
        people = synthetic.dressed(people, seeds)
    glasses = v.ALL_GLASSES if later else v.GLASSES
    people = _dressed(people, _dealt(v.BEARDS, count, generator), _dealt(glasses, count, generator))
    scenes = synthetic.sample_scenes(
        seeds,
        expression=_dealt(v.EXPRESSIONS, count, generator),
        view=_dealt(v.VIEWS, count, generator),
        lighting=_dealt(v.ALL_LIGHTINGS if later else v.LIGHTINGS, count, generator),
        setting=_settings(count, generator, later=later),
        garment=_dealt(v.GARMENTS, count, generator),
        garment_colour=_dealt(v.GARMENT_COLOURS, count, generator),
        shot=_dealt(v.SHOTS, count, generator),
    )
    looks: list[Look] = []
    renders: list[Tensor] = []
    for rows in torch.arange(count).split(_BATCH):
        batch = synthetic.render(people.take(rows), scenes.take(rows), size_px, SUPERSAMPLE)
        looks.extend(batch.looks)
        renders.append(batch.image_BCHW)
    shown = torch.cat(renders)
    if later:
        looks, shown = _styled(looks, shown, _dealt((*v.STYLES, *[""] * len(v.STYLES)), count, generator))
    return Wanted(tuple(looks), tuple(vocabulary.sentence(look) for look in looks), shown)


def _styled(looks: list[Look], renders: Tensor, styles: list[str]) -> tuple[list[Look], Tensor]:
    """Looks and pictures in these styles; an empty one leaves them as they are."""
    renders = renders.clone()
    for i, style in enumerate(styles):
        if style:
            looks[i], renders[i] = replace(looks[i], style=style), styled(renders[i : i + 1], style, [i])[0]
    return looks, renders
