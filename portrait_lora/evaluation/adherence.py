"""Did the picture show what the prompt asked for?

Attributes: the view, the way the head faces and the expression that the prompt names in the words of
`vocabulary`, against those that the face pack reads off the face.  A pack without pose or expression cannot
tell, and neither can a prompt that names none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from portrait_lora.records import Face
from portrait_lora.vocabulary import EXPRESSIONS, FACINGS, VIEWS, facing_of, view_of


def asked(prompt: str) -> tuple[str | None, str | None, str | None]:
    """(view, facing, expression) that the prompt names; None for what it leaves open or names twice."""
    return _only(prompt, VIEWS), _only(prompt, FACINGS), _only(prompt, EXPRESSIONS)


def _only(prompt: str, words: tuple[str, ...]) -> str | None:
    said = [w for w in words if re.search(rf"(?<![\w-]){re.escape(w)}(?![\w-])", prompt.lower())]
    return said[0] if len(said) == 1 else None


def mean_adherence(shown: Iterable[tuple[str, Face | None]]) -> float | None:
    """Mean over the (prompt, face) pairs that can be judged; None when none can."""
    met = [attribute_adherence(prompt, face) for prompt, face in shown]
    told = [value for value in met if value is not None]
    return sum(told) / len(told) if told else None


def attribute_adherence(prompt: str, face: Face | None) -> float | None:
    """Share of the asked attributes that the face shows; 0 without a face, None when nothing can be told."""
    view, facing, expression = asked(prompt)
    if not (view or facing or expression):
        return None
    if face is None:
        return 0.0
    met: list[bool] = []
    if view is not None and face.pose_deg is not None:
        met.append(view_of(face.pose_deg[1]) == view)
    if facing is not None and face.pose_deg is not None:
        met.append(facing_of(face.pose_deg[1]) == facing)
    if expression is not None and face.expression is not None:
        met.append(face.expression == expression)
    return sum(met) / len(met) if met else None
