"""Head-and-shoulders framings around a face, the crops themselves and soft person masks.

Boxes are (x0, y0, x1, y1) in pixels of the upright original and may extend beyond it; the outside is
filled by mirroring at the border.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from PIL import Image

from portrait_lora import provenance, vocabulary
from portrait_lora.errors import InputError
from portrait_lora.records import Face, RGBImage

HEAD_PER_FACE: Final = 1.14
"""Height of the head (crown to chin) over the height of the face box."""
HAIR_SHARE: Final = 0.20
"""Height of the hair above the face box, in face heights."""
BACK_SHARE: Final = 0.22
"""Offset of the head's centre behind that of the face box in full profile, in face heights."""
CLOSE_FRACTION: Final = 0.76
WIDE_FRACTION: Final = 0.64
CLOSE_UP_FROM: Final = 0.71
"""Minimum head height over picture height of a close-up."""
MAX_FRACTION: Final = 0.86
HEADROOM: Final = 0.07
"""Headroom above the hair, in crop heights."""
MAX_ENLARGEMENT: Final = 1.5


@dataclass(frozen=True, slots=True)
class Framing:
    """One way to crop one photo; `head_fraction` is head height over crop height."""

    source: Path
    box_xyxy_px: tuple[int, int, int, int]
    size_px: tuple[int, int]  # W, H of the finished crop
    head_fraction: float

    @property
    def shot(self) -> str:
        """The word of `vocabulary.SHOTS`."""
        return vocabulary.SHOTS[0 if self.head_fraction >= CLOSE_UP_FROM else 1]

    @property
    def scale(self) -> float:
        """Crop pixels per pixel of the original; above 1 the picture is upscaled."""
        return self.size_px[1] / (self.box_xyxy_px[3] - self.box_xyxy_px[1])


def as_size(size_px: int | tuple[int, int]) -> tuple[int, int]:
    """(W, H) of a side or a size; ValueError unless positive."""
    width, height = (size_px, size_px) if isinstance(size_px, int) else size_px
    if min(width, height) < 8:
        raise ValueError(f"crops of {width}x{height} px: at least 8 px needed")
    return width, height


def bucket_sizes(resolution_px: int, aspects: Sequence[str] = ("1:1",)) -> list[tuple[int, int]]:
    """(W, H) for every aspect ratio `W:H`: the area of a square of `resolution_px`, in latent multiples.

    Raises InputError for an invalid aspect ratio.
    """
    step = 64 if resolution_px >= 512 else 8
    sizes = []
    for aspect in aspects:
        wide, sep, tall = aspect.partition(":")
        if not sep or not wide.isdecimal() or not tall.isdecimal() or min(int(wide), int(tall)) < 1:
            raise InputError("not an aspect ratio", where="dataset.aspects", got=aspect, needed="such as 3:4")
        stretch = (int(wide) / int(tall)) ** 0.5
        width, height = (
            max(step, round(side / step) * step)
            for side in (resolution_px * stretch, resolution_px / stretch)
        )
        sizes.append((width, height) if wide != tall else (resolution_px, resolution_px))
    return sizes


def face_height(face: Face) -> float:
    """The height of the face in pixels, corrected for squashed boxes."""
    x0, y0, x1, y1 = face.box_xyxy_px
    return max(y1 - y0, 1.05 * (x1 - x0), 1.0)


def turn_of(face: Face) -> float:
    """The sine of the yaw; 0 when the pose is not known."""
    return float(np.sin(np.deg2rad(face.pose_deg[1]))) if face.pose_deg else 0.0


def frame(
    source: Path,
    photo_size_px: tuple[int, int],
    face: Face,
    sizes_px: int | tuple[int, int] | Sequence[tuple[int, int]],
    count: int = 2,
) -> list[Framing]:
    """Up to `count` different framings from close to wide; fewer if the photo does not allow them.

    Framings cycle through several sizes (buckets); one that would exceed the photo is replaced by a size
    that does not, if there is one.
    """
    sizes = as_sizes(sizes_px)
    if count == 1:
        fractions = [(CLOSE_FRACTION + WIDE_FRACTION) / 2]
    else:
        fractions = [float(f) for f in np.linspace(CLOSE_FRACTION, WIDE_FRACTION, max(count, 1))]
    framings: list[Framing] = []
    for index, fraction in enumerate(fractions):
        turn = index % len(sizes)
        candidates = [
            _framing(source, photo_size_px, face, size, fraction) for size in sizes[turn:] + sizes[:turn]
        ]
        one = min(candidates, key=lambda c: _outside(c.box_xyxy_px, photo_size_px))
        if all(_differs(one, other) for other in framings):
            framings.append(one)
    return framings


def as_sizes(sizes_px: int | tuple[int, int] | Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """A list of (W, H) from a side, a size or several sizes."""
    if isinstance(sizes_px, int):
        return [as_size(sizes_px)]
    sides = [s for s in sizes_px if isinstance(s, int)]
    if len(sides) == 2:
        return [as_size((sides[0], sides[1]))]
    return [as_size(s) for s in sizes_px if not isinstance(s, int)]


def _framing(
    source: Path, photo_size_px: tuple[int, int], face: Face, size: tuple[int, int], fraction: float
) -> Framing:
    box = _box(photo_size_px, face, size, fraction)
    return Framing(source, box, size, HEAD_PER_FACE * face_height(face) / (box[3] - box[1]))


def _outside(box: tuple[int, int, int, int], photo_size_px: tuple[int, int]) -> int:
    """The largest distance by which a box exceeds the photo, in pixels."""
    width, height = photo_size_px
    return max(0, -box[0], -box[1], box[2] - width, box[3] - height)


def _differs(a: Framing, b: Framing) -> bool:
    apart = max(abs(p - q) for p, q in zip(a.box_xyxy_px, b.box_xyxy_px, strict=True))
    return apart > 0.04 * (a.box_xyxy_px[3] - a.box_xyxy_px[1])


def _box(
    photo_size_px: tuple[int, int], face: Face, size_px: tuple[int, int], fraction: float
) -> tuple[int, int, int, int]:
    """The crop box: as requested, but limited in upscaling, and inside the photo if the head allows it."""
    width, height = photo_size_px
    ratio = size_px[0] / size_px[1]
    head = HEAD_PER_FACE * face_height(face)
    x0, y0, x1, _ = face.box_xyxy_px
    least = max(head / MAX_FRACTION, size_px[1] / MAX_ENLARGEMENT, (x1 - x0) * 1.15 / ratio)
    most = min(float(height), width / ratio)
    tall = max(min(max(head / fraction, least), max(most, least)), 8.0)
    wide = tall * ratio
    top = y0 - HAIR_SHARE * face_height(face) - HEADROOM * tall
    left = (x0 + x1) / 2 - BACK_SHARE * face_height(face) * turn_of(face) - wide / 2
    across, down = max(8, round(wide)), max(8, round(tall))
    left, top = _inside(left, across, width), _inside(top, down, height)
    return left, top, left + across, top + down


def _inside(start: float, length: int, limit: int) -> int:
    """Shift an interval into [0, limit]; centre it when it is longer than that."""
    if length > limit:
        return -((length - limit) // 2)
    return int(min(max(round(start), 0), limit - length))


def render_crop(image_rgb: RGBImage, framing: Framing) -> RGBImage:
    """The finished crop, (H, W, 3) uint8; mirrored where the box exceeds the picture."""
    part = cut(image_rgb, framing.box_xyxy_px)
    resized = Image.fromarray(part).resize(framing.size_px, Image.Resampling.LANCZOS)
    return np.array(resized, dtype=np.uint8)


def cut(image_rgb: RGBImage, box_xyxy_px: tuple[int, int, int, int]) -> RGBImage:
    """The pixels of a box, mirrored where it exceeds the picture."""
    x0, y0, x1, y1 = box_xyxy_px
    height, width = image_rgb.shape[:2]
    part = image_rgb[max(y0, 0) : min(y1, height), max(x0, 0) : min(x1, width)]
    pad = (max(-y0, 0), max(y1 - height, 0), max(-x0, 0), max(x1 - width, 0))
    if any(pad):
        part = cv2.copyMakeBorder(np.ascontiguousarray(part), *pad, cv2.BORDER_REFLECT_101)
    return np.ascontiguousarray(part, dtype=np.uint8)


def person_mask(face: Face, framing: Framing) -> RGBImage:
    """An estimated soft mask of the person in the crop, (H, W) uint8: head ellipse, neck and shoulders."""
    torso = ((0.42, 0.75), (1.25, 1.1), (1.45, 3.5), (-1.45, 3.5), (-1.25, 1.1), (-0.42, 0.75))
    return _soft_mask(face, framing, ((-0.34, 0.3), (0.34, 0.3), *torso))


def head_mask(face: Face, framing: Framing) -> RGBImage:
    """The same for head and neck only, without clothes."""
    return _soft_mask(face, framing, ((-0.34, 0.3), (0.34, 0.3), (0.36, 0.75), (-0.36, 0.75)))


def _soft_mask(face: Face, framing: Framing, outline: Sequence[tuple[float, float]]) -> RGBImage:
    """The head, and a polygon around the middle of the face in face heights, with a soft edge."""
    width, height = framing.size_px
    origin = np.array(framing.box_xyxy_px[:2], dtype=np.float64)
    x0, y0, x1, y1 = face.box_xyxy_px
    face_h, face_w = face_height(face), max(x1 - x0, 0.6 * (y1 - y0))
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2])

    def place(x: float, y: float) -> tuple[int, int]:
        at = (np.array([x, y]) - origin) * framing.scale
        return round(float(at[0])), round(float(at[1]))

    mask = np.zeros((height, width), dtype=np.uint8)
    turn = turn_of(face)
    reach = 0.72 * face_w + 0.2 * face_h * abs(turn)
    axes = (max(1, round(reach * framing.scale)), max(1, round(0.74 * face_h * framing.scale)))
    middle = place(centre[0] - BACK_SHARE * face_h * turn, centre[1] - 0.12 * face_h)
    cv2.ellipse(mask, middle, axes, 0, 0, 360, 255, -1)
    below = [place(centre[0] + dx * face_h, centre[1] + dy * face_h) for dx, dy in outline]
    cv2.fillPoly(mask, [np.array(below, dtype=np.int32)], 255)
    if face.landmarks_px is not None:
        marks = ((face.landmarks_px - origin) * framing.scale).round().astype(np.int32)
        cv2.fillConvexPoly(mask, cv2.convexHull(marks), 255)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), max(1.0, 0.06 * face_h * framing.scale)), dtype=np.uint8)


def save_png(path: Path, pixels: RGBImage, *, studio: bool = False) -> None:
    """A PNG of (H, W) or (H, W, 3) pixels without EXIF, profile or text.

    Only crops of a `studio` picture carry the synthetic studio's mark, bound to the pixels.
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=False)
    path.write_bytes(provenance.studio_marked(buffer.getvalue()) if studio else buffer.getvalue())
