"""What is asked of the base: the words of pictures that the studio can take, with those pictures beside.

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
from portrait_lora.vocabulary import Look

FIRST_SEED: Final = 880_000
"""People who trained, calibrated and measured nothing else."""
SUPERSAMPLE: Final = 2
"""As in the corpus."""
_TRIES: Final = 100
_BATCH: Final = 16


@dataclass(frozen=True, slots=True)
class Wanted:
    """N prompts, the looks they tell, and a render of each."""

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
    worn = torch.tensor([vocabulary.GLASSES.index(g) for g in glasses])
    changed = {"beard": torch.where(men, beard, 0), "glasses": worn}
    return replace(people, values=MappingProxyType({**people.values, **changed}))


def draw_wanted(count: int, seed: int = 0, size_px: int = 128) -> Wanted:
    """`count` prompts of seed `seed` and their renders, `size_px` a side."""
    generator = torch.Generator().manual_seed(seed)
    v = vocabulary
    first = FIRST_SEED + 1_000_003 * seed
    hair = _dealt(v.HAIR_COLOURS, count, generator)
    people = synthetic.sample_people([_person(first + _TRIES * i, c) for i, c in enumerate(hair)])
    people = _dressed(people, _dealt(v.BEARDS, count, generator), _dealt(v.GLASSES, count, generator))
    scenes = synthetic.sample_scenes(
        [first + _TRIES * i for i in range(count)],
        expression=_dealt(v.EXPRESSIONS, count, generator),
        view=_dealt(v.VIEWS, count, generator),
        lighting=_dealt(v.LIGHTINGS, count, generator),
        backdrop=_dealt(v.BACKDROPS, count, generator),
        backdrop_colour=_dealt(v.BACKDROP_COLOURS, count, generator),
        garment=_dealt(v.GARMENTS, count, generator),
        garment_colour=_dealt(v.GARMENT_COLOURS, count, generator),
        shot=_dealt(v.SHOTS, count, generator),
    )
    looks: list[Look] = []
    renders: list[Tensor] = []
    for rows in torch.arange(count).split(_BATCH):
        made = synthetic.render(people.take(rows), scenes.take(rows), size_px, SUPERSAMPLE)
        looks.extend(made.looks)
        renders.append(made.image_BCHW)
    prompts = tuple(vocabulary.sentence(look) for look in looks)
    return Wanted(tuple(looks), prompts, torch.cat(renders))
