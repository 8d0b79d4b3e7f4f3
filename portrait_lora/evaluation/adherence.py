"""Prompt adherence: does the picture show what the prompt requests?

Attributes named in the prompt, in the words of `vocabulary`, are compared with the face pack's predictions.
An attribute is skipped if the pack has no network for it or the prompt does not name it.  `clip` covers
prompts in other words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from portrait_lora.records import Face
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


ATTRIBUTES: Final[tuple[tuple[str, tuple[str, ...], Callable[[Face], str | None]], ...]] = (
    ("view", VIEWS, _view),
    ("side faced", FACINGS, _facing),
    ("expression", EXPRESSIONS, lambda face: face.expression),
    ("glasses", ALL_GLASSES, lambda face: face.glasses),
    ("beard", BEARDS, lambda face: face.beard),
    ("lighting", LIGHTINGS, lambda face: face.lighting),
    ("side of the light", LIGHT_SIDES, _light_side),
)
"""Name, the words in prompts, and the prediction from the face: None when the pack has none."""
JUDGED: Final = ATTRIBUTES[:3]
"""The attributes that count for `attribute_adherence` and for checkpoint selection."""


def requested(prompt: str) -> tuple[str | None, str | None, str | None]:
    """(view, facing, expression) in the prompt; None for what is absent or ambiguous."""
    return _only(prompt, VIEWS), _only(prompt, FACINGS), _only(prompt, EXPRESSIONS)


def _only(prompt: str, words: tuple[str, ...]) -> str | None:
    matches = [w for w in words if re.search(rf"(?<![\w-]){re.escape(w)}(?![\w-])", prompt.lower())]
    return matches[0] if len(matches) == 1 else None


def mean_adherence(shown: Iterable[tuple[str, Face | None]]) -> float | None:
    """Mean over the (prompt, face) pairs that can be evaluated; None if there are none."""
    met = [attribute_adherence(prompt, face) for prompt, face in shown]
    values = [value for value in met if value is not None]
    return sum(values) / len(values) if values else None


def attribute_adherence(prompt: str, face: Face | None) -> float | None:
    """Fraction of the requested view, side and expression that the face shows.

    0 without a face, None when nothing can be evaluated.
    """
    wanted = [(word, read) for _, words, read in JUDGED if (word := _only(prompt, words)) is not None]
    if not wanted:
        return None
    if face is None:
        return 0.0
    met = [seen == word for word, read in wanted if (seen := read(face)) is not None]
    return sum(met) / len(met) if met else None


def obeyed(shown: Sequence[tuple[str, Face | None]]) -> tuple[Obeyed, ...]:
    """Adherence by attribute, over the portraits whose prompt names it.

    A portrait without a face counts as not adhering.  Attributes that no prompt names, or that the pack
    cannot predict, are omitted.
    """
    rows: list[Obeyed] = []
    for name, words, read in ATTRIBUTES:
        wanted = [(word, face) for prompt, face in shown if (word := _only(prompt, words)) is not None]
        seen = [(word, NONE_OF_THEM if face is None else read(face)) for word, face in wanted]
        met = [word == shown_word for word, shown_word in seen if shown_word is not None]
        if met and any(face is not None and read(face) is not None for _, face in wanted):
            rows.append(Obeyed(name, len(met), sum(met) / len(met)))
    return tuple(rows)
