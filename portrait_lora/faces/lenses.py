"""A small network that tells dark lenses from eyes on the aligned face, in grey.

Trained by `scripts.train.lenses` on studio renders with lenses, frames, shade and make-up drawn on them; no
photograph of a person took part.  60,000 weights, mostly after three convolutions, run with numpy.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

from portrait_lora.records import RGBImage

Floats = npt.NDArray[np.float32]

FILE: Final = Path(__file__).resolve().parents[1] / "assets" / "lenses" / "lenses.safetensors"
ROWS, COLUMNS = slice(30, 78), slice(14, 98)
"""The strip around the eyes in the aligned 112 px crop, for lenses that reach to the cheeks."""
_FACE_ROWS, _FACE_COLUMNS = slice(30, 104), slice(20, 92)
_LEAST_SPREAD: Final = 8.0
_STRIDE: Final = 2
_BY_BRIDGE: Final = 5.0
_BY_CHEEK: Final = 3.0
"""Found on half of 970 photographs with both detectors and an earlier network of the same recipe.  With this
one 44 of 53 faces behind sunglasses are above all but 4 of 874 others there, with the network alone 36; on
the other half 60 and 55 of 70, and 4 of 914."""
_ZERO: Final = 4.0
"""On the first half of those photographs 43 of 53 are above 0, and 3 others; on the second 56 of 70 and 3."""
SURELY_NONE: Final = -3.5
"""Below are 1 of 53 and 93 of 100 others on the first half, 7 of 70 and 92 of 100 on the second."""
_BLACK: Final = 8.0


def strip(aligned_grey: npt.NDArray[np.floating]) -> Floats:
    """(48, 84) of an aligned (112, 112) luma 0..255, in standard deviations of the face's luma."""
    grey = np.asarray(aligned_grey, dtype=np.float32)
    face = grey[_FACE_ROWS, _FACE_COLUMNS]
    spread = max(float(face.std()), _LEAST_SPREAD)
    return np.asarray((grey[ROWS, COLUMNS] - float(face.mean())) / spread, dtype=np.float32)


def lens_evidence(aligned_rgb: RGBImage) -> float:
    """How much an aligned 112 px face looks like one behind dark lenses, about -9 to 7; 0 is the verdict.

    The logarithm of the network's odds (mean of the face and its mirror image), less what a lens darkens and
    shade does not: the skin right below the eyes against the bridge of the nose, and against the cheeks.
    """
    grey = np.asarray(cv2.cvtColor(np.ascontiguousarray(aligned_rgb), cv2.COLOR_RGB2GRAY), dtype=np.float32)
    seen = strip(grey)
    under, bridge, cheek = _skin(grey)
    network = (_run(seen) + _run(seen[:, ::-1])) / 2
    return network - _BY_BRIDGE * under / bridge - _BY_CHEEK * under / cheek + _ZERO


def _skin(aligned_grey: Floats) -> tuple[float, float, float]:
    """Luma below the eyes (the brighter side), of the bridge of the nose, of the cheeks (the darker side)."""
    grey = cv2.GaussianBlur(aligned_grey, (0, 0), 1.0)
    under = max(float(np.median(grey[57:61, x - 7 : x + 7])) for x in (38, 74))
    cheek = min(float(np.median(grey[68:78, x - 7 : x + 7])) for x in (35, 77))
    bridge = float(np.median(grey[58:66, 53:60]))
    return under, max(bridge, _BLACK), max(cheek, _BLACK)


def _run(picture: Floats) -> float:
    weights = _weights()
    x = picture[None]
    for name in ("c1", "c2", "c3"):
        x = np.maximum(_convolved(x, weights[f"{name}.weight"], weights[f"{name}.bias"]), 0)
    hidden = np.maximum(weights["f.weight"] @ x.ravel() + weights["f.bias"], 0)
    return float((weights["o.weight"] @ hidden + weights["o.bias"])[0])


def _convolved(x: Floats, weight: Floats, bias: Floats) -> Floats:
    """(C, H, W) with (K, C, k, k): padded by k // 2, every second pixel."""
    k = weight.shape[-1]
    padded = np.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (k, k), axis=(1, 2))[:, ::_STRIDE, ::_STRIDE]
    return np.asarray(np.tensordot(weight, windows, axes=((1, 2, 3), (0, 3, 4))) + bias[:, None, None])


@lru_cache(maxsize=1)
def _weights() -> dict[str, Floats]:
    return {name: np.asarray(value, dtype=np.float32) for name, value in load_file(FILE).items()}
