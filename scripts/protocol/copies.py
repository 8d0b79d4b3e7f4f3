"""Planted copies and honest portraits of studio people, seen through the face pack like any portrait."""

from __future__ import annotations

import io
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from portrait_lora.evaluation.copyview import View, view
from portrait_lora.evaluation.identity import subject_face
from portrait_lora.evaluation.memorization import copy_report
from portrait_lora.faces import FaceAnalyzer
from portrait_lora.synthetic import render, sample_people, sample_scenes
from scripts.rows import Row

Picture = npt.NDArray[np.uint8]
FIRST_SEED: Final = 820_000
TRAINING, HOLDOUT, HONEST = 12, 3, 8
SIZE_PX: Final = 192
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


def _views(finder: FaceAnalyzer, images: list[Picture] | Picture) -> list[View | None]:
    faces = [(image, subject_face(finder.find(image))) for image in images]
    return [None if face is None else view(image, face.keypoints_px) for image, face in faces]


def rows(finder: FaceAnalyzer, people: int, seed: int) -> list[Row]:
    """Shares flagged; a copy in which no face is found counts as missed."""
    rng = np.random.default_rng(seed)
    caught = dict.fromkeys(PLANTS, 0)
    planted = honest = wrong = 0
    for person in range(FIRST_SEED + 1000 * seed, FIRST_SEED + 1000 * seed + people):
        made = pictures(person, TRAINING + HOLDOUT + HONEST)
        real = _views(finder, made[: TRAINING + HOLDOUT])
        training = [v for v in real[:TRAINING] if v is not None]
        holdout = [v for v in real[TRAINING:] if v is not None]
        fresh = [v for v in _views(finder, made[TRAINING + HOLDOUT :]) if v is not None]
        wrong += sum(copy_report(fresh, training, holdout).copied)
        honest += HONEST
        for kind in PLANTS:
            copies = [plant(kind, made[i], made[-1 - i % HONEST], rng) for i in range(0, TRAINING, 2)]
            seen = [v for v in _views(finder, copies) if v is not None]
            caught[kind] += sum(copy_report(seen, training, holdout).copied)
        planted += len(range(0, TRAINING, 2))
    total = planted * len(PLANTS)
    by_kind = [Row(f"copies caught, {k}", n / planted, "share", planted) for k, n in caught.items()]
    return [
        Row("copies caught", sum(caught.values()) / total, "share", total, 0.99),
        *by_kind,
        Row("honest portraits flagged as copies", wrong / honest, "share", honest, 0.02, at_most=True),
    ]
