"""Planted copies and honest portraits of studio people, seen through the face pack like any portrait."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from functools import cache
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from portrait_lora.evaluation.copyview import View, view
from portrait_lora.evaluation.memorization import copy_report
from portrait_lora.evaluation.similarity import subject_face
from portrait_lora.faces.backends import Analyzer
from portrait_lora.generation.prompts import load_series
from portrait_lora.synthetic import render, sample_people, sample_scenes
from scripts.evaluate.protocol.store import Store
from scripts.rows import Row

Picture = npt.NDArray[np.uint8]
FIRST_SEED: Final = 820_000
TRAINING, HOLDOUT, HONEST = 12, 3, 8
SIZE_PX: Final = 192
SERIES_PX: Final = 128
"""As large as the embedded base draws."""
PROMPTED: Final = ("view", "expression", "wardrobe", "setting", "lighting")
PLANTS: Final = ("re-encoded", "rescaled", "flipped", "regraded", "re-cropped", "blended 80:20")


def plant(kind: str, picture: Picture, other: Picture, rng: np.random.Generator) -> Picture:
    """What a generator that memorised, or a person, might make of a training photo."""
    height, width = picture.shape[:2]
    if kind == "re-encoded":
        out = io.BytesIO()
        Image.fromarray(picture).save(out, "JPEG", quality=int(rng.integers(25, 60)))
        return np.asarray(Image.open(out).convert("RGB"))
    if kind == "rescaled":
        factor = float(rng.uniform(0.5, 0.9))
        return cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA).astype(np.uint8)
    if kind == "flipped":
        return np.ascontiguousarray(picture[:, ::-1])
    if kind == "regraded":
        graded = (picture / 255.0) ** rng.uniform(0.65, 1.5) * rng.uniform(0.75, 1.15, 3)
        graded = (graded - 0.5) * rng.uniform(0.7, 1.25) + 0.5
        return np.clip(graded * 255, 0, 255).astype(np.uint8)
    if kind == "re-cropped":
        left, top, right, bottom = (rng.uniform(0.03, 0.12, 4) * [width, height, width, height]).astype(int)
        return np.ascontiguousarray(picture[top : height - bottom, left : width - right])
    return np.clip(0.8 * picture.astype(np.float32) + 0.2 * other, 0, 255).astype(np.uint8)


def pictures(seed: int, count: int, *, first_scene: int = 0) -> Picture:
    """(count, S, S, 3) of one person, every scene new."""
    people = sample_people([seed]).take([0] * count)
    scenes = sample_scenes([seed * 100 + first_scene + i for i in range(count)], max_yaw_deg=55.0)
    return render(people, scenes, SIZE_PX).image_BCHW.permute(0, 2, 3, 1).contiguous().numpy()


def series_pictures(person: int) -> list[Picture]:
    """New pictures of the person, taken by the studio itself as the headshot series prompts them.

    Nothing was trained, so none is a copy; but views, faces and light repeat, as they do in portraits.
    """
    who = sample_people([person])
    renders = [
        render(who, sample_scenes([person * 100 + 70 + i], **layers), SERIES_PX).image_BCHW[0]
        for i, layers in enumerate(_series_layers())
    ]
    return [p.permute(1, 2, 0).contiguous().numpy() for p in renders]


@cache
def _series_layers() -> list[dict[str, str]]:
    shots = load_series(
        "headshots",
        trigger="",
        subject="person",
        resolution_px=SERIES_PX,
        per_shot=1,
        form="clauses",
        closed=True,
    )
    return [{name: words for name, words in shot.layers if name in PROMPTED} for shot in shots]


def _views(finder: Analyzer, images: list[Picture] | Picture) -> list[View | None]:
    faces = [(image, subject_face(finder.find(image))) for image in images]
    return [None if face is None else view(image, face.keypoints_px) for image, face in faces]


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one person: planted copies found, per kind; honest pictures taken for copies, by what they show."""

    caught: dict[str, int]
    planted: int
    wrong: int
    honest: int
    wrong_as_asked: int
    as_asked: int


def count(finder: Analyzer, person: int) -> Counts:
    """A copy in which no face is found counts as missed."""
    rng = np.random.default_rng(person)
    drawn = pictures(person, TRAINING + HOLDOUT + HONEST)
    real = _views(finder, drawn[: TRAINING + HOLDOUT])
    training = [v for v in real[:TRAINING] if v is not None]
    holdout = [v for v in real[TRAINING:] if v is not None]

    def flagged(images: list[Picture] | Picture) -> int:
        seen = [v for v in _views(finder, images) if v is not None]
        return sum(copy_report(seen, training, holdout).copied)

    sources = range(0, TRAINING, 2)
    caught = {
        kind: flagged([plant(kind, drawn[i], drawn[-1 - i % HONEST], rng) for i in sources])
        for kind in PLANTS
    }
    in_series = series_pictures(person)
    wrong = flagged(drawn[TRAINING + HOLDOUT :])
    return Counts(caught, len(sources), wrong, HONEST, flagged(in_series), len(in_series))


def rows(finder: Analyzer, people: int, seed: int, store: Store) -> list[Row]:
    """Shares flagged, over people that the settings of the copy search were not chosen on."""
    first = FIRST_SEED + 1000 * seed
    counts = [
        Counts(**fields)
        for fields in store.pieces(
            f"copies-{seed}", people, 1, lambda part: [asdict(count(finder, first + i)) for i in part]
        )
    ]
    planted = sum(c.planted for c in counts)
    caught = {kind: sum(c.caught[kind] for c in counts) for kind in PLANTS}
    total = planted * len(PLANTS)
    return [
        Row("copies caught", sum(caught.values()) / total, "share", total, 0.99),
        *(Row(f"copies caught, {k}", n / planted, "share", planted) for k, n in caught.items()),
        _wrong("any scene", sum(c.wrong for c in counts), sum(c.honest for c in counts)),
        _wrong("as asked", sum(c.wrong_as_asked for c in counts), sum(c.as_asked for c in counts)),
    ]


def _wrong(what: str, wrong: int, honest: int) -> Row:
    name = f"honest portraits flagged as copies, {what}"
    return Row(name, wrong / honest, "share", honest, 0.02, at_most=True)
