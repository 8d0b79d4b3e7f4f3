"""How far two people truly are apart, by what their heads are made of; and people at a given distance.

Distance is the mean difference of the vertices and of their albedo between two neutral heads, each part in
units of two strangers in the middle, both weighted alike.  Neither light nor camera has a say in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from portrait_lora.synthetic import People, between, sample_people, sample_scenes
from portrait_lora.synthetic.figure import build_figure
from portrait_lora.synthetic.identity import Person
from portrait_lora.synthetic.scene import Scene
from portrait_lora.synthetic.skin import SkinSamples, paint_skin

FIRST_STRANGER: Final = 839_000
SCALE_PAIRS: Final = 200
_HALVINGS: Final = 12
"""A share of the way to 1 / 4096."""

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Head:
    """A neutral head: (V, 3) vertices in the renderer's units, and their (V, 3) albedo, linear 0..1."""

    vertices: Array
    albedo: Array


@dataclass(frozen=True, slots=True)
class Scale:
    """What the two parts are divided by, so that the median distance of strangers is 1."""

    vertices: float
    albedo: float


@cache
def _neutral() -> Scene:
    return sample_scenes([1], expression="neutral", yaw_deg=0.0, pitch_deg=0.0, roll_deg=0.0).rows()[0]


def head_of(people: People) -> Head:
    """The head of the first of these people, its skin, lips, eyes and brows painted as the renderer does."""
    person: Person = people.rows()[0]
    figure = build_figure(person, _neutral(), torch.device("cpu"))
    vertices = figure.head.position.reshape(-1, 3)
    attributes = figure.shading_V17[: len(vertices), 9:]
    samples = SkinSamples.of(attributes, torch.zeros(len(vertices), dtype=torch.bool))
    skin = paint_skin(samples, person, figure.features, _neutral())
    return Head(vertices.numpy(), skin.albedo_N3.numpy())


def parts(a: Head, b: Head) -> tuple[float, float]:
    """(mean distance of the vertices, mean absolute difference of their albedo)."""
    moved = np.linalg.norm(a.vertices - b.vertices, axis=1).mean()
    return float(moved), float(np.abs(a.albedo - b.albedo).mean())


def distance(a: Head, b: Head, scale: Scale) -> float:
    """0 for one head, 1 for two strangers in the middle."""
    vertices, albedo = parts(a, b)
    return 0.5 * (vertices / scale.vertices + albedo / scale.albedo)


def stranger_scale(seed: int, pairs: int = SCALE_PAIRS) -> Scale:
    """The units, from `pairs` pairs of strangers."""
    first = FIRST_STRANGER + 1000 * seed
    heads = [head_of(sample_people([first + i])) for i in range(2 * pairs)]
    table = np.array([parts(heads[2 * i], heads[2 * i + 1]) for i in range(pairs)])
    vertices, albedo = np.median(table, axis=0)
    middle = float(np.median(0.5 * (table[:, 0] / vertices + table[:, 1] / albedo)))
    return Scale(float(vertices) * middle, float(albedo) * middle)


def at_distance(
    first: People, wanted: float, scale: Scale, first_other: int, step: int
) -> tuple[People, float]:
    """Somebody on the way from `first` to another person, `wanted` (0..1) away, and how far it came out.

    Others have the seeds `first_other`, + `step`, …: the first of them who is far enough is taken.
    """
    own = head_of(first)

    def reached(other: People, share: float) -> tuple[People, float]:
        someone = between(first, other, share)
        return someone, distance(own, head_of(someone), scale)

    others = (sample_people([first_other + k * step]) for k in count())
    other = next(o for o in others if reached(o, 1.0)[1] >= wanted)
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if reached(other, middle)[1] < wanted else (low, middle)
    return reached(other, high)
