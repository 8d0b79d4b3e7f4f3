"""Photos of a studio person: plans of good ones, and encoding of a file with its mark."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from portrait_lora import provenance, vocabulary
from portrait_lora.synthetic.identity import People
from portrait_lora.synthetic.render import Render, render
from portrait_lora.synthetic.scene import Scenes, sample_scenes

JPEG_QUALITY: Final = 93
ORIENTATION_TAG: Final = 0x0112
SIDEWAYS: Final = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
"""EXIF orientation → how an upright picture is stored so that the tag turns it upright again."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of one good photo; `size_px` is (W, H)."""

    yaw_deg: float
    expression: str
    lighting: str
    size_px: tuple[int, int]
    head_fraction: float
    orientation: int = 1


SMALL: Final = (512, 640)
SQUARE: Final = (576, 576)
TALL: Final = (1125, 1500)
WIDE: Final = (1500, 1000)

GOOD_PLANS: Final = (
    Plan(0, "neutral", "three-point lighting", SMALL, 0.50),
    Plan(24, "smiling", "butterfly lighting", SQUARE, 0.56),
    Plan(-26, "neutral", "rembrandt lighting", SMALL, 0.48),
    Plan(8, "smiling", "high-key lighting", TALL, 0.30),
    Plan(-8, "laughing", "three-point lighting", SMALL, 0.54, 6),
    Plan(38, "neutral", "golden hour lighting", WIDE, 0.42),
    Plan(-40, "smiling", "high-key lighting", SQUARE, 0.52),
    Plan(3, "frowning", "three-point lighting", SMALL, 0.58),
    Plan(-4, "surprised", "butterfly lighting", SQUARE, 0.50),
    Plan(52, "neutral", "three-point lighting", SMALL, 0.46),
    Plan(-54, "neutral", "butterfly lighting", SQUARE, 0.50, 8),
    Plan(16, "laughing", "high-key lighting", TALL, 0.34),
    Plan(-18, "smiling", "golden hour lighting", SMALL, 0.50, 3),
    Plan(30, "surprised", "rembrandt lighting", SQUARE, 0.52),
    Plan(-33, "laughing", "three-point lighting", WIDE, 0.46),
    Plan(0, "smiling", "golden hour lighting", SQUARE, 0.55),
)


@dataclass(frozen=True, slots=True)
class Truth:
    """The ground truth of one file; `code` is None for a good photo, else the expected rejection code."""

    file: str
    code: str | None
    person_seed: int | None
    look: vocabulary.Look | None
    pose_deg: tuple[float, float, float] | None  # pitch, yaw, roll


@dataclass(frozen=True, slots=True)
class Taken:
    """One encoded file before it has a name."""

    data: bytes
    truth: Truth


def seed_of(person_seed: int, index: int) -> int:
    """Seeds of one person's pictures, disjoint from those of every other person."""
    return (person_seed * 1_009 + index) * 7 + 3


def scene_of(person_seed: int, index: int, **fixed: object) -> Scenes:
    return sample_scenes([seed_of(person_seed, index)], **fixed)  # pyright: ignore[reportArgumentType]


def planned_scene(person_seed: int, index: int, plan: Plan, **fixed: object) -> Scenes:
    jitter = np.random.default_rng(seed_of(person_seed, index)).uniform(-4, 4)
    settings: dict[str, object] = {
        "yaw_deg": plan.yaw_deg + float(jitter),
        "expression": plan.expression,
        "lighting": plan.lighting,
        "head_fraction": plan.head_fraction,
    }
    return scene_of(person_seed, index, **(settings | fixed))


def picture_of(rendered: Render) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(rendered.image_BCHW[0].permute(1, 2, 0).cpu().numpy()))


def encode(
    picture: Image.Image, orientation: int = 1, quality: int = JPEG_QUALITY, *, kept: float = 1.0
) -> bytes:
    """JPEG bytes with the studio's mark, optionally stored sideways with an EXIF orientation.

    `kept` truncates the file to that fraction of its bytes.
    """
    exif = Image.Exif()
    if orientation != 1:
        picture = picture.transpose(SIDEWAYS[orientation])
        exif[ORIENTATION_TAG] = orientation
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality, exif=exif)
    data = out.getvalue()
    return provenance.studio_marked(data[: round(kept * len(data))])


def truth_of(rendered: Render, code: str | None, person_seed: int | None) -> Truth:
    pitch, yaw, roll = (float(v) for v in rendered.pose_deg[0])
    return Truth("", code, person_seed, rendered.looks[0], (pitch, yaw, roll))


def good_photo(person: People, person_seed: int, index: int) -> Taken:
    plan = GOOD_PLANS[index % len(GOOD_PLANS)]
    rendered = render(person, planned_scene(person_seed, index, plan), plan.size_px, supersample=2)
    return Taken(encode(picture_of(rendered), plan.orientation), truth_of(rendered, None, person_seed))


def plain_photo(person: People, person_seed: int, index: int, **fixed: object) -> Render:
    """A plain photo to be spoiled: frontal, evenly lit."""
    plan = Plan(6.0, "neutral", "three-point lighting", SMALL, 0.5)
    return render(person, planned_scene(person_seed, index, plan, **fixed), plan.size_px, supersample=2)
