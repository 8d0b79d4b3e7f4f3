"""A normalised view of the head region, by which copies are detected despite common edits.

It is the head square, not the aligned face, because a copy includes the surroundings; its field is grey,
normalised in local brightness and contrast.  `copysearch` finds copies among views, `copyfeatures` verifies
them.
Legend: S side of the square, F side of the field, T side of the small field.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from portrait_lora.records import RGBImage

GreyImage = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Movement = npt.NDArray[np.float64]  # (2, 3)

SQUARE_PX: Final = 176
FIELD_PX: Final = 88
REACH: Final = 1.05
"""Half the square's side over twice the span of the five keypoints: about head and shoulders."""
MIN_OVERLAP: Final = 0.3
FINE_SIGMA_PX: Final = 1.2
LOCAL_SIGMA_PX: Final = 9.0
SMALL_PX: Final = 16
SMALL_SIGMA_PX: Final = 2.5
CONTRAST_FLOOR: Final = 2.0  # grey levels; keeps flat backgrounds from becoming noise
_EDGE_PX: Final = 3
STILL: Final[Movement] = np.eye(2, 3)
_STEP: Final = FIELD_PX / SMALL_PX
_SAMPLED: Final = np.array([[_STEP, 0, (_STEP - 1) / 2], [0, _STEP, (_STEP - 1) / 2], [0, 0, 1]])
"""From coordinates in a small field to the centre of the cell in the field."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One head square, its inner part, field and validity (F, F), and the field made small (T, T)."""

    square: GreyImage  # (S, S) grey
    inner: GreyImage  # (S, S) 255 where the picture reaches, off its edge
    field: Floats
    mask: Floats
    small: Floats


def view(image_rgb: RGBImage, keypoints_px: Floats) -> View:
    """The view around a face with these five keypoints."""
    points = np.asarray(keypoints_px, dtype=np.float32)
    half = max(REACH * 2.0 * float(np.ptp(points, axis=0).max()), 4.0)
    scale = SQUARE_PX / (2 * half)
    x, y = points.mean(axis=0)
    to_square = np.array(
        [[scale, 0, SQUARE_PX / 2 - x * scale], [0, scale, SQUARE_PX / 2 - y * scale]], dtype=np.float32
    )
    x0, y0, x1, y1 = _around(image_rgb, float(x), float(y), half)
    part = cv2.cvtColor(np.ascontiguousarray(image_rgb[y0:y1, x0:x1]), cv2.COLOR_RGB2GRAY)
    to_square[:, 2] += to_square[:, :2] @ np.array([x0, y0], dtype=np.float32)
    if scale < 0.5:  # warping alone would skip pixels
        shrink = 2 * scale
        small = (max(1, round(part.shape[1] * shrink)), max(1, round(part.shape[0] * shrink)))
        to_square[:, 0] *= part.shape[1] / small[0]
        to_square[:, 1] *= part.shape[0] / small[1]
        part = cv2.resize(part, small, interpolation=cv2.INTER_AREA)
    size = (SQUARE_PX, SQUARE_PX)
    square = cv2.warpAffine(part, to_square, size, flags=cv2.INTER_LINEAR)
    valid = cv2.warpAffine(np.full_like(part, 255), to_square, size, flags=cv2.INTER_NEAREST)
    edge = np.ones((2 * _EDGE_PX + 1, 2 * _EDGE_PX + 1), np.uint8)
    inner = np.asarray(cv2.erode(valid, edge, borderValue=255), np.uint8)
    few = cv2.resize(inner, (FIELD_PX, FIELD_PX), interpolation=cv2.INTER_NEAREST)
    mask = np.asarray(few > 127, dtype=np.float32)
    grey = np.asarray(square, np.uint8)
    field = _field(grey, mask)
    return View(grey, inner, field, mask, smaller(field, mask, [STILL])[0])


def mirrored(seen: View) -> View:
    """The view of the mirrored picture."""
    turn = np.ascontiguousarray
    square, inner = turn(seen.square[:, ::-1]), turn(seen.inner[:, ::-1])
    field, mask, small = turn(seen.field[:, ::-1]), turn(seen.mask[:, ::-1]), turn(seen.small[:, ::-1])
    return View(square, inner, field, mask, small)


def smaller(field: Floats, mask: Floats, moves: Sequence[Movement]) -> list[Floats]:
    """(T, T) small fields, one per shift of the field."""
    blurred = cv2.GaussianBlur(field * mask, (0, 0), SMALL_SIGMA_PX)
    size, flags = (SMALL_PX, SMALL_PX), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = (cv2.warpAffine(blurred, move @ _SAMPLED, size, flags=flags) for move in moves)
    return [np.asarray(small, np.float32) for small in moved]


def overlaid(probe: View, source: View, to_source: npt.NDArray[np.floating]) -> float:
    """Correlation 0..1 of the fields with the source aligned to the probe.

    `to_source` (2, 3) is the affine from the probe's field to the source's.  0 when they overlap by less than
    `MIN_OVERLAP` of the field.
    """
    size, inverse = (FIELD_PX, FIELD_PX), cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(source.field, to_source, size, flags=inverse | cv2.INTER_LINEAR)
    reached = cv2.warpAffine(source.mask, to_source, size, flags=inverse | cv2.INTER_NEAREST) > 0.5
    shared = reached & (probe.mask > 0.5)
    if shared.mean() < MIN_OVERLAP:
        return 0.0
    a, b = probe.field[shared], laid[shared]
    a, b = a - a.mean(), b - b.mean()
    return max(0.0, float((a @ b) / np.sqrt(max(float((a @ a) * (b @ b)), 1e-12))))


def _around(image: RGBImage, x: float, y: float, half: float) -> tuple[int, int, int, int]:
    """The part of the picture that the square can touch; at least one pixel."""
    height, width = image.shape[:2]
    x0, y0 = int(np.clip(x - half, 0, width - 1)), int(np.clip(y - half, 0, height - 1))
    return x0, y0, int(np.clip(x + half + 2, x0 + 1, width)), int(np.clip(y + half + 2, y0 + 1, height))


def _field(square: GreyImage, mask: Floats) -> Floats:
    """(F, F): grey minus its local mean, over its local contrast, both taken where the picture reaches.

    The picture's edges are straight, so the blurred mask is the product of two blurred profiles.
    """

    def blur(values: npt.NDArray[np.floating], sigma: float) -> Floats:
        return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), np.float32)

    area = cv2.INTER_AREA
    small = np.asarray(cv2.resize(square, (FIELD_PX, FIELD_PX), interpolation=area), np.float32)
    profiles = np.stack([mask.max(axis=1), mask.max(axis=0)], axis=1)  # (F, 2) down, across
    down, across = (_blurring(FINE_SIGMA_PX) @ profiles).T
    near = np.outer(down, across) + 1e-3
    down, across = (_blurring(LOCAL_SIGMA_PX) @ profiles).T
    wide = np.outer(down, across) + 1e-3
    fine = blur(small * mask, FINE_SIGMA_PX) / near
    detail = fine - blur(fine * mask, LOCAL_SIGMA_PX) / wide
    contrast = np.sqrt(blur(detail * detail * mask, LOCAL_SIGMA_PX) / wide)
    return np.asarray(detail / (contrast + CONTRAST_FLOOR), np.float32)


@cache
def _blurring(sigma: float) -> Floats:
    """(F, F) that blurs a profile of the field as `cv2.GaussianBlur` does."""
    still = np.ones(1, np.float32)
    kernel = cv2.getGaussianKernel(round(sigma * 8 + 1) | 1, sigma, cv2.CV_32F)
    return np.asarray(cv2.sepFilter2D(np.eye(FIELD_PX, dtype=np.float32), -1, still, kernel), np.float32)
