"""Lanczos resampling of a canvas in floating point; colours are weighted by alpha, so nothing bleeds in."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from PIL import Image

from portrait_lora.finishing.canvas import Canvas
from portrait_lora.records import FloatArray, readonly

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the canvas, of any fraction."""
_CLEAR: Final = 1e-3
"""Below this alpha a colour is not divided by it: the quotient would be rounding noise."""


def resized(canvas: Canvas, size_px: tuple[int, int], box: Box | None = None) -> Canvas:
    """The part in the box (None: all) at `size_px` (W, H)."""
    if canvas.alpha_HW is None:
        return canvas.with_rgb(lanczos(canvas.rgb_HW3, size_px, box))
    alpha = lanczos(canvas.alpha_HW[..., None], size_px, box)
    plain = lanczos(canvas.rgb_HW3, size_px, box)
    weighted = lanczos(canvas.rgb_HW3 * canvas.alpha_HW[..., None], size_px, box)
    rgb = np.where(alpha > _CLEAR, weighted / np.maximum(alpha, _CLEAR), plain)
    return replace(
        canvas, rgb_HW3=readonly(np.clip(rgb, 0, 1)), alpha_HW=readonly(np.clip(alpha[..., 0], 0, 1))
    )


def lanczos(values_HWC: np.ndarray, size_px: tuple[int, int], box: Box | None = None) -> FloatArray:
    """(H, W, C) float32 at the size (W, H); it may overshoot the range of its input."""
    out = np.empty((size_px[1], size_px[0], values_HWC.shape[2]), np.float32)
    for channel in range(values_HWC.shape[2]):
        plane = Image.fromarray(np.ascontiguousarray(values_HWC[..., channel], np.float32))
        out[..., channel] = np.asarray(plane.resize(size_px, Image.Resampling.LANCZOS, box=box))
    return out
