"""Framings of photographs: all hair in the picture, nothing mirrored, no second face where it can be avoided.

Heads are not turned upright: how a person holds the head is part of the likeness, and a turned crop
would need invented corners.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from portrait_lora.dataset.crop import (
    CLOSE_FRACTION,
    HEAD_PER_FACE,
    MAX_ENLARGEMENT,
    MAX_FRACTION,
    WIDE_FRACTION,
    Framing,
    as_sizes,
    face_height,
)
from portrait_lora.records import Face, RGBImage

Box = tuple[float, float, float, float]
FindFaces = Callable[[RGBImage], list[Face]]
_FIND_PX: Final = 1280
"""Longer side of the picture in which other faces are looked for."""
_SAME_FACE: Final = 0.4
"""Common area over that of the smaller box from which two boxes are one face."""
_HEADROOM: Final = 0.04
"""Headroom above the hair, in crop heights."""
_SIDE_ROOM: Final = 1.06
"""Width of the crop over that of face and hair, at least."""
_CHIN_ROOM: Final = 0.14
"""Room below the chin, in face heights, at least: a cut chin spoils a portrait more than cut hair."""
_LOOSEST: Final = 0.5
"""Minimum head height over picture height: very wide hair is cut rather than the face made small."""
_TIGHTER: Final = (1.0, 0.9, 0.8)
_ASIDE: Final = (0.0, -0.08, 0.08, -0.16, 0.16)
"""Sizes and shifts (in crop widths) tried to keep another face out."""
_DIFFERENT: Final = 0.04
_WINDOW: Final = (2.2, 1.7, 2.2, 2.7)
"""Left, above, right and below the middle of the face, in face heights."""
_NARROWER: Final = (1.0, 0.85, 0.7, 0.6, 0.5, 0.42)
_RIVAL: Final = 0.8
"""Another face from this share of the subject's height might be taken for the larger one."""


def other_faces(image_rgb: RGBImage, face: Face, find: FindFaces) -> list[Box]:
    """The boxes of all faces but the subject's own, in pixels of the picture."""
    scale = min(1.0, _FIND_PX / max(image_rgb.shape[:2]))
    size = (max(8, round(image_rgb.shape[1] * scale)), max(8, round(image_rgb.shape[0] * scale)))
    small = image_rgb if scale == 1.0 else cv2.resize(image_rgb, size, interpolation=cv2.INTER_AREA)
    boxes = [_scaled(other.box_xyxy_px, 1 / scale) for other in find(np.asarray(small, dtype=np.uint8))]
    own = face.box_xyxy_px
    return [b for b in boxes if _area(_common(b, own)) < _SAME_FACE * min(_area(b), _area(own))]


def _scaled(box: Box, by: float) -> Box:
    return box[0] * by, box[1] * by, box[2] * by, box[3] * by


def subject_window(
    photo_size_px: tuple[int, int], face: Face, others_xyxy_px: Sequence[Box] = ()
) -> tuple[int, int, int, int]:
    """Head and shoulders with their surroundings, in which the subject's face is the largest.

    Whoever looks at such a picture (another detector, a page, a person) sees whose it is.  Narrowed as far as
    other faces of the same size or larger ask for.
    """
    (width, height), size = photo_size_px, face_height(face)
    x0, y0, x1, y1 = face.box_xyxy_px
    middle = ((x0 + x1) / 2, (y0 + y1) / 2)
    rivals = [box for box in others_xyxy_px if box[3] - box[1] >= _RIVAL * size]
    window = (0, 0, width, height)
    for narrower in _NARROWER:
        left, top, right, bottom = (narrower * size * room for room in _WINDOW)
        window = (
            max(0, round(middle[0] - left)),
            max(0, round(middle[1] - top)),
            min(width, round(middle[0] + right)),
            min(height, round(middle[1] + bottom)),
        )
        if not any(_centre_inside(box, window) for box in rivals):
            break
    return window


def _centre_inside(box: Box, window: tuple[int, int, int, int]) -> bool:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return window[0] < x < window[2] and window[1] < y < window[3]


def frame_photograph(
    source: Path,
    photo_size_px: tuple[int, int],
    face: Face,
    head_xyxy_px: Box,
    sizes_px: int | tuple[int, int] | Sequence[tuple[int, int]],
    count: int = 2,
    others_xyxy_px: Sequence[Box] = (),
) -> list[Framing]:
    """Up to `count` different framings from close to wide, all inside the photo.

    `head_xyxy_px` is the box of face and hair, `others_xyxy_px` those of other people.  A photo
    that is too small gives a closer or a more enlarged crop.
    """
    sizes = as_sizes(sizes_px)
    middle = (CLOSE_FRACTION + WIDE_FRACTION) / 2
    spread = [middle] if count == 1 else [float(f) for f in np.linspace(CLOSE_FRACTION, WIDE_FRACTION, count)]
    framings: list[Framing] = []
    for index, fraction in enumerate(spread):
        size = sizes[index % len(sizes)]
        boxes = [
            _box(photo_size_px, face, head_xyxy_px, size, fraction, tighter, aside)
            for tighter, aside in product(_TIGHTER, _ASIDE)
        ]
        box = min(boxes, key=lambda b: _cost(b, head_xyxy_px, face, others_xyxy_px))
        one = Framing(source, box, size, HEAD_PER_FACE * face_height(face) / (box[3] - box[1]))
        if all(_differs(one, other) for other in framings):
            framings.append(one)
    return framings


def _box(
    photo_size_px: tuple[int, int],
    face: Face,
    head: Box,
    size_px: tuple[int, int],
    fraction: float,
    tighter: float,
    aside: float,
) -> tuple[int, int, int, int]:
    width, height = photo_size_px
    ratio, (x0, _, x1, y1), tall_face = size_px[0] / size_px[1], face.box_xyxy_px, face_height(face)
    upright = HEAD_PER_FACE * tall_face
    most = min(float(height), width / ratio)
    with_hair = max(
        (y1 + _CHIN_ROOM * tall_face - head[1]) / (1 - _HEADROOM), _SIDE_ROOM * (head[2] - head[0]) / ratio
    )
    least = max(upright / MAX_FRACTION, size_px[1] / MAX_ENLARGEMENT)
    closest = max(upright / CLOSE_FRACTION, min(with_hair, upright / _LOOSEST))
    wished = closest * tighter * CLOSE_FRACTION / fraction
    tall = min(max(wished, least), most)
    wide = tall * ratio
    across, down = min(round(wide), width), min(round(tall), height)
    middle = (max(head[0], x0 - tall_face) + min(head[2], x1 + tall_face)) / 2
    left = _between(middle - wide / 2 + aside * wide, x1 - 0.97 * wide, x0 - 0.03 * wide)
    top = head[1] - _HEADROOM * tall
    top = max(top, y1 + _CHIN_ROOM * tall_face - tall)
    left_px = int(_between(round(left), 0, width - across))
    top_px = int(_between(round(top), 0, height - down))
    return left_px, top_px, left_px + across, top_px + down


def _between(value: float, low: float, high: float) -> float:
    """`value` within the limits; their middle when they cross."""
    return (low + high) / 2 if low > high else min(max(value, low), high)


def _cost(
    box: tuple[int, int, int, int], head: Box, face: Face, others: Sequence[Box]
) -> tuple[float, float]:
    """Other faces that are seen, in areas of the own one and in steps; then the share of hair that is cut."""
    own = face_height(face) ** 2
    seen = sum(_area(_common(box, other)) for other in others) / own
    cut = 1.0 - _area(_common(box, head)) / max(_area(head), 1.0)
    return round(8 * seen) / 8 + (1.0 if cut > 0.1 else 0.0), round(cut, 2)


def _common(a: Sequence[float], b: Sequence[float]) -> Box:
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def _area(box: Sequence[float]) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _differs(a: Framing, b: Framing) -> bool:
    apart = max(abs(p - q) for p, q in zip(a.box_xyxy_px, b.box_xyxy_px, strict=True))
    return apart > _DIFFERENT * (a.box_xyxy_px[3] - a.box_xyxy_px[1])
