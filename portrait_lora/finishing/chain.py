"""The chain of steps with its gate: a step that costs likeness is weakened, or refused with the figure.

Likeness is the mean cosine of the face to references: a person's held-out photos, or, without any, the
picture as it was before the first step.  Embedders react to colour itself, so what only maps colours (black
and white, a film's tones) is carried out on the references too.  Embedder A decides; embedder B, which
nothing was chosen with, reports.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from portrait_lora.errors import InputError
from portrait_lora.finishing.canvas import Canvas, Product, mixed
from portrait_lora.finishing.look import Planned
from portrait_lora.finishing.step import BehindOnly, OfLight, Tools
from portrait_lora.records import RGBImage

LIMIT: Final = 0.02
"""The likeness that one step may cost."""
_HALVINGS: Final = 5
"""Strengths are tried in steps of 1/32."""


class Judge(Protocol):
    """Measures the likeness of a picture; None where no face is found, or nothing is to compare with."""

    @property
    def has_photos(self) -> bool:
        """Whether the references are photos of the person; else it is the picture before the first step."""
        ...

    @property
    def threshold(self) -> float:
        """The likeness by embedder A from which on two faces count as one person."""
        ...

    def likeness(self, image_rgb: RGBImage, colours: Sequence[Planned]) -> float | None:
        """By embedder A, to references that went through the steps `colours`."""
        ...

    def reported(self, image_rgb: RGBImage, colours: Sequence[Planned]) -> float | None:
        """By embedder B, likewise."""
        ...


class StepRefused(InputError):
    """A step that would cost more likeness than allowed, and cannot be weakened."""


@dataclass(frozen=True, slots=True)
class Motion:
    """Likeness in `count` frames of what moves: the mean and the lowest by A, and by B.

    A frame without a face counts as 0; `faces` of them have one.
    """

    count: int
    faces: int
    a: tuple[float, float]
    b: tuple[float, float]

    @property
    def entry(self) -> dict[str, object]:
        """As in a record."""
        pairs = {"A": self.a, "B": self.b}
        return {
            "frames": self.count,
            "faces": self.faces,
            **{name: [round(value, 5) for value in pair] for name, pair in pairs.items()},
        }


@dataclass(frozen=True, slots=True)
class Passed:
    """One step as it was carried out: its strength (1: as asked) and the likeness before and after.

    `moving`: in the frames of what it set in motion, if anything.
    """

    planned: Planned
    strength: float
    before: float | None
    after: float | None
    files: Mapping[str, str]
    moving: Motion | None = None

    @property
    def entry(self) -> dict[str, object]:
        """As in a record."""
        figures = {"before": self.before, "after": self.after}
        likeness: dict[str, object] = {k: None if v is None else round(v, 5) for k, v in figures.items()}
        return {
            **self.planned.entry,
            "strength": self.strength,
            "likeness": likeness | ({"moving": self.moving.entry} if self.moving else {}),
            "files": dict(self.files),
        }


@dataclass(frozen=True, slots=True)
class Finished:
    """The result of a chain: the canvas, every step, and likeness (A, B) of the source and the result."""

    canvas: Canvas
    passed: tuple[Passed, ...]
    before: tuple[float | None, float | None]
    after: tuple[float | None, float | None]


class ChainTools(Tools, Protocol):
    """Tools that follow the chain from step to step."""

    def begin(self, place: int, name: str, canvas: Canvas) -> None:
        """The step at this place comes next, after the step `name` with its result (or the source)."""
        ...

    def used(self) -> Mapping[str, str]:
        """Name -> sha256 of the files and models that the present step has used."""
        ...


def run(
    canvas: Canvas,
    steps: Sequence[Planned],
    tools: ChainTools,
    judge: Judge,
    *,
    limit: float = LIMIT,
    strengths: Sequence[float] | None = None,
) -> Finished:
    """Carry out every step, each gated; `strengths` (of a record) are applied as they are, without a gate.

    Raises `StepRefused` naming the step and the figure, and what the steps raise.
    """
    begun = canvas.flat()
    first = last = judge.likeness(begun, ())
    passed: list[Passed] = []
    colours: list[Planned] = []
    known = len(canvas.products)
    for place, one in enumerate(steps):
        tools.begin(place, steps[place - 1].step.name if place else "", canvas)
        colours += [one] if one.step.of_colour else []
        full = one.step.apply(canvas, one.settings, tools)
        if strengths is not None:
            strength = strengths[place]
            canvas = full if strength >= 1.0 else _weakened(canvas, full, one, tools, strength)
            after = judge.likeness(canvas.flat(), colours)
        else:
            gate = _Gate(judge, tuple(colours), last, _limit(one, judge, limit))
            canvas, strength, after = _gated(canvas, full, one, tools, gate, place)
        moving = None
        if last is not None and (shown := [p for p in canvas.products[known:] if p.frames]):
            moving = _in_motion(shown[0], judge, colours)
            if shown[0].drawn and strengths is None:
                _refuse_another(moving, last, judge, limit, f"step {place + 1}")
        passed.append(Passed(one, strength, last, after, dict(tools.used()), moving))
        last, known = after, len(canvas.products)
    ends = judge.reported(begun, ()), judge.reported(canvas.flat(), colours)
    return Finished(canvas, tuple(passed), (first, ends[0]), (last, ends[1]))


def _in_motion(product: Product, judge: Judge, colours: Sequence[Planned]) -> Motion:
    """What is not found in a frame is not that person: no face counts as 0."""
    a = [judge.likeness(one, colours) for one in product.frames]
    b = [judge.reported(one, colours) for one in product.frames]
    return Motion(len(a), sum(value is not None for value in a), _mean_and_lowest(a), _mean_and_lowest(b))


def _mean_and_lowest(values: Sequence[float | None]) -> tuple[float, float]:
    known = [value or 0.0 for value in values]
    return sum(known) / len(known), min(known)


def _refuse_another(moving: Motion, before: float, judge: Judge, limit: float, where: str) -> None:
    """Refuse frames that a model drew of somebody else.

    Against photos of the person the mean of the frames may fall as far as by any step.  Against the picture
    alone it falls with every turn of the head, so there it has to be one person's.
    """
    mean, least = moving.a[0], before - limit if judge.has_photos else judge.threshold
    if mean >= least:
        return
    raise StepRefused(
        "the clip would show somebody else",
        where=where,
        got=f"likeness {before:.3f} -> {mean:.3f} in {moving.count} frames, {moving.faces} with a face",
        needed=f"{least:.3f} at least",
        remedy="Try another --seed, another prompt or a larger picture"
        + (", or raise --limit." if judge.has_photos else "."),
    )


@dataclass(frozen=True, slots=True)
class _Gate:
    judge: Judge
    colours: tuple[Planned, ...]
    last: float | None
    limit: float

    def likeness(self, canvas: Canvas) -> float | None:
        return self.judge.likeness(canvas.flat(), self.colours)

    def passes(self, likeness: float | None) -> bool:
        """Whether so much may pass; without a face before there is nothing to lose."""
        return self.last is None or (likeness is not None and self.last - likeness <= self.limit)


def _limit(one: Planned, judge: Judge, limit: float) -> float:
    """What this step may cost: anything, as long as a face is found, where likeness says nothing of it."""
    of_light = isinstance(one.step, OfLight) and not judge.has_photos
    return math.inf if of_light or isinstance(one.step, BehindOnly) else limit


def _gated(
    before: Canvas, full: Canvas, one: Planned, tools: Tools, gate: _Gate, place: int
) -> tuple[Canvas, float, float | None]:
    """The canvas at the greatest strength that keeps the likeness, that strength, and the likeness."""
    after = gate.likeness(full)
    if gate.passes(after):
        return full, 1.0, after
    neutral = one.step.neutral(before, one.settings, tools)
    kept: tuple[Canvas, float, float | None] | None = None
    if neutral is not None:
        low, high = 0, 1 << _HALVINGS
        while high - low > 1:
            middle = (low + high) // 2
            strength = middle / (1 << _HALVINGS)
            candidate = _blend(neutral, full, strength)
            seen = gate.likeness(candidate)
            if gate.passes(seen):
                low, kept = middle, (candidate, strength, seen)
            else:
                high = middle
    if kept is None:
        got = "the face is no longer found" if after is None else f"likeness {gate.last:.3f} -> {after:.3f}"
        raise StepRefused(
            f"the step {one.step.name} would change the person",
            where=f"step {place + 1}",
            got=got,
            needed="a face" if after is None else f"a fall of at most {gate.limit:g}",
            remedy="Ask for less of it, leave it out, or raise --limit.",
        )
    return kept


def _weakened(before: Canvas, full: Canvas, one: Planned, tools: Tools, strength: float) -> Canvas:
    neutral = one.step.neutral(before, one.settings, tools)
    return full if neutral is None else _blend(neutral, full, strength)


def _blend(neutral: Canvas, full: Canvas, strength: float) -> Canvas:
    """Between the two, delivered as the step asks."""
    return replace(mixed(neutral, full, strength), delivery=full.delivery, products=full.products)
