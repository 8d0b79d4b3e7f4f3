"""Sharpness and brightness of a face, measured on its aligned crop of fixed size."""

from __future__ import annotations

import warnings
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from portrait_lora.records import RGBImage

ALIGNED_PX: Final = 112
_REBLUR_PX: Final = 1.0
_EDGE_SHARE: Final = 0.04


def aligned_crop(
    image_rgb: RGBImage, keypoints_px: npt.NDArray[np.float32], size_px: int = ALIGNED_PX
) -> RGBImage:
    """The aligned crop of `size_px`, as ArcFace models see it (size: n × 112 or 128)."""
    from insightface.utils import face_align  # slow to import, and whoever trains looks at no face at first

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-image renames what insightface calls
        points = np.asarray(keypoints_px, dtype=np.float32)
        return np.asarray(
            face_align.norm_crop(image_rgb, landmark=points, image_size=size_px), dtype=np.uint8
        )


def _luma(image_rgb: RGBImage) -> npt.NDArray[np.float32]:
    return cv2.cvtColor(np.ascontiguousarray(image_rgb), cv2.COLOR_RGB2GRAY).astype(np.float32)


def sharpness(aligned_rgb: RGBImage) -> float:
    """Variance of the Laplacian, grey levels squared."""
    return float(cv2.Laplacian(_luma(aligned_rgb), cv2.CV_32F).var())


def brightness(aligned_rgb: RGBImage) -> float:
    """Mean luma, 0..255."""
    return float(_luma(aligned_rgb).mean())


def blur_px(aligned_rgb: RGBImage) -> float:
    """Width of the sharpest edges of an aligned 112 px face, as the σ of a Gaussian in its pixels.

    The strongest edges are blurred once more by a known σ₀; the less they lose, the softer they were:
    σ = σ₀ / √(R² − 1) with R the ratio of gradients before and after (Zhuo & Sim, "Defocus map estimation
    from a single image", Pattern Recognition 2011, eq. 5).  The ratio does not depend on contrast, so dark
    and pale faces are judged alike.  A sharp face gives 0.5–0.9, one blurred by σ = 1.5 px 1.4 and more.
    """
    luma = _luma(aligned_rgb)
    again = np.asarray(cv2.GaussianBlur(luma, (0, 0), _REBLUR_PX), dtype=np.float32)
    before, after = _gradient(luma), _gradient(again)
    rows, columns = np.mgrid[: luma.shape[0], : luma.shape[1]] * (ALIGNED_PX / luma.shape[0])
    face = ((columns - 56) / 44) ** 2 + ((rows - 62) / 50) ** 2 <= 1
    strong = face & (before >= np.quantile(before[face], 1 - _EDGE_SHARE)) & (before > 0)
    if not strong.any():
        return float(ALIGNED_PX)
    ratio = np.maximum(before[strong] / np.maximum(after[strong], 1e-6), 1.0001)
    return float(np.median(_REBLUR_PX / np.sqrt(ratio**2 - 1)))


_OWN_SOFTNESS_PX: Final = 1.26
_MOST_SOFTNESS: Final = 1.02
_ENLARGED_SOFTNESS: Final = 0.45


def blur_limit_px(max_blur_px: float, source_px: float) -> float:
    """The limit of `blur_px` for a face with `source_px` pixels of the picture per aligned pixel.

    A photograph is soft by itself: demosaicing, scaling and JPEG widen every edge by about a pixel of the
    file, which is σ / `source_px` in the crop and adds to the limit in squares.  Measured on 250 px faces of
    a public set that the eye calls usable (median 1.06, 98 of 100 below 1.47 at 1.2 px), and bounded there.
    Faces that the alignment enlarges are softer still.
    """
    per = max(source_px, 1e-3)
    own = min(_OWN_SOFTNESS_PX / per, _MOST_SOFTNESS)
    enlarged = _ENLARGED_SOFTNESS * float(np.sqrt(max(0.0, per**-2 - 1)))
    return float(np.hypot(max_blur_px, max(own, enlarged)))


def _gradient(luma: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    across, down = cv2.Sobel(luma, cv2.CV_32F, 1, 0), cv2.Sobel(luma, cv2.CV_32F, 0, 1)
    return np.asarray(np.hypot(across, down), dtype=np.float32)


def source_px_per_aligned_px(keypoints_px: npt.NDArray[np.float32]) -> float:
    """Pixels of the picture per pixel of the aligned 112 px crop; below 1 the face is upscaled.

    From the spread of the five points, as a similarity fit has it (Umeyama 1991, without the rotation).
    """
    from insightface.utils import face_align

    template = np.asarray(face_align.arcface_dst, dtype=np.float64)
    points = np.asarray(keypoints_px, dtype=np.float64)
    return float((points - points.mean(axis=0)).std() / (template - template.mean(axis=0)).std())


def light_balance(aligned_rgb: RGBImage) -> float:
    """log2 of the luma of the face's left half (as seen) over that of its right half."""
    luma = _luma(aligned_rgb)
    left, right = luma[_ellipse(38, 66, 14, 32)], luma[_ellipse(74, 66, 14, 32)]
    return float(np.log2(max(float(left.mean()), 4.0) / max(float(right.mean()), 4.0)))


def _ellipse(x: float, y: float, wide: float, tall: float) -> npt.NDArray[np.bool_]:
    rows, columns = np.mgrid[:ALIGNED_PX, :ALIGNED_PX]
    return np.asarray(((columns - x) / wide) ** 2 + ((rows - y) / tall) ** 2 <= 1)
