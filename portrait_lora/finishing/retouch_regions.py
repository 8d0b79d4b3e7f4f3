"""Where retouching may change a picture: soft masks of skin, eyes, teeth and the hollows under the eyes.

From the 68 landmarks, or from five keypoints where a face pack has no more; a segmenter takes hair, glasses
and whatever lies in front of the face out of them.  Every mask is exactly zero outside the face.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from portrait_lora.records import NOT_SEEN, Face, FloatArray, Parts, readonly

_EYES: Final = (slice(36, 42), slice(42, 48))
_BROWS: Final = (slice(17, 22), slice(22, 27))
_NOSTRILS: Final = slice(31, 36)
_LIPS: Final = slice(48, 60)
_INNER_MOUTH: Final = slice(60, 68)
_FOREHEAD: Final = 0.35
"""Height of the forehead above the brows, in chin-to-brow heights; hair lies lower on many heads."""
_SKIN_FEATHER: Final = 0.06
_LEAST_OPEN: Final = 0.06
"""Height of an open mouth that shows teeth, in eye distances."""


@dataclass(frozen=True, slots=True)
class Regions:
    """Masks (H, W) in 0..1 and the distance between the eyes, which all lengths are multiples of.

    `teeth` is the inside of an open mouth, all zero in a closed one.
    """

    unit_px: float
    skin: FloatArray
    eyes: FloatArray
    teeth: FloatArray
    under_eyes: FloatArray
    cheeks: FloatArray


def regions(size_hw: tuple[int, int], face: Face, parts: Parts | None) -> Regions:
    """The regions of a face in a picture of (H, W)."""
    keypoints = np.asarray(face.keypoints_px, np.float64)
    unit = float(np.hypot(*(keypoints[1] - keypoints[0])))
    points = None if face.landmarks_px is None else np.asarray(face.landmarks_px, np.float64)
    shapes = _by_landmarks(points, unit) if points is not None else _by_keypoints(keypoints, face, unit)
    masks = {name: _filled(size_hw, polygons) for name, polygons in shapes.items()}
    bare = seen_eyes = np.ones(size_hw, bool)
    if parts is not None:
        unseen = parts.labels_HW == NOT_SEEN
        bare, seen_eyes = unseen | parts.where("skin"), unseen | parts.where("skin", "eyes")
    keep_away = _grown(masks["eyes"] | masks["brows"], 0.06 * unit) | _grown(masks["lips"], 0.05 * unit)
    keep_away |= _grown(masks["nostrils"], 0.03 * unit)
    skin = _inward(masks["face"] & bare & ~keep_away, _SKIN_FEATHER * unit)
    under = masks["under"] & bare & ~_grown(masks["eyes"], 0.03 * unit)
    return Regions(
        unit_px=unit,
        skin=skin,
        eyes=_inward(masks["eyes"] & seen_eyes, 0.03 * unit),
        teeth=_inward(masks["mouth"], 0.02 * unit),
        under_eyes=_inward(under, 0.12 * unit),
        cheeks=_inward(masks["cheeks"] & bare & ~keep_away, 0.05 * unit),
    )


def _by_landmarks(p: np.ndarray, unit: float) -> dict[str, list[np.ndarray]]:
    brows = p[17:27]
    down = p[8] - (p[36:48].mean(0))
    down = down / max(float(np.hypot(*down)), 1e-6)
    rise = _FOREHEAD * float((p[8] - brows.mean(0)) @ down)
    inner = p[_INNER_MOUTH]
    gap = float(np.hypot(*(p[62] - p[66])))
    return {
        "face": [_hull(np.concatenate([p[:27], brows - rise * down]))],
        "eyes": [_hull(p[eye]) for eye in _EYES],
        "brows": [_hull(p[brow]) for brow in _BROWS],
        "lips": [_hull(p[_LIPS])],
        "nostrils": [_hull(p[_NOSTRILS])],
        "mouth": [_hull(inner)] if gap > _LEAST_OPEN * unit else [],
        "under": [_under(p[eye], down, unit) for eye in _EYES],
        "cheeks": [_disc(p[eye].mean(0) + 0.75 * unit * down, 0.2 * unit) for eye in _EYES],
    }


def _by_keypoints(k: np.ndarray, face: Face, unit: float) -> dict[str, list[np.ndarray]]:
    """Ellipses of usual proportions; no teeth, since five points do not say whether a mouth is open."""
    across = (k[1] - k[0]) / max(unit, 1e-6)
    down = np.array([-across[1], across[0]])
    x0, y0, x1, y1 = face.box_xyxy_px
    angle = float(np.degrees(np.arctan2(across[1], across[0])))
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    wide, tall = 0.85 * (x1 - x0) / 2, 0.9 * (y1 - y0) / 2
    mouth, eyes = k[3:5].mean(0), k[:2]
    return {
        "face": [_ellipse(centre, wide, tall, angle)],
        "eyes": [_ellipse(eye, 0.21 * unit, 0.08 * unit, angle) for eye in eyes],
        "brows": [_ellipse(eye - 0.25 * unit * down, 0.35 * unit, 0.1 * unit, angle) for eye in eyes],
        "lips": [_ellipse(mouth, 0.42 * unit, 0.18 * unit, angle)],
        "nostrils": [_ellipse(k[2] + 0.08 * unit * down, 0.22 * unit, 0.1 * unit, angle)],
        "mouth": [],
        "under": [_ellipse(eye + 0.26 * unit * down, 0.24 * unit, 0.1 * unit, angle) for eye in eyes],
        "cheeks": [_disc(eye + 0.75 * unit * down, 0.2 * unit) for eye in eyes],
    }


def _under(eye: np.ndarray, down: np.ndarray, unit: float) -> np.ndarray:
    """Below the lower lid, from corner to corner."""
    lower = eye[[0, 5, 4, 3]]
    return _hull(np.concatenate([lower + 0.05 * unit * down, lower[1:3] + 0.3 * unit * down]))


def _hull(points: np.ndarray) -> np.ndarray:
    return cv2.convexHull(points.round().astype(np.int32))


def _ellipse(centre: np.ndarray, a: float, b: float, angle: float) -> np.ndarray:
    middle, axes = (round(centre[0]), round(centre[1])), (max(1, round(a)), max(1, round(b)))
    return np.asarray(cv2.ellipse2Poly(middle, axes, round(angle), 0, 360, 6)).reshape(-1, 1, 2)


def _disc(centre: np.ndarray, radius: float) -> np.ndarray:
    return _ellipse(centre, radius, radius, 0.0)


def _filled(size_hw: tuple[int, int], polygons: list[np.ndarray]) -> np.ndarray:
    mask = np.zeros(size_hw, np.uint8)
    for one in polygons:
        cv2.fillConvexPoly(mask, one, 1)
    return mask.astype(bool)


def _grown(mask: np.ndarray, by_px: float) -> np.ndarray:
    side = 2 * max(1, round(by_px)) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel)).astype(bool)


def _inward(mask: np.ndarray, feather_px: float) -> FloatArray:
    """One deep inside, falling to zero at the border: nothing outside the mask is touched."""
    padded = np.pad(mask.astype(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    ramp = np.clip(np.asarray(depth, np.float32) / max(feather_px, 1.0), 0, 1)
    return readonly(np.asarray((ramp * ramp * (3 - 2 * ramp)) * mask, np.float32))
