"""Things held before a face, so that they hide a known share of it.

The truth is the share of the hull of the 68 landmarks.  A thing slides in from its side until it hides that
much.  Nothing here is used in training; `face_pack.occluders` draws other things in another way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from portrait_lora.records import RGBImage

Floats = npt.NDArray[np.float32]
Drawn = tuple[Floats, Floats]
"""Colours (L, L, 3) in 0..255 and coverage (L, L) 0..1 of a thing in the middle of a square."""
_SIDE: Final = 384
_STEPS: Final = 18
_GROW: Final = 1.25


def face_hull(landmarks_px: npt.NDArray[np.floating], shape: tuple[int, ...]) -> Floats:
    """1 inside the hull of the landmarks."""
    mask = np.zeros(shape[:2], np.float32)
    points = np.rint(np.asarray(landmarks_px)).astype(np.int32)
    cv2.fillConvexPoly(mask, cv2.convexHull(points), 1.0)
    return mask


def covered(image_rgb: RGBImage, landmarks_px: npt.NDArray[np.floating], share: float, seed: int) -> RGBImage:
    """The picture with a thing that hides `share` of the face; at 0 it only touches."""
    rng = np.random.default_rng([seed, 23])
    face = face_hull(landmarks_px, image_rgb.shape)
    points = np.asarray(landmarks_px, dtype=np.float64)
    middle, size = points.mean(0), float(np.ptp(points, axis=0).max())
    draw, angle_deg, spread_deg, least, most = THINGS[int(rng.integers(len(THINGS)))]
    skin = np.median(image_rgb[face > 0].reshape(-1, 3), axis=0).astype(np.float32)
    colours, alpha = draw(rng, skin)
    angle = np.radians(angle_deg + rng.uniform(-spread_deg, spread_deg))
    if draw in _EITHER_SIDE and rng.random() < 0.5:
        angle = np.pi - angle
    out = np.array([np.cos(angle), np.sin(angle)])
    scale = size * float(rng.uniform(least, most)) / _SIDE
    target = middle + rng.normal(0, 0.06 * size, 2)
    while _hidden(alpha, scale, target, face) < share and scale * _SIDE < 8 * size:
        scale *= _GROW
    near, far = 0.0, size + scale * _SIDE
    for _ in range(_STEPS):
        half = (near + far) / 2
        enough = _hidden(alpha, scale, target + out * half, face) > share + 0.002
        near, far = (half, far) if enough else (near, half)
    place = _place(scale, target + out * far)
    size_wh = (image_rgb.shape[1], image_rgb.shape[0])
    front = cv2.warpAffine(colours, place, size_wh, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    over = cv2.warpAffine(alpha, place, size_wh, flags=cv2.INTER_LINEAR)[..., None]
    return np.rint(np.clip(image_rgb * (1 - over) + front * over, 0, 255)).astype(np.uint8)


def _place(scale: float, centre: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    half = scale * _SIDE / 2
    return np.array([[scale, 0, centre[0] - half], [0, scale, centre[1] - half]], np.float64)


def _hidden(alpha: Floats, scale: float, centre: npt.NDArray[np.floating], face: Floats) -> float:
    over = cv2.warpAffine(alpha, _place(scale, centre), face.shape[::-1], flags=cv2.INTER_LINEAR)
    return float((over * face).sum() / max(float(face.sum()), 1.0))


def _grid() -> tuple[Floats, Floats]:
    """x and y in -1..1."""
    axis = np.linspace(-1, 1, _SIDE, dtype=np.float32)
    return np.meshgrid(axis, axis)[0], np.meshgrid(axis, axis)[1]


def _any_colour(rng: np.random.Generator) -> Floats:
    hue = rng.uniform(0, 255, 3) if rng.random() < 0.6 else np.full(3, rng.uniform(15, 245))
    return np.asarray(0.8 * hue + 0.2 * hue.mean(), np.float32)


def _soft(mask: npt.NDArray[np.bool_]) -> Floats:
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.2), np.float32)


def hand(rng: np.random.Generator, skin: Floats) -> Drawn:
    """Fingers side by side and upright over a palm; lines between them, lit from one side."""
    x, y = _grid()
    tone = skin * np.float32(rng.uniform(0.85, 1.1))
    mask = ((x / 0.52) ** 2 + ((y - 0.35) / 0.6) ** 2) < 1
    shade = 1 - 0.25 * x**2 + np.float32(rng.uniform(-0.15, 0.15)) * x
    for k, tip in enumerate((-0.62, -0.86, -0.9, -0.72)):
        middle = -0.39 + 0.26 * k
        finger = (np.abs(x - middle) < 0.125) & (y > tip + 0.12) & (y < 0.4)
        finger |= ((x - middle) / 0.125) ** 2 + ((y - tip - 0.12) / 0.13) ** 2 < 1
        mask |= finger
        line = np.exp(-(((np.abs(x - middle) - 0.125) / 0.02) ** 2)) * (y < 0.35)
        nail = (((x - middle) / 0.07) ** 2 + ((y - tip - 0.1) / 0.08) ** 2 < 1) * 0.12
        shade = shade * (1 - 0.35 * line) + nail
    return np.asarray(tone * shade[..., None], np.float32), _soft(mask)


def mug(rng: np.random.Generator, _: Floats) -> Drawn:
    """A cylinder with a rim and a handle."""
    x, y = _grid()
    body = (np.abs(x) < 0.5) & (np.abs(y) < 0.7 + 0.06 * np.sqrt(np.clip(0.25 - x**2, 0, 1)))
    ring = np.hypot(x - 0.55, y)
    mask = body | ((ring < 0.36) & (ring > 0.22))
    shade = 1.05 - 0.5 * np.abs(x - np.float32(rng.uniform(-0.3, 0.3)))
    colour = _any_colour(rng) * shade[..., None]
    band = (np.abs(y - rng.uniform(-0.3, 0.3)) < rng.uniform(0.02, 0.2))[..., None]
    return np.where(band, _any_colour(rng) * shade[..., None], colour).astype(np.float32), _soft(mask)


def phone(rng: np.random.Generator, _: Floats) -> Drawn:
    """Rounded corners, a border, two lenses."""
    x, y = _grid()
    inner = np.maximum(np.abs(x) / 0.42, np.abs(y) / 0.86)
    corner = np.hypot(np.clip(np.abs(x) - 0.36, 0, 1), np.clip(np.abs(y) - 0.8, 0, 1))
    mask = (inner < 1) & (corner < 0.06)
    tone = np.float32(rng.choice([25.0, 40.0, 120.0, 225.0]))
    colours = np.full((_SIDE, _SIDE, 3), tone, np.float32) + (18 * (x - y))[..., None]
    colours[inner > 0.94] *= 0.6
    for top in (-0.7, -0.45):
        colours[np.hypot(x + 0.22, y - top) < 0.09] = 12.0
    return np.clip(colours, 0, 255).astype(np.float32), _soft(mask)


def cloth(rng: np.random.Generator, _: Floats) -> Drawn:
    """Something woven that covers the lower part, its upper edge bent, with folds."""
    x, y = _grid()
    edge = (
        -0.25 + np.float32(rng.uniform(0, 0.25)) * x**2 + 0.03 * np.sin(9 * x + np.float32(rng.uniform(0, 6)))
    )
    mask = (y > edge) & (np.abs(x) < 0.97) & (y < 0.97)
    folds = 0.12 * np.sin(np.float32(rng.uniform(8, 22)) * (y + 0.3 * x**2)) * np.float32(rng.uniform(0.3, 1))
    weave = rng.normal(0, 0.03, (_SIDE, _SIDE)).astype(np.float32)
    return np.asarray(_any_colour(rng) * (1 + folds + weave)[..., None], np.float32), _soft(mask)


def balloon(rng: np.random.Generator, _: Floats) -> Drawn:
    """A ball with a highlight."""
    x, y = _grid()
    r2 = x**2 + y**2
    light = np.sqrt(np.clip(1 - r2 / 0.81, 0, 1))
    shine = 90 * np.exp(-((x + 0.3) ** 2 + (y + 0.35) ** 2) / 0.02)
    colours = _any_colour(rng) * (0.45 + 0.6 * light)[..., None] + shine[..., None]
    return np.clip(colours, 0, 255).astype(np.float32), _soft(r2 < 0.81)


def paper(rng: np.random.Generator, _: Floats) -> Drawn:
    """A sheet with lines of print, turned."""
    x, y = _grid()
    turn = np.float32(rng.normal(0, 0.25))
    u, v = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    mask = (np.abs(u) < 0.55) & (np.abs(v) < 0.7)
    print_ = (np.sin(v * 60) > 0.3) & (np.abs(u) < 0.45) & (np.abs(v) < 0.6)
    colours = np.where(print_[..., None], np.float32(90.0), np.float32(rng.uniform(190, 240)))
    return np.broadcast_to(colours, (_SIDE, _SIDE, 3)).astype(np.float32), _soft(mask)


_EITHER_SIDE: Final = (phone, paper, balloon, hand)
Thing = tuple[Callable[[np.random.Generator, Floats], Drawn], float, float, float, float]
THINGS: Final[tuple[Thing, ...]] = (  # drawn by, comes from (degrees, 90 is below), spread, size in faces
    (hand, 75.0, 40.0, 0.9, 1.4),
    (mug, 90.0, 30.0, 0.8, 1.2),
    (phone, 20.0, 40.0, 0.9, 1.3),
    (cloth, 90.0, 8.0, 1.6, 2.2),
    (balloon, 30.0, 60.0, 0.8, 1.3),
    (paper, 60.0, 50.0, 0.9, 1.4),
)
