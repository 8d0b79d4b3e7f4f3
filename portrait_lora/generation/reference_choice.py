"""Which photos of the person are shown while a portrait is drawn: near to it in pose and light, and varied.

Torch-free, and without chance: the same shot and photos give the same choice, whatever else is drawn.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from portrait_lora.generation.book import light_of
from portrait_lora.records import FloatArray, Layers
from portrait_lora.vocabulary import ALL_LIGHTINGS, FACINGS, LIGHT_SIDES, VIEWS

_YAW_DEG: Final = {VIEWS[0]: 0.0, VIEWS[1]: 32.0, VIEWS[2]: 70.0}
"""The middle of each view, in degrees."""
_VIEWED: Final = re.compile(rf"\b({'|'.join(VIEWS)}) (?:view|headshot|close-up|portrait)\b")
_FULL_TURN_DEG: Final = 90.0
_OTHER_LIGHT: Final = 0.25
_OTHER_SIDE: Final = 0.1
_UNKNOWN_POSE: Final = 0.5
_VARIETY: Final = 0.5
"""What a likeness to the photos chosen before costs, beside pose (0 to 1) and light."""
NEAR_DUPLICATE: Final = 0.97
"""Correlation of two small grey pictures from which they count as one."""


@dataclass(frozen=True, slots=True)
class Aspect:
    """What a shot asks for, or a photo shows; None where it is not known.

    Positive `yaw_deg` turns towards the right of the picture; `either_side` where only its size is known.
    """

    yaw_deg: float | None = None
    either_side: bool = False
    lighting: str | None = None
    light_side: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """One training crop, the photo that it was cut from, its aspect, and a small grey picture, unit norm."""

    path: Path
    source_sha256: str
    aspect: Aspect
    small: FloatArray


def aspect_of_words(words: str) -> Aspect:
    """What a caption says in the words of the prompt book."""
    view, facing = _first(VIEWS, words), _first(FACINGS, words)
    return _aspect(view, facing, _first(ALL_LIGHTINGS, words), _first(LIGHT_SIDES, words))


def aspect_of_shot(layers: Layers, prompt: str = "") -> Aspect:
    """What a shot asks for: its layers, and words of the prompt where a layer is missing.

    A shot without a view counts as frontal, as most portraits are; `profile picture` names none.
    """
    named = dict(layers)
    in_words = _VIEWED.search(prompt)
    view = named.get("view") or (in_words[1] if in_words else VIEWS[0])
    facing = named.get("facing") or _first(FACINGS, prompt)
    light = light_of(named.get("lighting") or prompt)
    side = named.get("light_side") or _first(LIGHT_SIDES, prompt)
    return _aspect(view, facing, light.phrase if light else None, side)


def choose(wanted: Aspect, candidates: Sequence[Candidate], count: int) -> tuple[Path, ...]:
    """At most `count` paths, the most fitting first; one crop per photo, and no near-duplicates.

    Each next one has the lowest sum of distance in pose and light and of likeness to those before
    (maximal marginal relevance, Carbonell and Goldstein 1998).
    """
    left = sorted(candidates, key=lambda one: one.path.name)
    chosen: list[Candidate] = []
    while left and len(chosen) < count:
        best = min(left, key=lambda one: _cost(wanted, one.aspect) + _VARIETY * _nearest(one, chosen))
        chosen.append(best)
        left = [one for one in left if not _same(one, best)]
    return tuple(one.path for one in chosen)


def _aspect(view: str | None, facing: str | None, lighting: str | None, light_side: str | None) -> Aspect:
    size = None if view is None else _YAW_DEG.get(view)
    yaw = -size if size and facing == FACINGS[0] else size
    return Aspect(yaw, bool(size) and facing is None, lighting, light_side)


def _first(known: Sequence[str], words: str) -> str | None:
    places = (
        (m.start(), word) for word in known if (m := re.search(rf"(?<!\w){re.escape(word)}(?!\w)", words))
    )
    return min(places, default=(0, None))[1]


def _cost(wanted: Aspect, shown: Aspect) -> float:
    return _pose_cost(wanted, shown) + _light_cost(wanted, shown)


def _pose_cost(wanted: Aspect, shown: Aspect) -> float:
    if wanted.yaw_deg is None or shown.yaw_deg is None:
        return _UNKNOWN_POSE
    a, b = wanted.yaw_deg, shown.yaw_deg
    if wanted.either_side or shown.either_side:
        a, b = abs(a), abs(b)
    return min(1.0, abs(a - b) / _FULL_TURN_DEG)


def _light_cost(wanted: Aspect, shown: Aspect) -> float:
    if wanted.lighting is None:
        return 0.0
    if shown.lighting is None:
        return _OTHER_LIGHT / 2
    sides = {wanted.light_side, shown.light_side} - {None}
    return (_OTHER_LIGHT if shown.lighting != wanted.lighting else 0.0) + (
        _OTHER_SIDE if len(sides) > 1 else 0.0
    )


def _nearest(one: Candidate, chosen: Sequence[Candidate]) -> float:
    return max((max(0.0, _correlation(one, other)) for other in chosen), default=0.0)


def _same(one: Candidate, other: Candidate) -> bool:
    return one.source_sha256 == other.source_sha256 or _correlation(one, other) >= NEAR_DUPLICATE


def _correlation(one: Candidate, other: Candidate) -> float:
    return float(np.dot(one.small.ravel(), other.small.ravel()))
