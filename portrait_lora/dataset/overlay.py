"""Registration of one aligned face with another, to test whether both have the same pixels.

The five keypoints of two copies differ by a pixel or two; an affine transform by enhanced correlation (ECC,
Evangelidis & Psarakis, "Parametric image alignment", PAMI 2008) corrects that.  Uniform changes of light
cancel out in the correlation.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from portrait_lora.faces.quality import aligned_crop, source_px_per_aligned_px
from portrait_lora.records import FloatArray, RGBImage

Mask = npt.NDArray[np.bool_]
SIDE: Final = 64
_SOFTEN_PX: Final = 1.0
_EDGE: Final = np.ones((5, 5), np.uint8)
"""Erosion kernel: the blur carries the outside this far inwards."""
_INSIDE: Final = 253
_STOP: Final = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-4)
_MIN_COVERED: Final = 0.3
_MAX_STRETCH: Final = 1.25
_FLAT: Final = 1.0


def aligned_luma(image_rgb: RGBImage, keypoints_px: FloatArray) -> tuple[FloatArray, Mask]:
    """The aligned face as (SIDE, SIDE) luma, and the mask of its part inside the picture.

    It is downscaled before it is rotated, to avoid aliasing.
    """
    scale = min(1.0, 1.0 / max(source_px_per_aligned_px(keypoints_px), 1e-3))
    height, width = image_rgb.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(np.ascontiguousarray(image_rgb), size, interpolation=cv2.INTER_AREA)
    ratio = np.array([size[0] / width, size[1] / height], dtype=np.float32)
    points = np.asarray(keypoints_px * ratio, dtype=np.float32)
    crop = aligned_crop(np.asarray(small, dtype=np.uint8), points)
    whole = aligned_crop(np.full_like(crop, 255, shape=(size[1], size[0], 3)), points)
    inside = cv2.erode(cv2.resize(whole[:, :, 0], (SIDE, SIDE), interpolation=cv2.INTER_AREA), _EDGE)
    luma = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
    reduced = cv2.resize(luma, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    softened = np.asarray(cv2.GaussianBlur(reduced, (0, 0), _SOFTEN_PX), dtype=np.float32)
    return softened, np.asarray(inside >= _INSIDE, dtype=np.bool_)


def laid_over(a: FloatArray, a_inside: Mask, b: FloatArray, b_inside: Mask) -> float:
    """The correlation 0..1 of two (SIDE, SIDE) faces after the best transform; 0 for none.

    Only the overlap of both pictures counts.
    """
    if a_inside.sum() > b_inside.sum():  # the smaller one is sought in the other
        a, a_inside, b, b_inside = b, b_inside, a, a_inside
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    own, others = (np.ascontiguousarray(m).astype(np.uint8) * 255 for m in (a_inside, b_inside))
    move = np.eye(2, 3, dtype=np.float32)
    try:
        _, move = cv2.findTransformECC(a, b, move, cv2.MOTION_AFFINE, _STOP, own, 3)
    except cv2.error:  # it says so when it does not converge
        return 0.0
    stretches = np.linalg.svd(np.asarray(move[:, :2], dtype=np.float64), compute_uv=False)
    if stretches.max() > _MAX_STRETCH or stretches.min() < 1 / _MAX_STRETCH:
        return 0.0
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(b, move, (SIDE, SIDE), flags=how)
    inside = (cv2.warpAffine(others, move, (SIDE, SIDE), flags=how) >= _INSIDE) & (own > 0)
    if inside.mean() < _MIN_COVERED:
        return 0.0
    first, second = a[inside] - a[inside].mean(), moved[inside] - moved[inside].mean()
    norms = float(np.linalg.norm(first)), float(np.linalg.norm(second))
    return max(0.0, float(first @ second) / (norms[0] * norms[1])) if min(norms) > _FLAT else 0.0
