"""Drawn portraits and made-up faces: nobody real, and fast."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from portrait_lora.config import CheckConfig, CurateConfig
from portrait_lora.dataset.checks import move_face
from portrait_lora.dataset.photos import load_photo
from portrait_lora.records import Face, PhotoReport, RGBImage, readonly
from portrait_lora.stages.configured import check_of, curate_of

SIZE = (240, 300)  # W, H of a drawn picture
CHECKS = check_of(CheckConfig())
SAME = curate_of(CurateConfig(), same_person_similarity=0.45)
DIMENSIONS = 64


def embedding(person: int, variation: int = 0, spread: float = 0.6):
    """Unit norm; two variations of one person have a cosine near 1 / (1 + spread²)."""
    base = np.random.default_rng(person).normal(size=DIMENSIONS)
    other = np.random.default_rng([person, variation, 7]).normal(size=DIMENSIONS)
    vector = base / np.linalg.norm(base) + spread * other / np.linalg.norm(other)
    return readonly(vector / np.linalg.norm(vector))


def made_up_face(
    size_px: tuple[int, int] = SIZE, *, yaw: float = 0.0, expression: str | None = "neutral", **changes
) -> Face:
    """A face in the upper middle of a picture of this size, 30 % of its width wide."""
    width, height = size_px
    w = 0.3 * width
    x0, y0 = 0.35 * width, 0.24 * height
    h = 1.25 * w
    points = [(0.3, 0.42), (0.7, 0.42), (0.5, 0.62), (0.34, 0.78), (0.66, 0.78)]
    face = Face(
        box_xyxy_px=(x0, y0, x0 + w, y0 + h),
        score=0.95,
        keypoints_px=readonly(np.array([(x0 + a * w, y0 + b * h) for a, b in points])),
        embedding=embedding(1),
        embedder_id="made_up",
        sharpness=300.0,
        brightness=130.0,
        pose_deg=(0.0, yaw, 0.0),
        expression=expression,
    )
    return replace(face, **changes)


def draw(
    seed: int = 0, size_px: tuple[int, int] = SIZE, clothes=(30, 40, 80), backdrop=(148, 148, 148)
) -> RGBImage:
    """A head with eyes and mouth over shoulders before a wall; the seed changes light and skin."""
    rng = np.random.default_rng(seed)
    width, height = size_px
    image = np.empty((height, width, 3), np.float32)
    image[:] = backdrop
    face = made_up_face(size_px)
    x0, y0, x1, y1 = face.box_xyxy_px
    middle = (int((x0 + x1) / 2), int((y0 + y1) / 2))
    torso = (middle[0], int(y1 + 0.8 * (y1 - y0)))
    cv2.ellipse(image, torso, (int(0.45 * width), int(0.65 * (y1 - y0))), 0, 0, 360, clothes, -1)
    cv2.ellipse(image, middle, (int((x1 - x0) / 2), int((y1 - y0) / 2)), 0, 0, 360, (205, 160, 135), -1)
    for x, y in face.keypoints_px[[0, 1, 3, 4]]:
        cv2.circle(image, (int(x), int(y)), max(2, width // 80), (40, 25, 25), -1)
    blotches = cv2.resize(
        rng.normal(0, 28, (7, 6)).astype(np.float32), size_px, interpolation=cv2.INTER_CUBIC
    )
    ramp = np.linspace(-1, 1, width)[None, :] * rng.uniform(-30, 30)
    noise = rng.normal(0, 3, (height, width))
    return np.clip(image + (blotches + ramp + noise)[..., None], 0, 255).astype(np.uint8)


def save(path: Path, pixels: RGBImage, **options) -> Path:
    """Write a picture in the format of its suffix and return its path."""
    Image.fromarray(pixels).save(path, **options)
    return path


class FixedFinder:
    """Finds the same faces, in pixels of `size_px`, in whatever size the picture comes."""

    embedder_id = "made_up"

    def __init__(self, *faces: Face, size_px: tuple[int, int] = SIZE):
        self.faces, self.size_px, self.calls = faces, size_px, 0

    def find(self, image_rgb: RGBImage) -> list[Face]:
        self.calls += 1
        scale = max(image_rgb.shape[:2]) / max(self.size_px)
        return [move_face(face, scale) for face in self.faces]

    def covered_face(self, image_rgb: RGBImage) -> Face | None:
        return None


def report(
    folder: Path, index: int, *, person: int = 1, suffix: str = "png", pixels=None, **face
) -> PhotoReport:
    """An accepted report of a drawn photo written into `folder`."""
    picture = draw(100 * person + index) if pixels is None else pixels
    path = save(folder / f"photo_{index:02d}.{suffix}", picture)
    photo, _ = load_photo(path)
    face.setdefault("embedding", embedding(person, index))
    return PhotoReport(photo, made_up_face(photo.size_px, **face))
