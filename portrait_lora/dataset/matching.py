"""Local features of a whole picture, matched with those of another: is it the same scene, moved and scaled?

SIFT (Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 2004) with the square-root
kernel (Arandjelović & Zisserman, "Three things everyone should know to improve object retrieval", CVPR 2012).
It needs no face: the keypoints of profiles move so far between copies that neither aligned faces nor
embeddings agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from portrait_lora.records import FloatArray, RGBImage

SIDE_PX: Final = 320
"""The longer side at which features are sought: fine enough for a picture of 250 px, coarse enough to outlive
JPEG at quality 30 and half the size."""
MOST: Final = 200
_RATIO: Final = 0.8
"""Lowe's ratio of the nearest to the second nearest distance."""
_INLIER_PX: Final = 3.0
LEAST_INLIERS: Final = 15
"""Different photographs reach 10, copies have 48 and more (docs/log.md)."""


@dataclass(frozen=True, slots=True)
class Features:
    """N ≤ `MOST` features: `points_N2` (x, y) as shares of the picture's longer side, and
    `descriptors_ND` of unit norm."""

    points_N2: FloatArray
    descriptors_ND: FloatArray


def features_of(image_rgb: RGBImage) -> Features:
    """The strongest features of a picture."""
    height, width = image_rgb.shape[:2]
    scale = SIDE_PX / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(np.ascontiguousarray(image_rgb), size, interpolation=how)
    luma = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    keys, descriptors = cv2.SIFT.create(nfeatures=MOST, contrastThreshold=0.02).detectAndCompute(luma, None)
    if not keys:
        return Features(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32))
    points = (np.array([k.pt for k in keys], dtype=np.float32)[:MOST] + 0.5) / SIDE_PX
    table = np.asarray(descriptors, dtype=np.float32)[:MOST]
    roots = np.sqrt(table / np.maximum(table.sum(axis=1, keepdims=True), 1e-6))
    return Features(np.asarray(points, dtype=np.float32), np.asarray(roots, dtype=np.float32))


def same_scene(a: Features, b: Features) -> FloatArray | None:
    """The similarity transform (3, 3) from points of `a` to those of `b`; None when too few agree."""
    if min(len(a.points_N2), len(b.points_N2)) < LEAST_INLIERS:
        return None
    pairs = _matches(a.descriptors_ND @ b.descriptors_ND.T)
    if len(pairs) < LEAST_INLIERS:
        return None
    first, second = a.points_N2[pairs[:, 0]], b.points_N2[pairs[:, 1]]
    move, inliers = cv2.estimateAffinePartial2D(
        first, second, method=cv2.RANSAC, ransacReprojThreshold=_INLIER_PX / SIDE_PX, maxIters=500
    )
    if move is None or int(inliers.sum()) < LEAST_INLIERS:
        return None
    return np.asarray(np.vstack([move, [0.0, 0.0, 1.0]]), dtype=np.float32)


def _matches(cosines_NM: FloatArray) -> npt.NDArray[np.intp]:
    """(K, 2) indices of pairs that are each other's nearest and pass the ratio test."""
    own, nearest = np.arange(len(cosines_NM)), cosines_NM.argmax(axis=1)
    mutual = cosines_NM.argmax(axis=0)[nearest] == own
    others = cosines_NM.copy()
    others[own, nearest] = -1.0
    first, second = cosines_NM[own, nearest], others.max(axis=1)
    good = mutual & (1 - first < _RATIO**2 * (1 - second))  # squared distances of unit vectors are 2 - 2 cos
    return np.stack([own[good], nearest[good]], axis=1)
