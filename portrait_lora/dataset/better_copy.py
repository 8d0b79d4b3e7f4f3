"""Which of several copies of one picture to keep: the most detailed, then the uncropped, then the untouched.

Copies are compared at the size at which the check looks at photos, so all is measured on the same view.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from portrait_lora.faces.quality import ALIGNED_PX, aligned_crop, blur_px, source_px_per_aligned_px
from portrait_lora.records import Face, Photo, RGBImage

_MOST_ALIGNED: Final = 4
"""The face is measured at up to this many times the aligned crop's size: 448 px are enough for every base."""
_SHARP_PX: Final = 0.8
"""Blur below this is no detail: pixels do not resolve more, and sharpening comes out below it."""
_DETAIL_TIE: Final = 0.8
"""Keypoints of copies differ by some percent, and so does the detail that follows from their distance."""
_CONTENT_TIE: Final = 0.985
"""A crop of 1 % of each side loses 2 % of the area."""
_ROUGH_TIE: Final = 0.9
"""A border or a bar with text on it adds some content, and much that is flat."""
_SIZE_TIE: Final = 0.9
_CLIPPED_TIE: Final = 0.005
_FLAT_LEVELS: Final = 4
"""Range within 3 × 3 pixels of a dead flat part; JPEG rings by some levels around the text on a bar."""
_DARK, _BRIGHT = 2, 253
_GREY_CHROMA: Final = 2.0


@dataclass(frozen=True, slots=True)
class CopyQuality:
    """What tells copies of one picture apart."""

    detail_px: float  # resolvable pixels across the aligned face
    content: (
        float  # area of the picture without dead flat parts, such as borders, in squares of the face's size
    )
    flat_share: float  # of the picture: borders, bars of a screenshot, burnt-out highlights
    grey: bool
    clipped_share: float  # of all values: brightening and sharpening clip
    pixels: int  # of the original
    bytes: int  # of the file; 0 unknown


def quality_of(photo: Photo, image_rgb: RGBImage, face: Face) -> CopyQuality:
    """Measure a picture; `face` is in its pixels, `photo` has the full size."""
    native = max(source_px_per_aligned_px(face.keypoints_px), 1e-3)
    times = int(np.clip(np.ceil(native), 1, _MOST_ALIGNED))
    crop = np.asarray(aligned_crop(image_rgb, face.keypoints_px, ALIGNED_PX * times), dtype=np.uint8)
    sampled_px = times / min(native, times)  # of the crop per pixel of the picture
    resolved = ALIGNED_PX * times / max(blur_px(crop), _SHARP_PX * sampled_px)
    luma = cv2.cvtColor(np.ascontiguousarray(image_rgb), cv2.COLOR_RGB2GRAY)
    square = np.ones((3, 3), np.uint8)
    spread = cv2.dilate(luma, square).astype(np.int16) - cv2.erode(luma, square)
    flat = float(np.mean(spread <= _FLAT_LEVELS))
    face_area = (ALIGNED_PX * native) ** 2
    chroma = image_rgb.max(axis=2).astype(np.int16) - image_rgb.min(axis=2)
    return CopyQuality(
        detail_px=resolved,
        content=(1 - flat) * luma.size / face_area,
        flat_share=flat,
        grey=float(chroma.mean()) < _GREY_CHROMA,
        clipped_share=float(np.mean((image_rgb <= _DARK) | (image_rgb >= _BRIGHT))),
        pixels=photo.size_px[0] * photo.size_px[1],
        bytes=photo.path.stat().st_size if photo.path.is_file() else 0,
    )


def best_copy(copies: Sequence[tuple[Photo, CopyQuality]]) -> int:
    """The index of the copy to keep.

    Measure after measure leaves those that are nearly the best; the last ones are the size of the file, as
    recompression makes it smaller, and the name.  The answer does not depend on the order.
    """
    left = list(range(len(copies)))

    def keep(value: Callable[[CopyQuality], float], least: Callable[[float], float]) -> None:
        nonlocal left
        limit = least(max(value(copies[i][1]) for i in left))
        left = [i for i in left if value(copies[i][1]) >= limit]

    keep(lambda q: q.detail_px, lambda most: most * _DETAIL_TIE)
    keep(lambda q: float(not q.grey), lambda most: most)
    keep(lambda q: q.content, lambda most: most * _ROUGH_TIE)
    keep(lambda q: 1 - q.flat_share, lambda most: most * _ROUGH_TIE)
    keep(lambda q: q.content, lambda most: most * _CONTENT_TIE)
    keep(lambda q: q.pixels, lambda most: most * _SIZE_TIE)
    keep(lambda q: -q.clipped_share, lambda most: most - _CLIPPED_TIE)
    keep(lambda q: q.bytes, lambda most: most)
    return min(left, key=lambda i: (copies[i][0].path.name, i))
