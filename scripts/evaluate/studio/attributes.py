"""What a picture of the studio can be prompted with, as closed lists of words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from portrait_lora import vocabulary as v
from portrait_lora.vocabulary import Look

PLAIN: Final = "plain"
"""The word of a picture without a style, which prompts do not say."""
UNSTATED: Final = ""
MONOCHROME: Final = ("monochrome film",)
UNLABELLED: Final = -1
"""Label of a picture that has no value of an attribute: the colour of a bald head, a woman's beard."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """One head of the classifier.

    `judged`: the base has a target on it; the others are shown beside.  `joinable`: words that the classifier
    cannot distinguish may count as one.
    """

    name: str
    words: tuple[str, ...]
    of: Callable[[Look], str | None]
    judged: bool = True
    joinable: bool = False


def _hair(look: Look, words: tuple[str, ...]) -> str | None:
    """The style or the colour within `black short hair`."""
    hair = look.hair or ""
    fitting = (w for w in words if hair == w or hair.startswith(f"{w} ") or hair.endswith(f" {w}"))
    return max(fitting, key=len, default=None)


def _first(phrase: str | None) -> str | None:
    return phrase.split(" ", 1)[0] if phrase else None


def _second(phrase: str | None) -> str | None:
    return phrase.split(" ", 1)[1] if phrase else None


def _in_colour(look: Look, word: str | None) -> str | None:
    """A monochrome picture has no word for a colour."""
    return None if look.style in MONOCHROME else word


def _backdrop(look: Look) -> str | None:
    return look.setting if look.setting in v.PLACES else _second(look.setting)


def _hat(look: Look) -> str | None:
    """`beanie` of `navy beanie`.  Without a hat renders say nothing, prompts leave it open (`prompted`)."""
    if look.hat == UNSTATED:
        return None
    return v.HATS[0] if look.hat in (None, v.HATS[0]) else _second(look.hat)


ATTRIBUTES: Final = (
    Attribute("hair colour", v.HAIR_COLOURS, lambda k: _in_colour(k, _hair(k, v.HAIR_COLOURS))),
    Attribute("glasses", v.ALL_GLASSES, lambda k: k.glasses),
    Attribute("beard", v.BEARDS, lambda k: k.beard if k.subject == v.SUBJECTS[0] else None),
    Attribute("expression", v.EXPRESSIONS, lambda k: k.expression),
    Attribute("view", v.VIEWS, lambda k: k.view),
    Attribute("facing", v.FACINGS, lambda k: k.facing),
    Attribute("rig", v.ALL_LIGHTINGS, lambda k: k.lighting, joinable=True),
    Attribute("light side", v.LIGHT_SIDES, lambda k: k.light_side),
    Attribute("backdrop", v.ALL_BACKDROPS, _backdrop),
    Attribute(
        "backdrop colour",
        v.BACKDROP_COLOURS,
        lambda k: None if k.setting in v.PLACES else _in_colour(k, _first(k.setting)),
    ),
    Attribute("garment", v.GARMENTS, lambda k: _second(k.wardrobe)),
    Attribute("garment colour", v.GARMENT_COLOURS, lambda k: _in_colour(k, _first(k.wardrobe))),
    Attribute("hat", v.HATS, _hat),
    Attribute("style", (PLAIN, *v.STYLES), lambda k: None if k.style == UNSTATED else k.style or PLAIN),
    Attribute("subject", v.SUBJECTS, lambda k: k.subject, judged=False),
    Attribute("shot", v.SHOTS, lambda k: k.shot, judged=False),
    Attribute("hair style", v.HAIR_STYLES, lambda k: _hair(k, v.HAIR_STYLES), judged=False),
    Attribute("skin", v.SKIN_TONES, lambda k: _in_colour(k, k.skin), judged=False),
)


def labels(looks: Sequence[Look]) -> Tensor:
    """(N, attributes) indices into the lists of words; `UNLABELLED` where there is no word."""
    return torch.tensor(
        [[a.words.index(w) if (w := a.of(look)) else UNLABELLED for a in ATTRIBUTES] for look in looks]
    ).reshape(len(looks), len(ATTRIBUTES))


def prompted(look: Look) -> Look:
    """What the prompt of a look says: bare chins and eyes are not mentioned, so nobody is held to them."""
    return replace(
        look,
        beard=None if look.beard in v.UNWORN else look.beard,
        glasses=None if look.glasses in v.UNWORN else look.glasses,
        hat=UNSTATED if look.hat in (None, *v.UNWORN) else look.hat,
        style=look.style or UNSTATED,
    )


def mirrored(wanted: Tensor) -> Tensor:
    """The labels (N, attributes) of the pictures seen in a mirror: left and right change places."""
    out = wanted.clone()
    for i, attribute in enumerate(ATTRIBUTES):
        if attribute.name in ("facing", "light side"):
            column = wanted[:, i]
            out[:, i] = torch.where(column == UNLABELLED, column, 1 - column)
    return out
