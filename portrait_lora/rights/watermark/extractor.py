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
    even_filters = [one - one.mean() for one in filters]
    seen = [cv2.filter2D(luma, cv2.CV_32F, one, borderType=cv2.BORDER_REFLECT_101) for one in even_filters]
    power = np.asarray(np.mean([one * one for one in seen], axis=0), np.float32)
    size = (SPREAD_PX, SPREAD_PX)
    around = cv2.blur(power, size, borderType=cv2.BORDER_REFLECT_101)
    spread = np.sqrt(np.maximum(around, 0) + np.float32(_TINY)) + np.float32(FLOOR)
    even = np.stack([one / spread for one in seen], axis=-1)
    x = np.asarray(np.concatenate([even, np.log(spread)[..., None]], axis=-1), np.float32)
    x = _convolved(x, weights["first.weight"], weights["first.bias"])
    x = np.maximum(x, np.float32(_LEAK) * x)
    answer = _convolved(x, weights["last.weight"], weights["last.bias"])[..., 0]
    return np.asarray(answer + even @ weights["plain"], np.float32)


def _convolved(x: Floats, weight: Floats, bias: Floats) -> Floats:
    """(H, W, C) with (K, C, 3, 3): the same size, mirrored at the border."""
    height, width = x.shape[:2]
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    out = np.broadcast_to(bias, (height, width, len(bias))).copy()
    for dy in range(3):
        for dx in range(3):
            out += padded[dy : dy + height, dx : dx + width] @ weight[:, :, dy, dx].T
    return out
