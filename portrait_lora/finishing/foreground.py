"""The person's own colours along the edge: without the old backdrop in them, a new one shows no halo.

Multi-level estimation (Germer, Uelwer, Conrad and Harmeling, "Fast multi-level foreground estimation", 2020):
the alpha stays, foreground and backdrop are estimated from coarse to fine.  Sweeps are Jacobi's, so that they
run in numpy.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from portrait_lora.finishing import colour
from portrait_lora.records import FloatArray

WORK_PX: Final = 1600
"""Longer side at which colours are estimated: they vary slowly, and memory stays bounded."""
_REGULAR: Final = 1e-5
_GRADIENT: Final = 1.0
_SMALL_PX: Final = 32
_SWEEPS: Final = (10, 4)
"""At levels up to `_SMALL_PX` and above.  Jacobi needs more than the two of Gauss and Seidel."""
OPAQUE: Final = 0.999
"""From this coverage on a pixel keeps its own colour."""


def foreground(rgb_HW3: FloatArray, alpha_HW: FloatArray) -> FloatArray:
    """(H, W, 3) sRGB-coded colours of the person alone; where it is opaque, the picture to the bit."""
    whole = alpha_HW >= OPAQUE
    if whole.all():
        return rgb_HW3
    height, width = alpha_HW.shape
    scale = min(1.0, WORK_PX / max(width, height))
    linear, alpha = colour.to_linear(rgb_HW3), alpha_HW
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        linear = _resized(linear, size)
        alpha = _resized(alpha, size)
    estimated = colour.to_coded(np.clip(layers(linear, alpha)[0], 0, 1))
    if scale < 1:
        estimated = np.asarray(cv2.resize(estimated, (width, height), interpolation=cv2.INTER_LINEAR))
    return np.where(whole[..., None], rgb_HW3, estimated).astype(np.float32)


def layers(linear_HW3: FloatArray, alpha_HW: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Foreground and backdrop (H, W, 3) in linear light whose mix by alpha is the picture."""
    height, width = alpha_HW.shape
    levels = max(1, int(np.ceil(np.log2(max(width, height)))))
    front = np.full((1, 1, 3), linear_HW3[alpha_HW > 0.9].mean(0) if (alpha_HW > 0.9).any() else 0.5)
    behind = np.full((1, 1, 3), linear_HW3[alpha_HW < 0.1].mean(0) if (alpha_HW < 0.1).any() else 0.5)
    front, behind = front.astype(np.float32), behind.astype(np.float32)
    for level in range(levels + 1):
        size = round(width ** (level / levels)), round(height ** (level / levels))
        image, alpha = _resized(linear_HW3, size), _resized(alpha_HW, size)
        front, behind = _doubled(front, size), _doubled(behind, size)
        for _ in range(_SWEEPS[max(size) > _SMALL_PX]):
            front, behind = _sweep(image, alpha, front, behind)
    return front, behind


def _resized(values: FloatArray, size: tuple[int, int]) -> FloatArray:
    if values.shape[:2] == (size[1], size[0]):
        return values
    small = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32).reshape((size[1], size[0], *values.shape[2:]))


def _doubled(values: FloatArray, size: tuple[int, int]) -> FloatArray:
    larger = cv2.resize(values, size, interpolation=cv2.INTER_NEAREST)
    return np.asarray(larger, np.float32).reshape((size[1], size[0], 3))


def _sweep(
    image: FloatArray, alpha: FloatArray, front: FloatArray, behind: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Every pixel's two colours solved for, given those of its four neighbours (eq. 8 of the paper)."""
    height, width = alpha.shape
    edge = cv2.copyMakeBorder(alpha, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    fronts, behinds = (cv2.copyMakeBorder(v, 1, 1, 1, 1, cv2.BORDER_REPLICATE) for v in (front, behind))
    weight = np.zeros((height, width), np.float32)
    sum_f, sum_b = np.zeros_like(front), np.zeros_like(behind)
    for y, x in ((0, 1), (2, 1), (1, 0), (1, 2)):
        part = np.s_[y : y + height, x : x + width]
        one = (_REGULAR + _GRADIENT * np.abs(alpha - edge[part])).astype(np.float32)
        weight += one
        sum_f += one[..., None] * fronts[part]
        sum_b += one[..., None] * behinds[part]
    a, b = alpha[..., None], 1 - alpha[..., None]
    weight = weight[..., None]
    aa, bb, ab = a * a + weight, b * b + weight, a * b
    right_f, right_b = a * image + sum_f, b * image + sum_b
    determinant = aa * bb - ab * ab
    return (
        np.clip((bb * right_f - ab * right_b) / determinant, 0, 1).astype(np.float32),
        np.clip((aa * right_b - ab * right_f) / determinant, 0, 1).astype(np.float32),
    )
