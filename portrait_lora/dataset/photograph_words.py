"""Words for a photograph, each written only where the pixels show it.

The studio wears one colour before a made backdrop, so there the nearest name is the right one.  A photograph
has logos, stripes, hedges and crowds: here every word has its own evidence, and without it stays unwritten.
The limits were set on
photographs of two athletes and half of a set of press photographs (`docs/photographs.md`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from portrait_lora.dataset.clothes import Chest, like_skin
from portrait_lora.dataset.colours import colour_name, to_lab
from portrait_lora.dataset.crop import Framing, cut, face_height
from portrait_lora.dataset.person import outline
from portrait_lora.records import Face, FloatArray, RGBImage

BLACK_AND_WHITE: Final = "black and white"
LOOK_PX: Final = 256
"""Height at which a crop is looked at, so that textures mean the same in every photo."""
_SHOWN: Final = (0.16, 0.2, 0.7)
"""What the crop shows below the chin: at least so much, the clothes from here on (in face heights), and
at least this share of them in the chest's colour: not the gold shoulders of a black dress, nor hair."""
_SHOWN_LAB: Final = 16.0
_BACK_LEAST: Final = 0.04
_SIDE_LEAST: Final = 0.01
"""Least share of the crop that must be background, and of each side for the two to be compared."""
_PLAIN_SPREAD: Final = (14.0, 8.0)
"""Most spread of lightness, and of a and b, of a plain background: a studio's falls off by 11."""
_PLAIN_GRADIENT: Final = (0.9, 2.5)
"""Most gradient (95 % and 99.5 % of the pixels): letters and leaves reach 3 to 17, a crowd out of focus 1."""
_SIDES_ALIKE_LAB: Final = 7.0
_DARK_L: Final = 25.0
_BLUR_PX: Final = 2.0
_BLUR_RATIO: Final = 1.7
_SHARP_GRADIENT: Final = 7.0
"""A blurred background has edges this wide, and wider than the face's, and none that is sharp."""
_SHAPES: Final = (20.0, 8.0, 40.0)
"""It also has shapes to be blurred: spread of lightness with one of colour, or a larger one alone."""
_PROBE_PX: Final = 2.0
_MIDDLE: Final = (4, 50, 96)


@dataclass(frozen=True, slots=True)
class Back:
    """What is seen around the person in a crop; spreads are those of the middle 92 % of the pixels."""

    share: float
    lab: FloatArray
    spread: FloatArray  # (L, a, b)
    gradient: tuple[float, float]  # 95 % and 99.5 %, in L per pixel
    apart: float  # of the two sides
    blur_px: float
    face_blur_px: float


Namer = Callable[[FloatArray], str | None]


@dataclass(frozen=True, slots=True)
class Scene:
    """A crop at `LOOK_PX` or smaller, where the person is in it, and the face in its pixels."""

    rgb: RGBImage
    lab: FloatArray  # (H, W, 3)
    person: npt.NDArray[np.bool_]  # (H, W)
    box: tuple[float, float, float, float]
    tall: float  # height of the face


def scene_of(image_rgb: RGBImage, face: Face, framing: Framing) -> Scene:
    """What the crop shows."""
    left, top, _, bottom = framing.box_xyxy_px
    part = cut(image_rgb, framing.box_xyxy_px)
    scale = min(1.0, LOOK_PX / (bottom - top))
    size = (max(8, round(part.shape[1] * scale)), max(8, round(part.shape[0] * scale)))
    rgb = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    x0, y0, x1, y1 = (v * scale for v in face.box_xyxy_px)
    left, top = left * scale, top * scale
    box = (x0 - left, y0 - top, x1 - left, y1 - top)
    lab = to_lab(rgb).reshape(*rgb.shape)
    return Scene(rgb, lab, outline(rgb, face, framing), box, face_height(face) * scale)


def background_word(back: Back | None, name: Namer = colour_name) -> str | None:
    """`plain grey background`, `plain background`, `dark background`, `blurred background` or None."""
    if back is None or back.share < _BACK_LEAST:
        return None
    plain = (
        back.spread[0] <= _PLAIN_SPREAD[0]
        and max(back.spread[1:]) <= _PLAIN_SPREAD[1]
        and back.gradient[0] <= _PLAIN_GRADIENT[0]
        and back.gradient[1] <= _PLAIN_GRADIENT[1]
        and back.apart <= _SIDES_ALIKE_LAB
    )
    if plain:
        colour = name(back.lab)
        return f"plain {colour} background" if colour else "plain background"
    if back.lab[0] + back.spread[0] <= _DARK_L:
        return "dark background"
    lightness, colours = float(back.spread[0]), float(max(back.spread[1:]))
    has_shapes = lightness >= _SHAPES[2] or (lightness >= _SHAPES[0] and colours >= _SHAPES[1])
    soft = back.blur_px >= max(_BLUR_PX, _BLUR_RATIO * back.face_blur_px)
    return "blurred background" if has_shapes and soft and back.gradient[1] <= _SHARP_GRADIENT else None


def clothing_word(chest: Chest | None, name: Namer = colour_name) -> str | None:
    """`dark blue clothing`; None unless the chest has one colour that has a name.

    No garment is named: a few pixels below the chin do not show whether they are a shirt.
    """
    if chest is None or not chest.has_one_colour:
        return None
    colour = name(chest.lab)
    return f"{colour} clothing" if colour else None


def back_of(scene: Scene) -> Back | None:
    """The surroundings of the person above the chin; None when the person fills the crop."""
    height, width = scene.person.shape
    x0, y0, x1, y1 = scene.box
    rows, columns = np.mgrid[:height, :width]
    area = ~scene.person & (rows < y1)
    if not area.any():
        return None
    low, middle, high = np.percentile(scene.lab[area], _MIDDLE, axis=0)
    light = np.ascontiguousarray(scene.lab[..., 0])
    probe = np.asarray(cv2.GaussianBlur(light, (0, 0), _PROBE_PX), dtype=np.float32)
    sharp, soft = _gradient(light), _gradient(probe)
    inner = cv2.erode(area.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    inner = inner if inner.any() else area
    left, right = area & (columns < (x0 + x1) / 2), area & (columns >= (x0 + x1) / 2)
    apart = 0.0
    if min(left.mean(), right.mean()) >= _SIDE_LEAST:
        apart = float(
            np.linalg.norm(np.median(scene.lab[left], axis=0) - np.median(scene.lab[right], axis=0))
        )
    own = (columns >= x0) & (columns <= x1) & (rows >= y0) & (rows <= y1)
    return Back(
        share=float(area.mean()),
        lab=middle,
        spread=high - low,
        gradient=(float(np.percentile(sharp[inner], 95)), float(np.percentile(sharp[inner], 99.5))),
        apart=apart,
        blur_px=_edge_width(sharp, soft, inner),
        face_blur_px=_edge_width(sharp, soft, own),
    )


def _gradient(light: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Of lightness, in L per pixel."""
    across, down = (
        cv2.Sobel(light, cv2.CV_32F, 1, 0, scale=1 / 8),
        cv2.Sobel(light, cv2.CV_32F, 0, 1, scale=1 / 8),
    )
    return np.asarray(np.hypot(across, down), dtype=np.float32)


def _edge_width(
    sharp: npt.NDArray[np.float32], soft: npt.NDArray[np.float32], area: npt.NDArray[np.bool_]
) -> float:
    """σ of the strongest edges in an area, in pixels, as in `quality.blur_px`; 0 without any."""
    if area.sum() < 50:
        return 0.0
    strong = area & (sharp >= max(float(np.quantile(sharp[area], 0.93)), 0.05))
    if not strong.any():
        return 0.0
    ratio = np.maximum(sharp[strong] / np.maximum(soft[strong], 1e-6), 1.0001)
    return float(np.median(_PROBE_PX / np.sqrt(ratio**2 - 1)))


def shows_clothes(scene: Scene, chest: Chest) -> bool:
    """Whether the crop shows what is below the chin, and most of it in the colour of the chest."""
    height = len(scene.person)
    if height < scene.box[3] + _SHOWN[0] * scene.tall:
        return False
    rows = np.arange(height)[:, None] >= scene.box[3] + _SHOWN[1] * scene.tall
    is_skin = like_skin(scene.lab, chest.skin_lab)
    seen = scene.lab[scene.person & rows & ~is_skin]
    return len(seen) > 0 and float(chest.near(seen, _SHOWN_LAB).mean()) >= _SHOWN[2]
