"""Face detection in very long pictures: downscaling a whole panorama would leave faces a few pixels wide.

It uses windows of twice the shorter side, each overlapping half of the next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from portrait_lora.records import Face, RGBImage, readonly

LONG: Final = 2.5
"""Minimum ratio of longer to shorter side for windows."""
_SAME_PLACE: Final = 0.5

Find = Callable[[RGBImage], list[Face]]


def is_long(size_px: tuple[int, int]) -> bool:
    """Whether a picture of this size (W, H) is processed in windows."""
    return max(size_px) > LONG * min(size_px)


def side_px(size_px: tuple[int, int], detect_side_px: int) -> int:
    """The longer side to downscale a long picture to, so that a window's longer side is `detect_side_px`."""
    return min(max(size_px), round(detect_side_px / 2 * max(size_px) / min(size_px)))


def in_windows(find: Find) -> Find:
    """`find` for pictures of any shape; faces in their pixels, largest first, each once."""

    def everywhere(image: RGBImage) -> list[Face]:
        height, width = image.shape[:2]
        if not is_long((width, height)):
            return find(image)
        across, short = width > height, min(width, height)
        faces: list[Face] = []
        for start in _starts(max(width, height), 2 * short, short):
            part = image[:, start : start + 2 * short] if across else image[start : start + 2 * short]
            offset = (start, 0) if across else (0, start)
            faces += [_moved(face, offset) for face in find(np.ascontiguousarray(part))]
        return _each_once(faces)

    return everywhere


def _starts(length: int, window: int, stride: int) -> list[int]:
    last = max(0, length - window)
    return [*range(0, last, stride), last]


def _moved(face: Face, offset_px: tuple[int, int]) -> Face:
    shift = np.array(offset_px, dtype=np.float32)
    x0, y0, x1, y1 = face.box_xyxy_px
    dx, dy = offset_px
    marks = None if face.landmarks_px is None else readonly(face.landmarks_px + shift)
    box = (x0 + dx, y0 + dy, x1 + dx, y1 + dy)
    return replace(
        face, box_xyxy_px=box, keypoints_px=readonly(face.keypoints_px + shift), landmarks_px=marks
    )


def _each_once(faces: list[Face]) -> list[Face]:
    """Non-maximum suppression: a face cut by one window's border is whole in the next."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda f: (-f.score, f.box_xyxy_px)):
        if not any(_overlap(face, other) > _SAME_PLACE for other in kept):
            kept.append(face)
    return sorted(kept, key=lambda f: -f.size_px)


def _overlap(a: Face, b: Face) -> float:
    """Intersection over the smaller box."""
    ax0, ay0, ax1, ay1 = a.box_xyxy_px
    bx0, by0, bx1, by1 = b.box_xyxy_px
    wide, tall = min(ax1, bx1) - max(ax0, bx0), min(ay1, by1) - max(ay0, by0)
    least = min((ax1 - ax0) * (ay1 - ay0), (bx1 - bx0) * (by1 - by0))
    return max(0.0, wide) * max(0.0, tall) / max(least, 1e-6)
