"""A picture in motion: the person before what is behind them, seen by a camera that glides a little.

Two layers make the parallax.  The person is only moved and scaled, the face therefore never bent; what the
person hid is filled, smoothly from all sides (pull and push, Gortler et al., "The lumigraph", 1996) and with
the texture beside it, mirrored at the outline.  Every path ends where it began.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal

import cv2
import numpy as np

from portrait_lora.finishing import colour
from portrait_lora.finishing.canvas import to_bytes
from portrait_lora.records import FloatArray, RGBImage

Path = Literal["push-in", "drift-left", "drift-right", "orbit"]
_NEAR_ZOOM, _FAR_ZOOM = 0.12, 0.04
_NEAR_DRIFT, _FAR_DRIFT = 0.030, 0.010
_NEAR_ORBIT, _FAR_ORBIT = -0.006, 0.024
"""At full strength: growth, and shifts in shares of the picture's width to either side.  Person and backdrop
part by 2 to 3 % of the width at most: what lies so near the outline is what can be filled believably."""
_ORBIT_TALL: Final = 0.3
_BREATH: Final = 0.012
"""How far the chest rises at full strength, in shares of its height: 1 to 3 px of a clip of 640 px."""
_SMOOTH_PX: Final = 0.015
"""Deviation of the blur that parts tones from texture, in shares of the longer side."""
_LEVELS: Final = 65536


@dataclass(frozen=True, slots=True)
class Motion:
    """The path, how far it goes (0..1), and how deep the one breath of a loop is (0..1)."""

    path: Path
    strength: float
    breathing: float


@dataclass(frozen=True, slots=True)
class Scene:
    """The layers in linear light: `behind_HW3`, without holes, and `person_HW4`, premultiplied, with alpha.

    `focus`: what the camera goes towards, (x, y) in shares of the picture.  `chest`: the height below which
    the body may move, in shares from the top; 1 for none.
    """

    behind_HW3: FloatArray
    person_HW4: FloatArray
    focus: tuple[float, float]
    chest: float


@dataclass(frozen=True, slots=True)
class _Move:
    """Growth about the focus, and a shift in shares of width and height."""

    zoom: float = 1.0
    x: float = 0.0
    y: float = 0.0


def scene(
    rgb_HW3: FloatArray,
    person_HW3: FloatArray,
    alpha_HW: FloatArray,
    face_px: float,
    focus: tuple[float, float],
    chest: float,
) -> Scene:
    """From a coded picture, the person's own colours (coded) and coverage; `face_px`: size of the face."""
    share = alpha_HW[..., None]
    person = np.concatenate([colour.to_linear(person_HW3) * share, share], axis=2)
    behind = colour.to_linear(filled(rgb_HW3, hidden(alpha_HW, face_px)))
    return Scene(behind, np.asarray(person, np.float32), focus, chest)


def hidden(alpha_HW: FloatArray, face_px: float) -> np.ndarray:
    """(H, W) bool: the person and a narrow rim, in which the picture still holds some of their colour."""
    radius = max(2, round(0.02 * face_px))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.dilate((alpha_HW > 0.01).astype(np.uint8), kernel) > 0


def filled(rgb_HW3: FloatArray, hidden_HW: np.ndarray) -> FloatArray:
    """(H, W, 3) what may lie in the hidden places; all others stay to the bit.

    A picture that is hidden as a whole is grey.
    """
    known = ~hidden_HW
    if known.all():
        return rgb_HW3
    if not known.any():
        return np.full_like(rgb_HW3, 0.5)
    height, width = known.shape
    sigma = max(1.0, _SMOOTH_PX * max(height, width))
    weight = cv2.GaussianBlur(known.astype(np.float32), (0, 0), sigma)
    sums = cv2.GaussianBlur(rgb_HW3 * known[..., None].astype(np.float32), (0, 0), sigma)
    smooth = np.asarray(sums, np.float32) / np.maximum(weight, 1e-6)[..., None]
    tones = _pushed(np.where(known[..., None], smooth, 0).astype(np.float32), known)
    texture = (rgb_HW3 - smooth)[_mirrored(hidden_HW, sigma)]
    result = np.where(known[..., None], rgb_HW3, np.clip(tones + texture, 0, 1))
    return np.asarray(result, np.float32)


def _mirrored(hidden_HW: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """For every hidden place the row and column of the known one on the other side of the outline.

    The outline is taken smoothed by `sigma`: a mirror with its every bend would fan the texture out.  Where
    the mirror shows another hidden place, it is the nearest known one.
    """
    from scipy import ndimage

    height, width = hidden_HW.shape
    transform: Any = ndimage.distance_transform_edt(hidden_HW, return_indices=True)
    depth, nearest = np.asarray(transform[0], np.float32), np.asarray(transform[1])
    down, right = np.gradient(cv2.GaussianBlur(depth, (0, 0), sigma))
    reach = 2 * depth / np.maximum(np.hypot(down, right), 1e-3)
    rows, columns = np.mgrid[:height, :width]
    row = np.clip(np.rint(rows - reach * down), 0, height - 1).astype(np.intp)
    column = np.clip(np.rint(columns - reach * right), 0, width - 1).astype(np.intp)
    seen = ~hidden_HW[row, column]
    return np.where(seen, row, nearest[0]), np.where(seen, column, nearest[1])


def _pushed(values_HW3: FloatArray, known: np.ndarray) -> FloatArray:
    """(H, W, 3) known values, elsewhere those of the finest level of a pyramid that knows any."""
    sums, weights = [values_HW3], [known.astype(np.float32)]
    while min(weights[-1].shape) > 2:
        sums.append(np.asarray(cv2.pyrDown(sums[-1]), np.float32))
        weights.append(np.asarray(cv2.pyrDown(weights[-1]), np.float32))
    total = float(weights[-1].sum())
    mean = sums[-1].sum(axis=(0, 1)) / max(total, 1e-6)
    result = np.broadcast_to(mean, sums[-1].shape).astype(np.float32)
    for level_sums, weight in zip(reversed(sums), reversed(weights), strict=True):
        height, width = weight.shape
        if result.shape[:2] != (height, width):
            result = np.asarray(cv2.pyrUp(result, dstsize=(width, height)), np.float32)
        own = level_sums / np.maximum(weight, 1e-6)[..., None]
        result = result + (own - result) * np.clip(weight, 0, 1)[..., None]
    return result.astype(np.float32)


def frame(layers: Scene, size: tuple[int, int], motion: Motion, phase: float) -> RGBImage:
    """The frame (w, h) at a phase of the loop: 0 is its beginning, 1 that of the next."""
    near, far = _moves(motion, phase)
    base = _base_zoom(motion)
    behind = _taken(layers.behind_HW3, _places(layers, size, far, base))
    columns, rows = _places(layers, size, near, base)
    if motion.breathing > 0 and layers.chest < 1:
        rows = rows + _risen(rows, layers.chest, motion, phase)
    person = _taken(layers.person_HW4, (columns, rows))
    alpha = np.clip(person[..., 3:], 0, 1)
    mixed = np.maximum(person[..., :3], 0) + behind * (1 - alpha)
    return _coded_table()[
        (np.clip(mixed, 0, 1) * np.float32(_LEVELS - 1) + np.float32(0.5)).astype(np.uint16)
    ]


@cache
def _coded_table() -> np.ndarray:
    """Linear light in 65,536 levels to coded bytes: the darkest steps are a twentieth of a byte."""
    return to_bytes(colour.to_coded(np.arange(_LEVELS, dtype=np.float32) / (_LEVELS - 1)))


def _moves(motion: Motion, phase: float) -> tuple[_Move, _Move]:
    """Of the person and of the backdrop; at rest where a path turns."""
    sine, cosine = np.sin(2 * np.pi * phase), np.cos(2 * np.pi * phase)
    strength = motion.strength
    if motion.path == "push-in":
        far_in = strength * (1 - cosine) / 2
        return _Move(1 + _NEAR_ZOOM * far_in), _Move(1 + _FAR_ZOOM * far_in)
    if motion.path == "orbit":
        x, y = strength * sine, strength * _ORBIT_TALL * cosine
        return _Move(1, _NEAR_ORBIT * x, _NEAR_ORBIT * y), _Move(1, _FAR_ORBIT * x, _FAR_ORBIT * y)
    x = strength * cosine * (1 if motion.path == "drift-right" else -1)
    return _Move(1, _NEAR_DRIFT * x), _Move(1, _FAR_DRIFT * x)


def _base_zoom(motion: Motion) -> float:
    """So much larger that no shift shows what is beyond the picture."""
    if motion.path == "push-in":
        return 1.0
    return 1 + 2 * motion.strength * (_FAR_ORBIT if motion.path == "orbit" else _NEAR_DRIFT)


def _places(layers: Scene, size: tuple[int, int], move: _Move, base: float) -> tuple[FloatArray, FloatArray]:
    """Where the columns (w,) and rows (h,) of a frame lie in the picture, in shares of it."""
    height, width = layers.behind_HW3.shape[:2]
    scale = max(size[0] / width, size[1] / height) * base
    out: list[FloatArray] = []
    for pixels, side, shift, focus in zip(size, (width, height), (move.x, move.y), layers.focus, strict=True):
        shares = 0.5 + (np.arange(pixels) + 0.5 - pixels / 2) / (scale * side) - shift / base
        out.append(focus + (shares - focus) / move.zoom)
    return out[0], out[1]


def _risen(rows: FloatArray, chest: float, motion: Motion, phase: float) -> FloatArray:
    """How much lower in the picture a row is taken from: nothing above the chest and at the lower edge."""
    depth = 1 - chest
    inside = np.clip((rows - chest) / depth, 0, 1)
    breath = (1 - np.cos(2 * np.pi * phase)) / 2
    return motion.breathing * _BREATH * depth * breath * np.sin(np.pi * inside) ** 2


def _taken(layer: FloatArray, places: tuple[FloatArray, FloatArray]) -> FloatArray:
    height, width = layer.shape[:2]
    columns, rows = places[0] * width - 0.5, places[1] * height - 0.5
    maps = np.broadcast_arrays(columns[None].astype(np.float32), rows[:, None].astype(np.float32))
    at = [np.ascontiguousarray(one) for one in maps]
    taken = cv2.remap(layer, at[0], at[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(taken, np.float32)
