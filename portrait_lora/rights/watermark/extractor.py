"""The reading network: what in a picture looks like a mark, with the picture itself kept out.

Four filters of 11 × 11 px, evened out by their local energy, then two small convolutions (900 weights), run
with OpenCV and numpy.  Trained by `scripts.train.watermark`, whose `net` is the same computation in torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

FILTER_PX: Final = 11
SPREAD_PX: Final = 9
FLOOR: Final = 0.5
"""Grey levels, added to the local energy: where there is less than this, nothing is amplified."""
_LEAK: Final = 0.1
_TINY: Final = 1e-4
_STRIP: Final = 128
_BORDER: Final = cv2.BORDER_REFLECT_101
_MARGIN: Final = FILTER_PX // 2 + SPREAD_PX // 2 + 2


def extract(luma: Floats, weights: Mapping[str, Floats]) -> Floats:
    """(H, W) of grey levels 0..255; any size of at least 16 px, in strips, so that memory stays bounded."""
    height = luma.shape[0]
    if height <= _STRIP + 2 * _MARGIN:
        return _strip(luma, weights)
    out = np.empty_like(luma)
    for top in range(0, height, _STRIP):
        bottom = min(top + _STRIP, height)
        above, below = max(0, top - _MARGIN), min(height, bottom + _MARGIN)
        out[top:bottom] = _strip(luma[above:below], weights)[top - above : bottom - above]
    return out


def _strip(luma: Floats, weights: Mapping[str, Floats]) -> Floats:
    filters = weights["filters"][:, 0]
    seen = [_filtered(luma, one - one.mean()) for one in filters]
    power = sum((one * one for one in seen), np.zeros_like(luma)) * np.float32(1 / len(seen))
    around = cv2.blur(power, (SPREAD_PX, SPREAD_PX), borderType=_BORDER)
    spread = np.sqrt(np.maximum(around, 0) + np.float32(_TINY)) + np.float32(FLOOR)
    even = [one / spread for one in seen]
    planes = [*even, np.log(spread)]
    out = np.full(luma.shape, weights["last.bias"][0], np.float32)
    for plane, share in zip(even, weights["plain"], strict=True):
        out += share * plane
    last = weights["last.weight"][0]
    for kernels, bias, onward in zip(weights["first.weight"], weights["first.bias"], last, strict=True):
        feature = np.full(luma.shape, bias, np.float32)
        for plane, kernel in zip(planes, kernels, strict=True):
            feature += _filtered(plane, kernel)
        out += _filtered(np.maximum(feature, np.float32(_LEAK) * feature), onward)
    return out


def _filtered(plane: Floats, kernel: Floats) -> Floats:
    """Plane by plane: OpenCV's filters take a third of the time of products of arrays."""
    return np.asarray(cv2.filter2D(plane, cv2.CV_32F, kernel, borderType=_BORDER), np.float32)
