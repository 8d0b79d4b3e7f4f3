"""Local features of head squares: correspondences between two pictures and the transform between them.

Lowe 2004, RootSIFT of Arandjelovic & Zisserman 2012, RANSAC.  Legend: S side of the square, K features.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from portrait_lora.evaluation.copyview import FIELD_PX, SQUARE_PX, Floats, View

MOST_FEATURES: Final = 140
MATCH_RATIO: Final = 0.72
MIN_MATCHES: Final = 6
SCALES: Final = (0.5, 2.0)


@dataclass(frozen=True, slots=True)
class Features:
    """Keypoints (K, 2) in the square and descriptors (K, 128), unit vectors."""

    points: Floats
    descriptors: Floats


@cache
def _sift() -> cv2.SIFT:
    return cv2.SIFT.create(MOST_FEATURES, contrastThreshold=0.015)


@cache
def _equaliser() -> cv2.CLAHE:
    return cv2.createCLAHE(2.0, (4, 4))


def features(seen: View) -> Features:
    """The features of a view."""
    keypoints, raw = _sift().detectAndCompute(_equaliser().apply(seen.square), seen.inner)
    descriptors = np.zeros((0, 128), np.float32) if raw is None else np.asarray(raw, np.float32)
    roots = np.sqrt(descriptors / (descriptors.sum(axis=1, keepdims=True) + 1e-6))
    return Features(np.array([k.pt for k in keypoints], dtype=np.float32).reshape(-1, 2), roots)


def movement(probe: Features, source: Features) -> npt.NDArray[np.float64] | None:
    """(2, 3) affine from the probe's field to the source's; None without a consistent match."""
    if min(len(probe.points), len(source.points)) < MIN_MATCHES:
        return None
    rows, columns = _matches(probe.descriptors @ source.descriptors.T)
    if len(rows) < MIN_MATCHES:
        return None
    cv2.setRNGSeed(0)  # RANSAC draws from a global generator
    here, there = probe.points[rows], source.points[columns]
    affine, _ = cv2.estimateAffinePartial2D(here, there, ransacReprojThreshold=3.0, maxIters=200)
    if affine is None:
        return None
    moved = np.asarray(affine, dtype=np.float64)
    if not SCALES[0] < float(np.hypot(moved[0, 0], moved[1, 0])) < SCALES[1]:
        return None
    moved[:, 2] *= FIELD_PX / SQUARE_PX
    return moved


def _matches(cosines: Floats) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Mutual nearest neighbours that pass the ratio test (on squared distances of unit vectors)."""
    rows = np.arange(len(cosines))
    nearest = cosines.argmax(axis=1)
    best = cosines[rows, nearest]
    second = np.partition(cosines, -2, axis=1)[:, -2]
    good = ((1 - best) < MATCH_RATIO * (1 - second)) & (cosines.argmax(axis=0)[nearest] == rows)
    return rows[good], nearest[good]
