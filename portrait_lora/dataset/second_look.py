"""A second detection pass for photos without a confident face.

Detectors are trained on upright, evenly lit, sharp faces.  Leaning heads, pictures on their side, faces half
in the dark and blurred faces are searched for in rotated copies, in copies with lifted shadows, and (because
blur matters less at a smaller scale) in a copy with extended borders.  Results are in pixels of the original
picture.  At most eleven more passes, none for a face detected with confidence.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import cv2
import numpy as np

from portrait_lora.faces.quality import aligned_crop, brightness, sharpness
from portrait_lora.records import Face, FloatArray, RGBImage, readonly

Find = Callable[[RGBImage], list[Face]]

SURE_SCORE: Final = 0.75
"""Upright faces in usable light score more (measured: from 0.8), false positives in rotated copies less."""
_CLEARER: Final = 0.1
_TURNS_DEG: Final = (45.0, -45.0, 90.0, -90.0, 135.0, -135.0, 180.0)
_SHADOW_LUMA: Final = 24
_SHADOW_SHARE: Final = 0.1
_MARGIN: Final = 0.25
_LIFTS: Final = (0.5, 0.3)
"""Exponents on the code values; the second is for sides with only a few code values."""


def second_look(image: RGBImage, faces: list[Face], find: Find) -> tuple[list[Face], bool]:
    """The faces to use, largest first, and whether only lifted shadows reveal them.

    `faces` are those of a first pass over the RGB `image`; they are kept if it was confident, or if no other
    pass is more confident of its largest face (a rotated one by a margin).
    """
    faces = faces or _farther(image, find)
    if faces and faces[0].score >= SURE_SCORE:
        return faces, False
    least = faces[0].score if faces else 0.0
    lifted = _lifted(image, find)  # the same picture, so as sure is sure enough
    if lifted and lifted[0].score >= max(least, SURE_SCORE):
        return lifted, not faces
    to_beat = max([least, *(f.score for f in lifted[:1])])
    turned = _turned(image, find)
    if turned and turned[0].score >= to_beat + (_CLEARER if to_beat else 0.0):
        return turned, False
    if lifted and lifted[0].score >= least:
        return lifted, not faces
    return faces, False


def _farther(image: RGBImage, find: Find) -> list[Face]:
    """Faces of the picture with its borders extended by a quarter on every side."""
    down, across = (round(side * _MARGIN) for side in image.shape[:2])
    copy = cv2.copyMakeBorder(image, down, down, across, across, cv2.BORDER_REPLICATE)
    back = np.array([[1.0, 0.0, -across], [0.0, 1.0, -down]])
    faces = [_face_back(face, back, 0.0) for face in find(np.asarray(copy, dtype=np.uint8))]
    return [f for f in faces if _middle_is_inside(f, image)]


def _middle_is_inside(face: Face, image: RGBImage) -> bool:
    """Whether the centre of the face is inside the original picture."""
    x0, y0, x1, y1 = face.box_xyxy_px
    return 0 < (x0 + x1) / 2 < image.shape[1] and 0 < (y0 + y1) / 2 < image.shape[0]


def _lifted(image: RGBImage, find: Find) -> list[Face]:
    """Faces in a copy with lifted shadows; their brightness is measured in the original."""
    luma = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    if float(np.mean(luma <= _SHADOW_LUMA)) < _SHADOW_SHARE:
        return []
    faces: list[Face] = []
    for exponent in _LIFTS:
        if not faces or faces[0].score < SURE_SCORE:
            table = np.rint(255.0 * (np.arange(256) / 255.0) ** exponent).astype(np.uint8)
            other = find(table[image])
            faces = other if other and (not faces or other[0].score > faces[0].score) else faces
    crops = [np.asarray(aligned_crop(image, f.keypoints_px), dtype=np.uint8) for f in faces]
    return [
        replace(f, brightness=brightness(c), sharpness=sharpness(c))
        for f, c in zip(faces, crops, strict=True)
    ]


def _turned(image: RGBImage, find: Find) -> list[Face]:
    """Faces of the best-scoring rotation, then of the rotation that makes that face upright."""
    best: list[Face] = []
    angle_deg = 0.0
    for turn in _TURNS_DEG:
        faces = _find_turned(image, turn, find)
        if faces and (not best or faces[0].score > best[0].score):
            best, angle_deg = faces, turn
    if not best:
        return []
    upright = roll_deg(best[0])
    if abs(_wrapped(upright - angle_deg)) < 3.0:
        return best
    again = _find_turned(image, upright, find)
    return again if again and again[0].score >= best[0].score - _CLEARER else best


def _find_turned(image: RGBImage, angle_deg: float, find: Find) -> list[Face]:
    """Faces of the picture rotated counter-clockwise, in pixels of the original."""
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle_deg, 1.0)
    cosine, sine = abs(turn[0, 0]), abs(turn[0, 1])
    wide, tall = round(width * cosine + height * sine), round(width * sine + height * cosine)
    turn[:, 2] += (wide - width) / 2, (tall - height) / 2
    copy = cv2.warpAffine(image, turn, (wide, tall), borderMode=cv2.BORDER_REPLICATE)
    back = cv2.invertAffineTransform(turn)
    return [_face_back(face, back, angle_deg) for face in find(np.asarray(copy, dtype=np.uint8))]


def _face_back(face: Face, back: np.ndarray, angle_deg: float) -> Face:
    """The face moved by the affine `back` (2, 3) that turns clockwise by `angle_deg`."""

    def moved(points: FloatArray) -> FloatArray:
        return readonly(np.asarray(points @ back[:, :2].T + back[:, 2], dtype=np.float32))

    x0, y0, x1, y1 = face.box_xyxy_px
    centre = moved(np.array([[(x0 + x1) / 2, (y0 + y1) / 2]], dtype=np.float32))[0]
    # The box around the turned ellipse that fits the old box: the box of its corners would be too large.
    cosine, sine = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    half_wide = math.hypot((x1 - x0) / 2 * cosine, (y1 - y0) / 2 * sine)
    half_tall = math.hypot((x1 - x0) / 2 * sine, (y1 - y0) / 2 * cosine)
    x, y = float(centre[0]), float(centre[1])
    pose, light = face.pose_deg, face.light_direction
    if light is not None:  # x right, y up
        light = (light[0] * cosine + light[1] * sine, light[1] * cosine - light[0] * sine, light[2])
    return replace(
        face,
        box_xyxy_px=(x - half_wide, y - half_tall, x + half_wide, y + half_tall),
        keypoints_px=moved(face.keypoints_px),
        landmarks_px=None if face.landmarks_px is None else moved(face.landmarks_px),
        pose_deg=None if pose is None else (pose[0], pose[1], _wrapped(pose[2] + angle_deg)),
        light_direction=light,
    )


def roll_deg(face: Face) -> float:
    """Clockwise roll of the head, -180..180: from the pack's pose, else the line of the eyes."""
    if face.pose_deg is not None:
        return face.pose_deg[2]
    across = face.keypoints_px[1] - face.keypoints_px[0]
    return math.degrees(math.atan2(float(across[1]), float(across[0])))


def _wrapped(angle_deg: float) -> float:
    return (angle_deg + 180.0) % 360.0 - 180.0
