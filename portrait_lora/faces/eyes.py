"""How clear the eyes of a portrait are: a pupil and a white, or neither.

The limits are those of photos of the studio; `python -m scripts.eye_contrast LIKENESS_DIR` measures them.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from portrait_lora.records import Face, RGBImage

CLEAR: Final = 102.0
"""Median of real photos: above it, more contrast makes an eye no better."""
BLANK: Final = 67.0
"""Fifth percentile of real photos: below it an eye counts as blank."""
_EYES: Final = (slice(36, 42), slice(42, 48))
_ENLARGED: Final = 4
_FAR_SHARE: Final = 0.35
_RANGE: Final = (8, 92)


def eye_contrast(image_rgb: RGBImage, face: Face) -> float | None:
    """The lower contrast of the two eyes in grey levels, 0..255; None from a pack without landmarks.

    Contrast is the 92nd minus the 8th percentile of luma within the lids, four times enlarged: an eye with a
    pupil has both, a white slit or a shadow one of them.  A far eye of less than 0.35 of the near one's area
    does not count.
    """
    if face.landmarks_px is None:
        return None
    lids = [np.asarray(face.landmarks_px, dtype=np.float32)[eye] for eye in _EYES]
    areas = [float(cv2.contourArea(points)) for points in lids]
    return min(
        _contrast(image_rgb, points)
        for points, area in zip(lids, areas, strict=True)
        if area >= _FAR_SHARE * max(areas)
    )


def _contrast(image_rgb: RGBImage, lids_px: npt.NDArray[np.float32]) -> float:
    """Contrast within six points; 0 outside of the picture."""
    size = np.array(image_rgb.shape[1::-1])
    start = np.clip(np.floor(lids_px.min(0)).astype(int) - 2, 0, size)
    end = np.clip(np.ceil(lids_px.max(0)).astype(int) + 3, 0, size)
    if (end <= start).any():
        return 0.0
    crop = np.ascontiguousarray(image_rgb[start[1] : end[1], start[0] : end[0]])
    luma = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    luma = cv2.resize(luma, None, fx=_ENLARGED, fy=_ENLARGED, interpolation=cv2.INTER_CUBIC)
    within = np.zeros(luma.shape, np.uint8)
    outline = np.round((lids_px - start + 0.5) * _ENLARGED - 0.5).astype(np.int32)
    cv2.fillPoly(within, [outline], (1,))
    values = luma[within > 0]
    low, high = np.percentile(values, _RANGE) if len(values) else (0.0, 0.0)
    return float(high - low)
