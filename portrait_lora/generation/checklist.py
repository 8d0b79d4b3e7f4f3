"""The quality checklist of a portrait: what a picture editor checks first, measured.

Every check has the measured and the needed value; None for what the face pack cannot measure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from portrait_lora.faces import quality
from portrait_lora.faces.head import head_lines_px
from portrait_lora.generation import book
from portrait_lora.generation.brand import Brand
from portrait_lora.records import Face, RGBImage, Shot

_MAX_BLUR_PX: Final = 1.4
_BRIGHTNESS: Final = (38.0, 228.0)
_LOW_KEY_BRIGHTNESS: Final = 12.0
_MAX_CLIPPED: Final = 0.3
_TEXTURE_SHARE: Final = 0.4
_LIGHT_DEG: Final = 40.0
_BRAND_SHARE: Final = 0.06
_RIVAL: Final = 0.4
"""Size relative to the first face from which a second face counts."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check; `passed` is None when it could not be measured."""

    code: str
    passed: bool | None
    measured: float | None
    needed: str


@dataclass(frozen=True, slots=True)
class Framing:
    """As fractions of the picture's height."""

    eye_line: float
    head_height: float


def framing(face: Face, height_px: int) -> Framing:
    """Eye line (from the top) and head height (chin to estimated crown)."""
    eye_line, crown, chin = head_lines_px(face)
    return Framing(eye_line / height_px, (chin - crown) / height_px)


def check_portrait(
    image_rgb: RGBImage,
    faces: Sequence[Face],
    shot: Shot,
    *,
    photo_texture: float | None = None,
    brand: Brand | None = None,
) -> tuple[Check, ...]:
    """All checks of one portrait; `photo_texture` is `skin_texture` of the person's photos."""
    rivals = [f for f in faces if f.size_px >= _RIVAL * max(g.size_px for g in faces)]
    one = Check("one_face", len(rivals) == 1, float(len(rivals)), "1")
    if not faces:
        rest = ("sharp_eyes", "exposure", "skin_texture", "framing", "light_direction", "nothing_cut")
        return one, *(Check(code, None, None, "a face") for code in rest)
    face = max(faces, key=lambda f: f.size_px)
    aligned = quality.aligned_crop(image_rgb, np.asarray(face.keypoints_px))
    return (
        one,
        _sharp(aligned, face),
        _exposure(aligned, shot),
        _texture(aligned, face, photo_texture),
        _framing(face, shot, image_rgb.shape[0], brand),
        _light(face, shot),
        _whole(face, shot, image_rgb.shape[:2]),
    )


def failures(checks: Sequence[Check]) -> tuple[str, ...]:
    """The codes of failed checks."""
    return tuple(check.code for check in checks if check.passed is False)


def _sharp(aligned: RGBImage, face: Face) -> Check:
    """Width of the sharpest edges, in pixels of the portrait itself."""
    scale = quality.source_px_per_aligned_px(np.asarray(face.keypoints_px))
    width = quality.blur_px(aligned) * scale
    return Check("sharp_eyes", width <= _MAX_BLUR_PX, round(width, 3), f"<= {_MAX_BLUR_PX:g} px")


def _exposure(aligned: RGBImage, shot: Shot) -> Check:
    """Mean luma of the face; fails if too much of it is pure black or white."""
    luma = cv2.cvtColor(np.ascontiguousarray(aligned), cv2.COLOR_RGB2GRAY)
    light = book.light_of(dict(shot.layers).get("lighting", ""))
    dark = light is not None and (light.tone == "low" or light.pattern == "split" or light.azimuth_deg == 150)
    least, most = (_LOW_KEY_BRIGHTNESS if dark else _BRIGHTNESS[0]), _BRIGHTNESS[1]
    clipped = float(((luma < 3) | (luma > 252)).mean())
    mean = float(luma.mean())
    good = least <= mean <= most and clipped <= (1.0 if dark else _MAX_CLIPPED)
    return Check("exposure", good, round(mean, 1), f"{least:g} to {most:g}")


def skin_texture(aligned: RGBImage, scale: float = 1.0) -> float:
    """High-frequency energy of the cheeks over their brightness, at `scale` source pixels per pixel.

    A crop of higher resolution than the portrait is downscaled to it first.
    """
    luma = cv2.cvtColor(np.ascontiguousarray(aligned), cv2.COLOR_RGB2GRAY).astype(np.float32)
    if scale < 1:
        small = cv2.resize(luma, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        luma = cv2.resize(small, luma.shape[::-1], interpolation=cv2.INTER_LINEAR)
    fine = luma - cv2.GaussianBlur(luma, (0, 0), 2.0)
    cheeks = np.zeros(luma.shape, bool)
    cheeks[66:88, 26:44] = cheeks[66:88, 68:86] = True
    return float(fine[cheeks].std() / max(float(luma[cheeks].mean()), 8.0))


def _texture(aligned: RGBImage, face: Face, photo_texture: float | None) -> Check:
    value = skin_texture(aligned)
    del face
    if photo_texture is None:
        return Check("skin_texture", None, round(value, 4), "photos of the person")
    least = _TEXTURE_SHARE * photo_texture
    return Check("skin_texture", value >= least, round(value, 4), f">= {least:.4f}")


def _framing(face: Face, shot: Shot, height_px: int, brand: Brand | None) -> Check:
    """Head height within the range of the shot type, or near the brand's."""
    seen = framing(face, height_px)
    if brand is not None and (brand.head_height or brand.eye_line):
        off = [
            abs(got - wanted)
            for got, wanted in ((seen.head_height, brand.head_height), (seen.eye_line, brand.eye_line))
            if wanted is not None
        ]
        return Check("framing", max(off) <= _BRAND_SHARE, round(max(off), 3), f"off by <= {_BRAND_SHARE:g}")
    wanted = book.shot_of(dict(shot.layers).get("shot", ""))
    if wanted is None:
        return Check("framing", None, round(seen.head_height, 3), "a shot type")
    low, high = wanted.head_share
    return Check(
        "framing", low <= seen.head_height <= high, round(seen.head_height, 3), f"{low:g} to {high:g}"
    )


def _light(face: Face, shot: Shot) -> Check:
    """Angle between the key light estimated from the face and the prompt's; the side does not matter."""
    light = book.light_of(dict(shot.layers).get("lighting", ""))
    if face.light_direction is None or light is None or light.azimuth_deg is None:
        return Check("light_direction", None, None, "a lighting set-up and a face pack that estimates light")
    azimuth, elevation = math.radians(light.azimuth_deg), math.radians(light.elevation_deg or 0.0)
    want = (
        math.sin(azimuth) * math.cos(elevation),
        math.sin(elevation),
        math.cos(azimuth) * math.cos(elevation),
    )
    x, y, z = face.light_direction
    cosine = sum(a * b for a, b in zip((abs(x), y, z), want, strict=True))
    angle = math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
    return Check("light_direction", angle <= _LIGHT_DEG, round(angle, 1), f"<= {_LIGHT_DEG:g} deg off")


def _whole(face: Face, shot: Shot, size_hw: tuple[int, ...]) -> Check:
    """Distance from face to border; in a close-up the crown may be cut, but not the face."""
    height, width = size_hw[0], size_hw[1]
    x0, y0, x1, y1 = face.box_xyxy_px
    shot_type = book.shot_of(dict(shot.layers).get("shot", ""))
    _, crown, _ = head_lines_px(face)
    top = y0 if shot_type is None or shot_type.close else min(y0, crown + 0.15 * (y1 - y0))
    room = min(x0, top, width - x1, height - y1) / max(height, width)
    return Check("nothing_cut", room >= 0, round(room, 3), ">= 0")
