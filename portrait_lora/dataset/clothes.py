"""The clothes below the chin, and whether they have one colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from portrait_lora.dataset.colours import to_lab
from portrait_lora.dataset.crop import face_height
from portrait_lora.faces.shape import lean_deg
from portrait_lora.records import Face, FloatArray, RGBImage

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
CHEST_LEAST: Final = 0.3
"""Least height of the chest in the photo for a word, in face heights."""
_MOST_SKIN: Final = 0.25
_SKIN_AB: Final = 9.0
_SKIN_CHROMA: Final = 8.0
"""Pixels this close to the cheek's a and b are skin (necklines, hands), if the cheek has a colour."""
_MOST_LEAN_DEG: Final = 40.0
"""Of the head; beyond, the chest is not below the chin in the picture."""
_PART_PX: Final = 96


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

    def near(self, lab: FloatArray, limit: float = _ONE_COLOUR_LAB) -> npt.NDArray[np.bool_]:
        """Which pixels of (…, 3) Lab have the colour of the clothes."""
        return np.asarray(np.linalg.norm((lab - self.lab) * (_LIGHTNESS_WEIGHT, 1, 1), axis=-1) <= limit)


def chest_of(image_rgb: RGBImage, face: Face, least: float = CHEST_LEAST) -> Chest | None:
    """The clothes on the chest; None when the photo shows less than `least` of it, in face heights."""
    x0, y0, x1, y1 = face.box_xyxy_px
    tall, middle = face_height(face), (x0 + x1) / 2
    height, width = image_rgb.shape[:2]
    top, bottom = y1 + _CHEST[0] * tall, min(float(height), y1 + _CHEST[1] * tall)
    left, right = max(0.0, middle - _CHEST[2] * tall), min(float(width), middle + _CHEST[2] * tall)
    if abs(lean_deg(face.keypoints_px)) > _MOST_LEAN_DEG:
        return None
    if bottom - top < least * tall or right - left < 1.6 * _CHEST[2] * tall:
        return None
    lab = _small_lab(image_rgb[int(top) : int(bottom), int(left) : int(right)])
    cheeks = image_rgb[
        max(0, int(y0 + 0.5 * (y1 - y0))) : int(y0 + 0.7 * (y1 - y0)) + 1,
        max(0, int(x0 + 0.2 * (x1 - x0))) : int(x1 - 0.2 * (x1 - x0)) + 1,
    ]
    skin_lab = np.median(_small_lab(cheeks).reshape(-1, 3), axis=0)
    is_skin = like_skin(lab, skin_lab)
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


def like_skin(lab: FloatArray, skin_lab: FloatArray) -> npt.NDArray[np.bool_]:
    """Where skin is: a and b as on the cheeks, if those have a colour."""
    near = np.linalg.norm(lab[..., 1:] - skin_lab[1:], axis=-1) < _SKIN_AB
    return np.asarray(near & (float(np.hypot(*skin_lab[1:])) > _SKIN_CHROMA))
