"""How strong the mark may be at each place: what is busy hides more than what is flat.

A measure of just noticeable difference: the mark is seen against what the picture holds at the mark's own
wavelengths (contrast masking), so its strength follows that energy, but less than in proportion, and a lone
edge, beside which there is flat ground, counts for nothing: only what is busy all round hides anything.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from portrait_lora.records import RGBImage

Floats = npt.NDArray[np.float32]


def activity(grey: RGBImage, tile: float) -> Floats:
    """(H, W) 0..255: what the picture holds at the mark's wavelengths around each place, at least.

    `grey` is (H, W) uint8.
    """
    height, width = grey.shape
    shrink = max(1.0, tile / 20)
    size = max(1, round(width / shrink)), max(1, round(height / shrink))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    held = np.abs(small - cv2.GaussianBlur(small, (0, 0), 2.5))
    spread = cv2.GaussianBlur(held, (0, 0), 2.0)
    least = cv2.erode(spread, np.ones((9, 9), np.uint8))
    even = cv2.GaussianBlur(least, (0, 0), 2.0)
    return np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def strength(grey: RGBImage, tile: float, base: float, slope: float, most: float) -> Floats:
    """(H, W) root mean square of the mark in grey levels, for (H, W) uint8."""
    return np.minimum(activity(grey, tile) * np.float32(slope) + np.float32(base), np.float32(most))
