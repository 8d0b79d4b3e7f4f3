"""Words for a photograph, each written only where the pixels show it.

The studio wears one colour before a made backdrop, so there the nearest name is the right one.  A photograph
has logos, stripes, hedges and crowds: here every word has its own evidence, and without it stays unwritten.
Colours are named in CIE Lab by lightness, chroma and hue, with gaps between neighbours.  The limits were set
on photographs of two athletes and half of a set of press photographs (`docs/photographs.md`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from portrait_lora.dataset.crop import Framing, cut, face_height
from portrait_lora.dataset.person import outline
from portrait_lora.dataset.surroundings import to_lab
from portrait_lora.records import Face, FloatArray, RGBImage

BLACK_AND_WHITE: Final = "black and white"
LOOK_PX: Final = 256
"""Height at which a crop is looked at, so that textures mean the same in every photo."""
_MONOCHROME_CHROMA: Final = 5.0
"""Chroma that 1 % of a black-and-white picture's pixels may exceed: JPEG artefacts reach 3 to 4."""
_TINTED_SPREAD: Final = 5.0
"""Most distance of a and b from a curve over lightness in a toned picture; its colours mean nothing."""

_HUES: Final = (
    # name, hue from, to (degrees), chroma at least, lightness from, to
    ("red", 14.0, 42.0, 38.0, 22.0, 60.0),
    ("orange", 52.0, 68.0, 50.0, 52.0, 80.0),
    ("yellow", 84.0, 108.0, 45.0, 66.0, 97.0),
    ("green", 128.0, 168.0, 22.0, 20.0, 75.0),
    ("blue", 240.0, 300.0, 24.0, 30.0, 72.0),
    ("light blue", 222.0, 275.0, 18.0, 72.1, 92.0),
    ("dark blue", 255.0, 305.0, 16.0, 8.0, 26.0),
    ("purple", 308.0, 326.0, 24.0, 18.0, 65.0),
    ("pink", 338.0, 372.0, 24.0, 58.0, 90.0),
)
"""Teal, brown, beige and burgundy have no entry: their neighbours cannot be told from them by one number."""
_GREYS: Final = (
    # name, lightness from, to, chroma at most
    ("dark", 0.0, 22.0, 14.0),
    ("grey", 36.0, 68.0, 5.0),
    ("white", 86.0, 100.1, 5.0),
    ("light", 80.0, 100.1, 10.0),
)
"""In this order.  "dark" is black, charcoal, navy or brown, which nobody tells apart in a shadow; "light"
is white, cream or a pale grey."""
_LIGHTNESS_WEIGHT: Final = 0.5
"""Of a difference in lightness: folds and shadows change it, not the hue."""
_ONE_COLOUR_LAB: Final = 13.0
"""Distance from the median within which a pixel has the garment's colour."""
_ONE_COLOUR_SHARE: Final = 0.8
_SIDE_SHARE: Final = 0.7
"""Least share of the chest, and of each of its halves, in one colour: stripes reach 0.6, a suit over a
shirt 0.72."""
_CHEST: Final = (0.3, 1.1, 0.55)
"""Where clothes are looked for: from and to below the chin, and half the width, in face heights."""
_CHEST_LEAST: Final = 0.3
"""Least height of the chest in the photo, in face heights."""
_SHOWN: Final = (0.16, 0.2, 0.55)
"""What the crop shows below the chin: at least so much, the clothes from here on (in face heights), and
at least this share of them in the chest's colour: not the gold shoulders of a black dress, nor hair."""
_SHOWN_LAB: Final = 18.0
_MOST_SKIN: Final = 0.25
_SKIN_AB: Final = 9.0
_SKIN_CHROMA: Final = 8.0
"""Pixels this close to the cheek's a and b are skin (necklines, hands), if the cheek has a colour."""
_BACK_LEAST: Final = 0.04
_SIDE_LEAST: Final = 0.01
"""Least share of the crop that must be background, and of each side for the two to be compared."""
_PLAIN_SPREAD: Final = (14.0, 8.0)
"""Most spread of lightness, and of a and b, of a plain background: a studio's falls off by 11."""
_PLAIN_GRADIENT: Final = (0.9, 2.5)
"""Most gradient (95 % and 99.5 % of the pixels): letters and leaves reach 3 to 17, a crowd out of focus 1."""
_SIDES_ALIKE_LAB: Final = 7.0
_DARK_L: Final = 25.0
_BLUR_PX: Final = 1.8
_BLUR_RATIO: Final = 1.7
_SHARP_GRADIENT: Final = 7.0
"""A blurred background has edges this wide, and wider than the face's, and none that is sharp."""
_SHAPES: Final = (20.0, 8.0, 40.0)
"""It also has shapes to be blurred: spread of lightness with one of colour, or a larger one alone."""
_PROBE_PX: Final = 2.0
_MIDDLE: Final = (4, 50, 96)
_PART_PX: Final = 96


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


@dataclass(frozen=True, slots=True)
class Chest:
    """The clothes below the chin: share of the pixels without skin that have the median's colour."""

    share: float
    sides: tuple[float, float]  # the same of the left and of the right half
    skin: float  # share of all pixels
    lab: FloatArray
    skin_lab: FloatArray  # of the cheeks

    @property
    def has_one_colour(self) -> bool:
        return self.skin <= _MOST_SKIN and self.share >= _ONE_COLOUR_SHARE and min(self.sides) >= _SIDE_SHARE


Namer = Callable[[FloatArray], str | None]


def colour_name(lab: npt.NDArray[np.floating]) -> str | None:
    """A colour that nobody would call otherwise; None between two names."""
    lightness, a, b = (float(v) for v in lab)
    chroma, hue = float(np.hypot(a, b)), float(np.degrees(np.arctan2(b, a))) % 360
    for name, dark, bright, most in _GREYS:
        if dark <= lightness <= bright and chroma <= most:
            return name
    for name, low, high, least, dark, bright in _HUES:
        turned = hue + 360 if hue + 360 <= high else hue
        if low <= turned <= high and chroma >= least and dark <= lightness <= bright:
            return name
    return None


def tone_name(lab: npt.NDArray[np.floating]) -> str | None:
    """For a picture without colours: `dark`, `light` or None."""
    return "dark" if lab[0] <= _GREYS[0][2] else "light" if lab[0] >= _GREYS[3][1] else None


def is_black_and_white(rgb: RGBImage) -> bool:
    """Whether a picture has no colour at all."""
    lab = to_lab(rgb.reshape(-1, 3))
    return float(np.percentile(np.hypot(lab[:, 1], lab[:, 2]), 99)) <= _MONOCHROME_CHROMA


def is_toned(rgb: RGBImage) -> bool:
    """Whether all colours follow from the lightness, as in sepia or in black and white."""
    lab = to_lab(rgb.reshape(-1, 3)).astype(np.float64)
    powers = np.stack([np.ones(len(lab)), lab[:, 0] / 100, (lab[:, 0] / 100) ** 2], axis=1)
    fitted, *_ = np.linalg.lstsq(powers, lab[:, 1:], rcond=None)
    left = np.linalg.norm(lab[:, 1:] - powers @ fitted, axis=1)
    return float(np.percentile(left, 95)) <= _TINTED_SPREAD


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


def chest_of(image_rgb: RGBImage, face: Face) -> Chest | None:
    """The clothes on the chest; None when the photo hardly shows it."""
    x0, y0, x1, y1 = face.box_xyxy_px
    tall, middle = face_height(face), (x0 + x1) / 2
    height, width = image_rgb.shape[:2]
    top, bottom = y1 + _CHEST[0] * tall, min(float(height), y1 + _CHEST[1] * tall)
    left, right = max(0.0, middle - _CHEST[2] * tall), min(float(width), middle + _CHEST[2] * tall)
    if bottom - top < _CHEST_LEAST * tall or right - left < 1.6 * _CHEST[2] * tall:
        return None
    lab = _small_lab(image_rgb[int(top) : int(bottom), int(left) : int(right)])
    cheeks = image_rgb[
        max(0, int(y0 + 0.5 * (y1 - y0))) : int(y0 + 0.7 * (y1 - y0)) + 1,
        max(0, int(x0 + 0.2 * (x1 - x0))) : int(x1 - 0.2 * (x1 - x0)) + 1,
    ]
    skin_lab = np.median(_small_lab(cheeks).reshape(-1, 3), axis=0)
    is_skin = _like(lab, skin_lab)
    if is_skin.mean() > _MOST_SKIN:
        return Chest(0.0, (0.0, 0.0), float(is_skin.mean()), skin_lab, skin_lab)
    centre = np.median(lab[~is_skin], axis=0)
    near = np.linalg.norm((lab - centre) * (_LIGHTNESS_WEIGHT, 1, 1), axis=-1) <= _ONE_COLOUR_LAB
    half = lab.shape[1] // 2
    whole, one, other = (
        float(near[:, part][~is_skin[:, part]].mean()) if not is_skin[:, part].all() else 0.0
        for part in (slice(None), slice(0, half), slice(half, None))
    )
    return Chest(whole, (one, other), float(is_skin.mean()), centre, skin_lab)


def _small_lab(part_rgb: RGBImage) -> FloatArray:
    """(H, W, 3) Lab of a part, at most `_PART_PX` on its longer side."""
    scale = min(1.0, _PART_PX / max(part_rgb.shape[:2]))
    size = (max(1, round(part_rgb.shape[1] * scale)), max(1, round(part_rgb.shape[0] * scale)))
    small = np.asarray(cv2.resize(part_rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return to_lab(small).reshape(*small.shape)


def shows_clothes(scene: Scene, chest: Chest) -> bool:
    """Whether the crop shows what is below the chin, and most of it in the colour of the chest."""
    height = len(scene.person)
    if height < scene.box[3] + _SHOWN[0] * scene.tall:
        return False
    rows = np.arange(height)[:, None] >= scene.box[3] + _SHOWN[1] * scene.tall
    is_skin = _like(scene.lab, chest.skin_lab)
    seen = scene.lab[scene.person & rows & ~is_skin]
    near = np.linalg.norm((seen - chest.lab) * (_LIGHTNESS_WEIGHT, 1, 1), axis=-1) <= _SHOWN_LAB
    return len(seen) > 0 and float(near.mean()) >= _SHOWN[2]


def _like(lab: FloatArray, skin_lab: FloatArray) -> npt.NDArray[np.bool_]:
    """Where skin is: a and b as on the cheeks, if those have a colour."""
    near = np.linalg.norm(lab[..., 1:] - skin_lab[1:], axis=-1) < _SKIN_AB
    return np.asarray(near & (float(np.hypot(*skin_lab[1:])) > _SKIN_CHROMA))
