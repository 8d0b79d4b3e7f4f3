"""Head pose and expression from 68 landmarks, by the tiny networks of a pack."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from portrait_lora.faces.packs import LandmarkHead

Floats = npt.NDArray[np.float64]
FEATURES: Final = 139
"""68 × (x, y) normalised, the in-plane angle in radians, and the two eye gaps over eye distance."""
_RIGHT_EYE: Final = slice(36, 42)
_LEFT_EYE: Final = slice(42, 48)
_MOUTH: Final = slice(48, 68)


def five_points(landmarks_px: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """(68, 2) -> (5, 2): eyes (means of the lids), nose tip, mouth corners, as detectors order them."""
    p = np.asarray(landmarks_px, dtype=np.float64)
    eyes = p[_RIGHT_EYE].mean(0), p[_LEFT_EYE].mean(0)
    return np.stack([*eyes, p[30], p[48], p[54]]).astype(np.float32)


def lean_deg(keypoints_px: npt.NDArray[np.floating]) -> float:
    """Clockwise roll of five points: the angle of the line from the eyes to the mouth, -180..180."""
    p = np.asarray(keypoints_px, dtype=np.float64)
    across, down = p[3:5].mean(0) - p[:2].mean(0)
    return float(np.degrees(np.arctan2(-across, down)))


def normalise(landmarks_px: npt.NDArray[np.floating]) -> Floats:
    """(…, 68, 2) pixels -> (…, FEATURES): without position, size and in-plane rotation (kept as an angle).

    "Upright" is the line from the middle of the eyes to the middle of the mouth, which stays long in
    every pose; the size is the root-mean-square distance from the centre.
    """
    p = np.asarray(landmarks_px, dtype=np.float64)
    p = p - p.mean(-2, keepdims=True)
    p = p / np.maximum(np.sqrt((p**2).sum(-1).mean(-1)), 1e-6)[..., None, None]
    eyes = (p[..., _RIGHT_EYE, :].mean(-2) + p[..., _LEFT_EYE, :].mean(-2)) / 2
    down = p[..., _MOUTH, :].mean(-2) - eyes
    angle = np.arctan2(-down[..., 0], down[..., 1])
    c, s = np.cos(angle), np.sin(angle)
    x = c[..., None] * p[..., 0] + s[..., None] * p[..., 1]
    y = -s[..., None] * p[..., 0] + c[..., None] * p[..., 1]
    flat = np.stack([x, y], -1).reshape(*p.shape[:-2], 136)
    extra = np.stack([angle, _eye_gap(x, y, 36), _eye_gap(x, y, 42)], -1)
    return np.concatenate([flat, extra], -1)


def _eye_gap(x: Floats, y: Floats, first: int) -> Floats:
    """Height over width of one eye."""

    def far(a: int, b: int) -> Floats:
        return np.hypot(x[..., first + a] - x[..., first + b], y[..., first + a] - y[..., first + b])

    return (far(1, 5) + far(2, 4)) / np.maximum(2 * far(0, 3), 0.05)


def run_head(head: LandmarkHead, features: Floats) -> Floats:
    """The outputs of a tiny network, one per label."""
    x = (features - np.asarray(head.mean)) / np.asarray(head.scale)
    x = np.clip(x, -6.0, 6.0)
    for i, (weight, bias) in enumerate(zip(head.weights, head.biases, strict=True)):
        x = x @ np.asarray(weight).T + np.asarray(bias)
        x = np.tanh(x) if i + 1 < len(head.weights) else x
    return x


def pose(head: LandmarkHead, landmarks_px: npt.NDArray[np.floating]) -> tuple[float, float, float]:
    """Pitch, yaw, roll in degrees."""
    pitch, yaw, roll = run_head(head, normalise(landmarks_px))
    return float(pitch), float(yaw), float(roll)


def expression(head: LandmarkHead, landmarks_px: npt.NDArray[np.floating]) -> str:
    """The most likely label."""
    return head.labels[int(run_head(head, normalise(landmarks_px)).argmax())]
