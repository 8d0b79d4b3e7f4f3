"""Photos spoilt by known physical amounts, with the truth decided before any threshold was chosen.

Each degradation has levels that are bad, levels that are good and levels between, which are not scored.
Blur is the σ of a Gaussian in pixels of the aligned 112 px face; exposure is in stops (EV) of linear light;
what covers a face is measured as its share of the hull of the 68 landmarks.
Pictures are RGB uint8 HWC.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np
import numpy.typing as npt

from portrait_lora.faces.quality import source_px_per_aligned_px
from portrait_lora.records import RGBImage
from portrait_lora.synthetic.identity import sample_people
from portrait_lora.synthetic.render import Render, render
from portrait_lora.synthetic.scene import sample_scenes
from scripts.evaluate.covering import covered

Truth = Literal["bad", "good", "between"]
SIZE_PX: Final = (448, 560)
SOFT: Final = ("three-point lighting", "butterfly lighting", "high-key lighting", "golden hour lighting")


@dataclass(frozen=True, slots=True)
class Shot:
    """A studio photo with its truth in pixels."""

    image_rgb: RGBImage
    keypoints_px: npt.NDArray[np.float32]
    box_xyxy_px: tuple[float, float, float, float]
    landmarks_px: npt.NDArray[np.float32]

    @property
    def px_per_aligned_px(self) -> float:
        return source_px_per_aligned_px(self.keypoints_px)


Spoil = Callable[[Shot, float], RGBImage]


@dataclass(frozen=True, slots=True)
class Degradation:
    """`code` is what the check must say of the bad levels; `also` are codes that it may say as well."""

    code: str
    levels: tuple[tuple[float, Truth], ...]
    spoil: Spoil
    also: tuple[str, ...] = ()
    fixed: tuple[tuple[str, float | str], ...] = ()  # how the scene is set, whatever the level
    scene_field: str | None = None  # the level is this field of the scene, not a change of pixels


def take(person_seed: int, scene_seed: int, **fixed: object) -> Shot:
    """A clean head-and-shoulders photo: any light that is not hard, the head at most half turned."""
    rng = np.random.default_rng([scene_seed, 5])
    settings: dict[str, object] = {
        "lighting": SOFT[int(rng.integers(len(SOFT)))],
        "head_fraction": float(rng.uniform(0.42, 0.56)),
        "yaw_deg": float(rng.uniform(-38, 38)),
    }
    scenes = sample_scenes([scene_seed], **(settings | fixed))  # pyright: ignore[reportArgumentType]
    return shot_of(render(sample_people([person_seed]), scenes, SIZE_PX, supersample=2))


def shot_of(render: Render) -> Shot:
    """The first picture of a render."""
    x0, y0, x1, y1 = (float(v) for v in render.face_box_xyxy_px[0])
    pixels = np.ascontiguousarray(render.image_BCHW[0].permute(1, 2, 0).cpu().numpy())
    keypoints, landmarks = (
        t[0].cpu().numpy().astype(np.float32) for t in (render.keypoints_px, render.landmarks_px)
    )
    return Shot(pixels, keypoints, (x0, y0, x1, y1), landmarks)


def blur(shot: Shot, sigma_aligned_px: float) -> RGBImage:
    """Out of focus."""
    return np.asarray(cv2.GaussianBlur(shot.image_rgb, (0, 0), sigma_aligned_px * shot.px_per_aligned_px))


def _linear(image: RGBImage) -> npt.NDArray[np.float32]:
    value = image.astype(np.float32) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _encoded(linear: npt.NDArray[np.float32]) -> RGBImage:
    value = np.clip(linear, 0, 1)
    srgb = np.where(value <= 0.0031308, value * 12.92, 1.055 * value ** (1 / 2.4) - 0.055)
    return np.rint(srgb * 255).astype(np.uint8)


def expose(shot: Shot, stops: float) -> RGBImage:
    """More or less light on the sensor; what exceeds white is lost."""
    return _encoded(_linear(shot.image_rgb) * 2.0**stops)


def side_light(shot: Shot, stops: float) -> RGBImage:
    """One half of the face darker by `stops`, with a soft edge down its middle."""
    x0, _, x1, _ = shot.box_xyxy_px
    across = (np.arange(shot.image_rgb.shape[1]) - (x0 + x1) / 2) / (0.06 * (x1 - x0))
    shade = 2.0 ** (-stops / (1 + np.exp(-across)))
    return _encoded(_linear(shot.image_rgb) * shade[None, :, None].astype(np.float32))


def lenses(shot: Shot, opacity: float) -> RGBImage:
    """Sunglasses: dark ovals over both eyes and a bridge, `opacity` 0..1."""
    left, right = shot.keypoints_px[0].astype(float), shot.keypoints_px[1].astype(float)
    apart = float(np.hypot(*(right - left)))
    angle = float(np.degrees(np.arctan2(right[1] - left[1], right[0] - left[0])))
    dark = shot.image_rgb.copy()
    k = shot.px_per_aligned_px
    for x, y in (left, right):
        axes = (int(0.42 * apart), int(11 * k))
        cv2.ellipse(dark, (int(x), int(y + 2 * k)), axes, angle, 0, 360, (18, 18, 20), -1, cv2.LINE_AA)
    cv2.line(dark, left.astype(int).tolist(), right.astype(int).tolist(), (18, 18, 20), max(1, int(2 * k)))
    mixed = opacity * dark.astype(np.float32) + (1 - opacity) * shot.image_rgb
    return np.rint(mixed).astype(np.uint8)


def hide(shot: Shot, share: float) -> RGBImage:
    """Something before the face that hides `share` of it; which thing depends on the picture."""
    return covered(shot.image_rgb, shot.landmarks_px, share, zlib.crc32(shot.image_rgb[::8, ::8].tobytes()))


def cut(shot: Shot, share: float) -> RGBImage:
    """The picture ends within the face: `share` of the face's width is missing (negative: room is left)."""
    x0, _, x1, _ = shot.box_xyxy_px
    end = round(x1 - share * (x1 - x0))
    return np.ascontiguousarray(shot.image_rgb[:, : max(end, 8)])


def shrink_face(shot: Shot, face_px: float) -> RGBImage:
    """The face `face_px` tall in a picture as large as before: a person far away, on plain ground."""
    x0, y0, x1, y1 = shot.box_xyxy_px
    factor = face_px / max(x1 - x0, y1 - y0)
    small = cv2.resize(shot.image_rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    height, width = shot.image_rgb.shape[:2]
    pad = (height - small.shape[0], width - small.shape[1])
    borders = (pad[0] // 2, pad[0] - pad[0] // 2, pad[1] // 2, pad[1] - pad[1] // 2)
    return np.asarray(cv2.copyMakeBorder(small, *borders, cv2.BORDER_REPLICATE))


def shrink_picture(shot: Shot, short_px: float) -> RGBImage:
    """A thumbnail whose shorter side is `short_px`."""
    factor = short_px / min(shot.image_rgb.shape[:2])
    return np.asarray(cv2.resize(shot.image_rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA))


def lean(shot: Shot, degrees: float) -> RGBImage:
    """The picture turned counter-clockwise about the face, its ground repeated at the borders."""
    x0, y0, x1, y1 = shot.box_xyxy_px
    turn = cv2.getRotationMatrix2D(((x0 + x1) / 2, (y0 + y1) / 2), degrees, 1.0)
    height, width = shot.image_rgb.shape[:2]
    return np.asarray(cv2.warpAffine(shot.image_rgb, turn, (width, height), borderMode=cv2.BORDER_REPLICATE))


def as_taken(shot: Shot, _: float) -> RGBImage:
    """Unchanged: the scene is what is degraded."""
    return shot.image_rgb


def beside(shot: Shot, other: Shot, size_share: float) -> RGBImage:
    """Somebody else to the right whose face is `size_share` as large as the subject's."""
    factor = (
        size_share
        * (shot.box_xyxy_px[3] - shot.box_xyxy_px[1])
        / (other.box_xyxy_px[3] - other.box_xyxy_px[1])
    )
    small = cv2.resize(other.image_rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    height = shot.image_rgb.shape[0]
    part = small[:height]
    missing = height - part.shape[0]
    part = cv2.copyMakeBorder(part, missing, 0, 0, 0, cv2.BORDER_REPLICATE) if missing > 0 else part
    return np.ascontiguousarray(np.concatenate([shot.image_rgb, part], axis=1))


DEGRADATIONS: Final = (
    Degradation(
        "blurred",
        ((0.3, "good"), (0.5, "good"), (1.0, "between"), (1.5, "bad"), (2.0, "bad"), (3.0, "bad")), blur,
        also=("no_face",),
    ),
    Degradation(
        "under_exposed", ((-1, "good"), (-2, "good"), (-3, "between"), (-4, "bad"), (-5, "bad")), expose,
        also=("no_face", "blurred", "sunglasses", "harsh_contrast", "extreme_pose"),
    ),
    Degradation(
        "over_exposed", ((0.5, "good"), (1.5, "between"), (2.5, "bad"), (3, "bad")), expose,
        also=("no_face", "blurred", "extreme_pose"),
    ),
    Degradation(
        # Eight bits hold about ten stops below skin: at eight a side is near black, at ten it is black.
        "harsh_contrast", ((1, "good"), (2, "good"), (5, "between"), (8, "bad"), (10, "bad")), side_light,
        also=("no_face", "under_exposed", "blurred", "extreme_pose"),
    ),
    Degradation(
        "sunglasses", ((0.15, "good"), (0.6, "between"), (0.95, "bad"), (1.0, "bad")), lenses,
        also=("no_face", "extreme_pose"),
    ),
    Degradation(
        # Fixed after the training of its network had begun, before anything was measured: at a
        # quarter, mouth and chin or an eye and a cheek are gone; a thing that only touches the face, or a
        # finger on its rim, does no harm.
        "occluded", ((0.0, "good"), (0.04, "good"), (0.12, "between"), (0.28, "bad"), (0.4, "bad")), hide,
        also=("no_face", "blurred", "under_exposed", "over_exposed", "harsh_contrast", "sunglasses",
              "extreme_pose"),
    ),
    Degradation(
        "cut_off", ((-0.2, "good"), (0.05, "between"), (0.2, "bad"), (0.3, "bad")), cut,
        also=("no_face", "extreme_pose"),
    ),
    Degradation(
        "face_too_small",
        ((90, "good"), (76, "good"), (64, "between"), (50, "bad"), (42, "bad")), shrink_face,
        also=("no_face", "blurred"),
    ),
    Degradation(
        "low_resolution", ((170, "good"), (150, "good"), (128, "between"), (112, "bad"), (96, "bad")),
        shrink_picture, also=("no_face", "blurred", "face_too_small"),
    ),
    Degradation(
        "extreme_pose",
        ((20, "good"), (-30, "good"), (45, "between"), (-62, "bad"), (75, "bad"), (90, "bad"), (180, "bad")),
        lean, also=("no_face", "blurred", "cut_off", "sunglasses"),
    ),
    Degradation("no_face", ((8.0, "bad"), (9.0, "bad")), as_taken, scene_field="centre"),
)  # fmt: skip
