"""What a picture shows around a head, in a form that finds copies through the changes people and tools make.

Two steps, as in near-duplicate search: local features find which photo might be the source and how it was
moved (Lowe 2004, RootSIFT of Arandjelovic & Zisserman 2012, RANSAC); then the photo is laid over the portrait
and both are compared pixel by pixel, free of local brightness and contrast.  Features alone also agree on
glasses and hair that a person wears in every picture; correlation alone needs an alignment that face
keypoints do not give.  The head square, not the aligned face, because a copy brings its surroundings along.
Legend: S side of the square, F side of the field, K features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

RGBImage = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

SQUARE_PX: Final = 176
FIELD_PX: Final = 88
REACH: Final = 1.05
"""Half the square, in spans of the five keypoints, doubled: about head and shoulders."""
MOST_FEATURES: Final = 140
MATCH_RATIO: Final = 0.72
MIN_MATCHES: Final = 6
CANDIDATES: Final = 2
MIN_OVERLAP: Final = 0.3
SCALES: Final = (0.5, 2.0)
FINE_SIGMA_PX: Final = 1.2
LOCAL_SIGMA_PX: Final = 9.0
CONTRAST_FLOOR: Final = 2.0  # grey levels; keeps flat backgrounds from becoming noise
_EDGE_PX: Final = 3


@dataclass(frozen=True, slots=True)
class View:
    """One head square: feature places (K, 2) and descriptors (K, 128), field and validity (F, F)."""

    square: RGBImage  # (S, S) grey
    valid: RGBImage  # (S, S) 255 where the picture reaches
    points: Floats
    descriptors: Floats
    field: Floats
    mask: Floats


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
    return _described(np.asarray(square, np.uint8), np.asarray(valid, np.uint8))


def mirrored(seen: View) -> View:
    """The view of the mirrored picture."""
    return _described(np.ascontiguousarray(seen.square[:, ::-1]), np.ascontiguousarray(seen.valid[:, ::-1]))


def _around(image: RGBImage, x: float, y: float, half: float) -> tuple[int, int, int, int]:
    """The part of the picture that the square can touch; at least one pixel."""
    height, width = image.shape[:2]
    x0, y0 = int(np.clip(x - half, 0, width - 1)), int(np.clip(y - half, 0, height - 1))
    return x0, y0, int(np.clip(x + half + 2, x0 + 1, width)), int(np.clip(y + half + 2, y0 + 1, height))


@cache
def _sift() -> cv2.SIFT:
    return cv2.SIFT.create(MOST_FEATURES, contrastThreshold=0.015)


@cache
def _equaliser() -> cv2.CLAHE:
    return cv2.createCLAHE(2.0, (4, 4))


def _described(square: RGBImage, valid: RGBImage) -> View:
    inner = cv2.erode(valid, np.ones((2 * _EDGE_PX + 1, 2 * _EDGE_PX + 1), np.uint8), borderValue=255)
    keypoints, found = _sift().detectAndCompute(_equaliser().apply(square), inner)
    descriptors = np.zeros((0, 128), np.float32) if found is None else np.asarray(found, np.float32)
    roots = np.sqrt(descriptors / (descriptors.sum(axis=1, keepdims=True) + 1e-6))
    points = np.array([k.pt for k in keypoints], dtype=np.float32).reshape(-1, 2)
    small = cv2.resize(inner, (FIELD_PX, FIELD_PX), interpolation=cv2.INTER_NEAREST)
    mask = np.asarray(small > 127, dtype=np.float32)
    return View(square, valid, points, roots, _field(square, mask), mask)


def _field(square: RGBImage, mask: Floats) -> Floats:
    """(F, F): grey minus its local mean, over its local contrast, both taken where the picture reaches."""

    def blur(values: Floats, sigma: float) -> Floats:
        weight = cv2.GaussianBlur(mask, (0, 0), sigma)
        return np.asarray(cv2.GaussianBlur(values * mask, (0, 0), sigma) / (weight + 1e-3), np.float32)

    area = cv2.INTER_AREA
    small = np.asarray(cv2.resize(square, (FIELD_PX, FIELD_PX), interpolation=area), np.float32)
    fine = blur(small, FINE_SIGMA_PX)
    detail = np.asarray(fine - blur(fine, LOCAL_SIGMA_PX), np.float32)
    contrast = np.sqrt(blur(detail * detail, LOCAL_SIGMA_PX))
    return np.asarray(detail / (contrast + CONTRAST_FLOOR), np.float32)


class Gallery:
    """Views to search in, each also mirrored."""

    def __init__(self, views: Sequence[View]):
        self.count = len(views)
        self._views = [*views, *(mirrored(v) for v in views)]
        ends = np.cumsum([0, *(len(v.points) for v in self._views)])
        self._bounds = list(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))
        self._table = np.concatenate([v.descriptors for v in self._views]) if views else None

    def best(self, probe: View, *, without: int | None = None) -> tuple[int, float]:
        """(index of the best view, correlation 0..1); (-1, 0.0) when nothing can be laid over the probe."""
        if self._table is None or len(probe.points) < MIN_MATCHES:
            return -1, 0.0
        cosines = probe.descriptors @ self._table.T
        candidates: list[tuple[int, int, Floats, Floats]] = []
        for n, (start, end) in enumerate(self._bounds):
            if end - start < MIN_MATCHES or n % self.count == without:
                continue
            rows, columns = _matches(cosines[:, start:end])
            if len(rows) >= MIN_MATCHES:
                candidates.append((len(rows), n, probe.points[rows], self._views[n].points[columns]))
        best = (-1, 0.0)
        for _, n, here, there in sorted(candidates, key=lambda c: (-c[0], c[1]))[:CANDIDATES]:
            value = _overlaid(probe, self._views[n], here, there)
            if value > best[1]:
                best = (n % self.count, value)
        return best


def _matches(cosines: Floats) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Mutual nearest neighbours that pass the ratio test (on squared distances of unit vectors)."""
    rows = np.arange(len(cosines))
    nearest = cosines.argmax(axis=1)
    best = cosines[rows, nearest]
    second = np.partition(cosines, -2, axis=1)[:, -2]
    good = ((1 - best) < MATCH_RATIO * (1 - second)) & (cosines.argmax(axis=0)[nearest] == rows)
    return rows[good], nearest[good]


def _overlaid(probe: View, source: View, here: Floats, there: Floats) -> float:
    """Correlation of the fields once the source is moved, turned and scaled onto the probe."""
    cv2.setRNGSeed(0)  # RANSAC draws from a global generator
    found, _ = cv2.estimateAffinePartial2D(here, there, ransacReprojThreshold=3.0, maxIters=200)
    if found is None:
        return 0.0
    moved = np.asarray(found, dtype=np.float64)
    if not SCALES[0] < float(np.hypot(moved[0, 0], moved[1, 0])) < SCALES[1]:
        return 0.0
    moved[:, 2] *= FIELD_PX / SQUARE_PX
    size, flags = (FIELD_PX, FIELD_PX), cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(source.field, moved, size, flags=flags | cv2.INTER_LINEAR)
    reached = cv2.warpAffine(source.mask, moved, size, flags=flags | cv2.INTER_NEAREST) > 0.5
    shared = reached & (probe.mask > 0.5)
    if shared.mean() < MIN_OVERLAP:
        return 0.0
    a, b = probe.field[shared], laid[shared]
    a, b = a - a.mean(), b - b.mean()
    return max(0.0, float((a @ b) / np.sqrt(max(float((a @ a) * (b @ b)), 1e-12))))
