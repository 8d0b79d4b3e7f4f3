"""Prompt adherence: does the picture show what was requested?

The requested attributes, in the words of `vocabulary`, are compared with the face pack's predictions.  They
are read from the layers that the prompt was composed of; pictures of other tools have none, and theirs are
looked for in the prompt.  An attribute is skipped if the pack has no network for it or nothing names it.
`clip` covers prompts in other words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from portrait_lora.records import Face, Layers
from portrait_lora.vocabulary import (
    ALL_GLASSES,
    BEARDS,
    EXPRESSIONS,
    FACINGS,
    LIGHT_SIDES,
    LIGHTINGS,
    VIEWS,
    facing_of,
    view_of,
)

NONE_OF_THEM: Final = ""
"""None of the words applies: a frontal head faces neither left nor right."""


@dataclass(frozen=True, slots=True)
class Obeyed:
    """Adherence rate of one attribute over the `asked` portraits whose prompt names it."""

    attribute: str
    asked: int
    rate: float


def _view(face: Face) -> str | None:
    return None if face.pose_deg is None else view_of(face.pose_deg[1])


def _facing(face: Face) -> str | None:
    return None if face.pose_deg is None else facing_of(face.pose_deg[1]) or NONE_OF_THEM


def _light_side(face: Face) -> str | None:
    return None if face.light_direction is None else LIGHT_SIDES[face.light_direction[0] > 0]


@dataclass(frozen=True, slots=True)
class Request:
    """A requested portrait: its prompt and, where known, the layers that it was composed of."""

    prompt: str
    layers: Layers = ()

    def word(self, layer: str, words: Sequence[str]) -> str | None:
        """The one of these words that was requested; None for what is absent or ambiguous.

        With layers only the one of that name counts, or else the user's own words (layer `prompt`): the
        words for a garment or a backdrop may contain the name of an expression.
        """
        layers = dict(self.layers)
        text = layers.get(layer, layers.get("prompt", "")) if layers else self.prompt
        matches = [w for w in words if re.search(rf"(?<![\w-]){re.escape(w)}(?![\w-])", text.lower())]
        return matches[0] if len(matches) == 1 else None


@dataclass(frozen=True, slots=True)
class Attribute:
    """What one `layer` can request with one of `words`, and its prediction from a face.

    `read` returns None when the pack has no prediction.
    """

    name: str
    layer: str
    words: tuple[str, ...]
    read: Callable[[Face], str | None]


ATTRIBUTES: Final = (
    Attribute("view", "view", VIEWS, _view),
    Attribute("side faced", "facing", FACINGS, _facing),
    Attribute("expression", "expression", EXPRESSIONS, lambda face: face.expression),
    Attribute("glasses", "glasses", ALL_GLASSES, lambda face: face.glasses),
    Attribute("beard", "beard", BEARDS, lambda face: face.beard),
    Attribute("lighting", "lighting", LIGHTINGS, lambda face: face.lighting),
    Attribute("side of the light", "light_side", LIGHT_SIDES, _light_side),
)
JUDGED: Final = ATTRIBUTES[:3]
"""The attributes that count for `attribute_adherence` and for checkpoint selection."""


def mean_adherence(shown: Iterable[tuple[Request, Face | None]]) -> float | None:
    """Mean over the (request, face) pairs that can be evaluated; None if there are none."""
    met = [attribute_adherence(request, face) for request, face in shown]
    judged = [value for value in met if value is not None]
    return sum(judged) / len(judged) if judged else None


def attribute_adherence(request: Request, face: Face | None) -> float | None:
    """Fraction of the requested view, side and expression that the face shows.

    0 without a face, None when nothing can be evaluated.
    """
    wanted = [(word, one) for one in JUDGED if (word := request.word(one.layer, one.words)) is not None]
    if not wanted:
        return None
    if face is None:
        return 0.0
    met = [seen == word for word, one in wanted if (seen := one.read(face)) is not None]
    return sum(met) / len(met) if met else None


def obeyed(shown: Sequence[tuple[Request, Face | None]]) -> tuple[Obeyed, ...]:
    """Attribute by attribute, over the portraits of which it was asked.

    A portrait without a face obeys nothing.  Attributes that nobody asked for, or that the pack cannot see,
    cannot predict, are omitted.
    """
    rows: list[Obeyed] = []
    for one in ATTRIBUTES:
        wanted = [
            (word, face)
            for request, face in shown
            if (word := request.word(one.layer, one.words)) is not None
        ]
        seen = [(word, NONE_OF_THEM if face is None else one.read(face)) for word, face in wanted]
        met = [word == shown_word for word, shown_word in seen if shown_word is not None]
        if met and any(face is not None and one.read(face) is not None for _, face in wanted):
            rows.append(Obeyed(one.name, len(met), sum(met) / len(met)))
    return tuple(rows)
