"""Sharpness and brightness of a face, measured on its aligned crop."""

from __future__ import annotations

import warnings
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from insightface.utils import face_align

Uint8Image = npt.NDArray[np.uint8]
ALIGNED_PX: Final = 112


def aligned_crop(
    image_rgb: Uint8Image, keypoints_px: npt.NDArray[np.float32], size_px: int = ALIGNED_PX
) -> Uint8Image:
    """The face turned upright and scaled to `size_px`, as ArcFace models see it (size: n × 112 or 128)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-image renames what insightface calls
        points = np.asarray(keypoints_px, dtype=np.float32)
        return np.asarray(
            face_align.norm_crop(image_rgb, landmark=points, image_size=size_px), dtype=np.uint8
        )


def _luma(image_rgb: Uint8Image) -> npt.NDArray[np.float32]:
    return cv2.cvtColor(np.ascontiguousarray(image_rgb), cv2.COLOR_RGB2GRAY).astype(np.float32)


def sharpness(aligned_rgb: Uint8Image) -> float:
    """Variance of the Laplacian, grey levels squared."""
    return float(cv2.Laplacian(_luma(aligned_rgb), cv2.CV_32F).var())


def brightness(aligned_rgb: Uint8Image) -> float:
    """Mean luma, 0..255."""
    return float(_luma(aligned_rgb).mean())
