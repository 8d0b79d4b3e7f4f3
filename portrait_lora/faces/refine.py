"""Keypoints detected once more in an upright window of fixed scale and in its mirror image, and averaged.

A small detector places the points of a face from its anchors: on a whole photograph YuNet's follow a third of
the head's lean only, and jitter.  In a window with a face of fixed size they follow 80 % (against a dense
mesh on photographs: roll wrong by 4.0° before and 2.6° after, yaw by 4.4° and 2.9°; cosine of two photographs
of one person 0.57 and 0.60).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from portrait_lora.faces.pose import pose_of_points
from portrait_lora.records import RGBImage

Points = npt.NDArray[np.float64]
DetectPoints = Callable[[RGBImage], npt.NDArray[np.float32]]
"""(N, 5, 2) keypoints of the faces in an RGB picture."""

_WINDOW_PX: Final = 432
"""With faces of 240 px; of windows with faces of 96, 160, 240 and 400 px the least error of the roll."""
_FACE_SHARE: Final = 1 / 1.8  # 0.4 of its size around the face
_FACE_PER_SPREAD: Final = 4.2
"""Size of a face box over the root-mean-square distance of the five points from their centre."""
_FARTHEST: Final = 0.3
"""A face whose centre is farther away, in face sizes, is somebody else's."""
_MIRRORED: Final = [1, 0, 2, 4, 3]


def refined(
    image_rgb: RGBImage,
    keypoints_px: npt.NDArray[np.floating],
    detect: DetectPoints,
    *,
    largest_px: int = _WINDOW_PX,
) -> npt.NDArray[np.float32]:
    """(5, 2) keypoints after two rounds; those given where the window shows no face.

    The window is square, of at most `largest_px`.
    """
    side = min(_WINDOW_PX, largest_px)
    points = np.asarray(keypoints_px, dtype=np.float64)
    for _ in range(2):
        if not np.isfinite(points).all() or _spread(points) < 1.0:
            return np.asarray(keypoints_px, dtype=np.float32)
        points = _round(image_rgb, points, detect, side)
    return points.astype(np.float32)


def _spread(points: Points) -> float:
    return float(np.sqrt(((points - points.mean(0)) ** 2).sum(1).mean()))


def _round(image_rgb: RGBImage, points: Points, detect: DetectPoints, side: int) -> Points:
    """The mean of the points found in the window, turned upright, and in its mirror image."""
    scale = side * _FACE_SHARE / (_FACE_PER_SPREAD * _spread(points))
    roll = np.radians(pose_of_points(points)[2])
    turn = scale * np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    shift = np.full(2, side / 2) - turn @ points.mean(0)
    window = _window(image_rgb, turn, shift, scale, side)
    nearest = [_nearest(detect(w), side) for w in (window, np.ascontiguousarray(window[:, ::-1]))]
    if nearest[1] is not None:
        nearest[1] = (np.array([side - 1.0, 0.0]) + nearest[1] * (-1, 1))[_MIRRORED]
    seen = [f for f in nearest if f is not None]
    return (np.mean(seen, axis=0) - shift) @ np.linalg.inv(turn).T if seen else points


def _window(image_rgb: RGBImage, turn: Points, shift: Points, scale: float, side: int) -> RGBImage:
    """The square around the face; large faces are reduced by area first, so that they do not alias."""
    source = image_rgb
    if scale < 1.0:
        source = cv2.resize(image_rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        turn = turn / scale
    affine = np.column_stack([turn, shift])
    window = cv2.warpAffine(source, affine, (side, side), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(window, dtype=np.uint8)


def _nearest(faces: npt.NDArray[np.float32], side: int) -> Points | None:
    """The points nearest to the middle of the window; None when none are near."""
    away = [float(np.linalg.norm(points.mean(0) - side / 2)) for points in faces]
    if not away or min(away) > _FARTHEST * _FACE_SHARE * side:
        return None
    return np.asarray(faces[int(np.argmin(away))], dtype=np.float64)
