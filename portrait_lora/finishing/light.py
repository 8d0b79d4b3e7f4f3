"""The key light as the face shows it: where it comes from and how warm it is, with confidence.

Direction: what the face pack says, else from the slope of luminance over the skin.
Temperature: from the whites of the eyes and the highlights of the skin, which have the lamp's colour.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np

from portrait_lora.finishing import colour
from portrait_lora.records import Face, FloatArray, Parts

WARMEST_K: Final = 4000.0
COOLEST_K: Final = 10000.0
_EYES: Final = (slice(36, 42), slice(42, 48))
_MOUTH: Final = slice(48, 60)
_TO_XYZ: Final = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_LEAST_PIXELS: Final = 12
_FROM_ABOVE: Final = 0.5
_TO_CAMERA: Final = 0.8
_GLOSS_MIRED: Final = 40.0
"""By how much highlights read too blue: the skin round them, which is subtracted, is red (six studio people
under three-point light; then eyes and highlights agree under warm and cool light too)."""
_NEUTRAL_SCLERA: Final = np.array([1.06, 1.0, 0.94], np.float32)
"""Linear colour of the white of an eye over its green: slightly warm (studio and published spectra alike)."""


@dataclass(frozen=True, slots=True)
class KeyLight:
    """`direction`: unit, towards the lamp (x right, y up, z to the camera).  Confidences are 0..1."""

    direction: tuple[float, float, float]
    source: Literal["face pack", "shading"]
    kelvin: float
    direction_confidence: float
    kelvin_confidence: float

    @property
    def across(self) -> tuple[float, float]:
        """The part of the direction in the plane of the picture, x right and y up."""
        return self.direction[0], self.direction[1]


def measure(rgb_HW3: FloatArray, face: Face, parts: Parts | None) -> KeyLight:
    """The key light of the face in a picture, sRGB-coded."""
    skin = _skin(rgb_HW3.shape[:2], face, parts)
    kelvin, sure = _temperature(rgb_HW3, face, skin)
    if face.light_direction is not None:
        x, y, z = (float(v) for v in face.light_direction)
        return KeyLight((x, y, z), "face pack", kelvin, 0.9, sure)
    direction, fit = _from_shading(rgb_HW3, face, skin)
    return KeyLight(direction, "shading", kelvin, fit, sure)


def _skin(shape: tuple[int, ...], face: Face, parts: Parts | None) -> np.ndarray:
    """(H, W) bool: the face without eyes and mouth."""
    mask = np.zeros(shape[:2], np.uint8)
    if face.landmarks_px is None:
        x0, y0, x1, y1 = face.box_xyxy_px
        middle = round((x0 + x1) / 2), round((y0 + y1) / 2)
        cv2.ellipse(mask, middle, (round(0.38 * (x1 - x0)), round(0.42 * (y1 - y0))), 0, 0, 360, 1, -1)
    else:
        points = np.asarray(face.landmarks_px)
        cv2.fillConvexPoly(mask, _hull(points), 1)
        for part in (*_EYES, _MOUTH):
            cv2.fillConvexPoly(mask, _hull(points[part]), 0)
    inside = mask > 0
    if parts is not None and (inside & parts.where("skin")).sum() > _LEAST_PIXELS:
        inside &= parts.where("skin")
    return inside


def _hull(points: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.convexHull(points.round().astype(np.int32)))


def _from_shading(
    rgb_HW3: FloatArray, face: Face, skin: np.ndarray
) -> tuple[tuple[float, float, float], float]:
    """Direction by the slope of luminance over the skin, and confidence up to 0.5.

    Lamps hang above nearly everybody who is photographed: without that prior, foreheads and beards count as
    light.  On 36 studio people: the right side in 83 %, within 15 degrees in the picture's plane in 53 %.
    """
    rows, columns = np.nonzero(skin)
    if len(rows) < 4 * _LEAST_PIXELS:
        return _unit(0.0, _FROM_ABOVE, _TO_CAMERA), 0.0
    x0, y0, x1, y1 = face.box_xyxy_px
    x = (columns - (x0 + x1) / 2) / max(0.55 * (x1 - x0), 1)
    y = -(rows - (y0 + y1) / 2) / max(0.65 * (y1 - y0), 1)
    design = np.stack([x, y, np.ones_like(x)], 1)
    light = (colour.to_linear(rgb_HW3[skin]) @ colour.LUMINANCE).astype(np.float64)
    light = np.minimum(light, np.quantile(light, 0.98))  # gloss is no shading
    plane, *_ = np.linalg.lstsq(design, light, rcond=None)
    right, up = plane[:2] / max(float(light.mean()), 1e-6)
    spread = float(((light - light.mean()) ** 2).sum())
    left = float(((light - design @ plane) ** 2).sum())
    fit = 1 - left / spread if spread > 1e-9 else 0.0
    return _unit(float(right), float(up) + _FROM_ABOVE, _TO_CAMERA), 0.5 * max(0.0, min(fit, 1.0))


def _unit(x: float, y: float, z: float) -> tuple[float, float, float]:
    length = math.sqrt(x * x + y * y + z * z)
    return x / length, y / length, z / length


def _temperature(rgb_HW3: FloatArray, face: Face, skin: np.ndarray) -> tuple[float, float]:
    """Kelvin within bounds, and confidence: 0 with nothing to measure, 1 when eyes and skin agree."""
    kelvins = [k for k in (_of_eyes(rgb_HW3, face), _of_highlights(rgb_HW3, skin)) if k is not None]
    if not kelvins:
        return colour.D65_KELVIN, 0.0
    mired = [1e6 / k for k in kelvins]
    apart = abs(mired[0] - mired[-1])
    sure = 0.4 if len(kelvins) == 1 else max(0.2, 1 - apart / 100)
    return 1e6 / (sum(mired) / len(mired)), sure


def _of_eyes(rgb_HW3: FloatArray, face: Face) -> float | None:
    """From the brightest of the paler pixels between the lids."""
    if face.landmarks_px is None:
        return None
    mask = np.zeros(rgb_HW3.shape[:2], np.uint8)
    for eye in _EYES:
        cv2.fillConvexPoly(mask, _hull(np.asarray(face.landmarks_px)[eye]), 1)
    pixels = colour.to_linear(rgb_HW3[mask > 0])
    if len(pixels) < 2 * _LEAST_PIXELS:
        return None
    light = pixels @ colour.LUMINANCE
    chroma = (pixels.max(1) - pixels.min(1)) / np.maximum(pixels.max(1), 1e-4)
    pale = (chroma < 0.45) & (light > np.quantile(light, 0.7)) & (pixels.max(1) < 0.98)
    if pale.sum() < _LEAST_PIXELS:
        return None
    return kelvin_of(np.median(pixels[pale], axis=0) / _NEUTRAL_SCLERA)


def _of_highlights(rgb_HW3: FloatArray, skin: np.ndarray) -> float | None:
    """From what the brightest skin has more than the bright skin round it: gloss has the lamp's colour."""
    pixels = colour.to_linear(rgb_HW3[skin])
    pixels = pixels[pixels.max(1) < 0.98]
    if len(pixels) < 40 * _LEAST_PIXELS:
        return None
    light = pixels @ colour.LUMINANCE
    top, base = np.quantile(light, 0.98), np.quantile(light, 0.75)
    round_it = (light >= base) & (light < top)
    if not round_it.any():
        return None
    gloss = np.median(pixels[light >= top], axis=0) - np.median(pixels[round_it], axis=0)
    if float(gloss.min()) <= 0.02:
        return None
    return float(np.clip(1e6 / (1e6 / kelvin_of(gloss) + _GLOSS_MIRED), WARMEST_K, COOLEST_K))


def kelvin_of(linear_3: np.ndarray) -> float:
    """Correlated colour temperature of linear sRGB within bounds (McCamy 1992)."""
    x, y, z = _TO_XYZ @ np.maximum(np.asarray(linear_3, np.float64), 1e-6)
    total = x + y + z
    n = (x / total - 0.3320) / (0.1858 - y / total)
    kelvin = 449 * n**3 + 3525 * n**2 + 6823.3 * n + 5520.33
    return float(np.clip(kelvin, WARMEST_K, COOLEST_K))


def slope(rgb_HW3: FloatArray, weight_HW: np.ndarray | None = None) -> tuple[float, float]:
    """Stops of luminance by which a backdrop rises over its longer side, to the right and upwards.

    A plane through log2 of luminance, fitted at 64 px so that texture does not count.
    """
    height, width = rgb_HW3.shape[:2]
    scale = 64 / max(height, width)
    size = max(4, round(width * scale)), max(4, round(height * scale))
    small = cv2.resize(colour.to_linear(rgb_HW3) @ colour.LUMINANCE, size, interpolation=cv2.INTER_AREA)
    weight = np.ones_like(small)
    if weight_HW is not None:
        weight = cv2.resize(weight_HW.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    design, values = _plane(size), np.log2(np.maximum(small, 1e-3)).ravel()
    root = np.sqrt(np.asarray(weight, np.float64)).ravel()
    fitted, *_ = np.linalg.lstsq(design * root[:, None], values * root, rcond=None)
    return float(fitted[0]), float(fitted[1])


def _plane(size: tuple[int, int]) -> np.ndarray:
    """(W * H, 3): right and up, both in longer sides from the middle, and one."""
    width, height = size
    longer = max(width, height)
    x = (np.arange(width) + 0.5 - width / 2) / longer
    y = -(np.arange(height) + 0.5 - height / 2) / longer
    across, up = np.meshgrid(x, y)
    return np.stack([across.ravel(), up.ravel(), np.ones(width * height)], 1)


def ramp(size: tuple[int, int], right: float, up: float) -> FloatArray:
    """(H, W) factors of light: stops per longer side to the right and upwards, 1 on average in stops."""
    stops = _plane(size) @ np.array([right, up, 0.0])
    return np.asarray(2.0**stops, np.float32).reshape(size[1], size[0])
