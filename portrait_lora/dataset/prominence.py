"""Which face of a picture is the subject's, and whether anybody else's counts beside it.

Large, central, whole and sharp faces are what a picture is of; spectators are smaller, at the edge, cut by
the border or out of focus.  Faces are in pixels of `image`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from portrait_lora.dataset import crop
from portrait_lora.dataset.findings import CheckSettings
from portrait_lora.faces.quality import aligned_crop, blur_px, source_px_per_aligned_px
from portrait_lora.records import Face, Finding, FloatArray, Photo, RGBImage

RIVAL: Final = 0.55
"""Prominence over the subject's from which a face in the training crop counts.  Tuned on 45 photographs (LFW,
two athletes) with a second face in the crop: in company 8 of 9 are above, before spectators 2 of 34; on the
other photographs 12 of 14, and 1 of 2."""
_EDGE_LOSS: Final = 0.6  # of the prominence is lost by a face at the left or right border
_CUT_LOSS: Final = 0.5
_CUT_BELOW: Final = 0.01  # of a face size of room to the border
_FOCUS_SLACK: Final = 1.5  # as sharp as the subject up to this ratio of blur
_IN_CROP: Final = 0.3  # of a face's box
_SURER: Final = 0.15
"""A smaller face is the subject only if it is clearly more like the rest of the set: a cosine's scatter."""


def prominence(face: Face, image_rgb: RGBImage, best_score: float) -> float:
    """Pixels: the size of the face, less for one off the middle, cut by the border or doubted."""
    height, width = image_rgb.shape[:2]
    x0, y0, x1, y1 = face.box_xyxy_px
    aside = min(1.0, abs(x0 + x1 - width) / width)
    room = min(x0, y0, width - x1, height - y1)
    whole = 1.0 if room >= _CUT_BELOW * face.size_px else _CUT_LOSS
    return face.size_px * (1 - _EDGE_LOSS * aside) * whole * (face.score / max(best_score, 1e-6)) ** 2


def ordered(faces: Sequence[Face], image_rgb: RGBImage) -> list[Face]:
    """The most prominent first, so that the first is taken for the subject."""
    best = max((f.score for f in faces), default=1.0)
    return sorted(faces, key=lambda f: -prominence(f, image_rgb, best))


def most_like(faces: Sequence[Face], subject: FloatArray | None) -> list[Face]:
    """The same faces, first the one like `subject` (D,), if it clearly is more so than the first."""
    if subject is None or len(faces) < 2:
        return list(faces)
    cosines = [float(f.embedding @ subject) for f in faces]
    best = int(np.argmax(cosines))
    if cosines[best] < cosines[0] + _SURER:
        return list(faces)
    return [faces[best], *(f for i, f in enumerate(faces) if i != best)]


def rivalry(face: Face, other: Face, image_rgb: RGBImage) -> float:
    """Prominence of another face over that of the subject's; less when it is out of focus."""
    best = max(face.score, other.score)
    ratio = prominence(other, image_rgb, best) / max(prominence(face, image_rgb, best), 1e-6)
    return ratio * min(1.0, _FOCUS_SLACK * _softness(face, image_rgb) / _softness(other, image_rgb))


def _softness(face: Face, image_rgb: RGBImage) -> float:
    """Blur in face sizes."""
    aligned = np.asarray(aligned_crop(image_rgb, face.keypoints_px), dtype=np.uint8)
    return max(blur_px(aligned) * source_px_per_aligned_px(face.keypoints_px) / face.size_px, 1e-6)


def several_faces(
    photo: Photo, faces: Sequence[Face], image_rgb: RGBImage, settings: CheckSettings
) -> Iterator[Finding]:
    """Rejects for a rival in the training crop too, warns of others.  The subject's face is first."""
    subject, *rest = faces
    others = prominent(subject, rest, settings)
    if not others:
        return
    height, width = image_rgb.shape[:2]
    side = crop.MAX_ENLARGEMENT * settings.min_side_px * max(width, height) / max(photo.size_px)
    widest = crop.frame(photo.path, (width, height), subject, max(8, round(side)))[-1].box_xyxy_px
    inside = [rivalry(subject, f, image_rgb) for f in others if is_in(widest, f)]
    if inside and max(inside) >= RIVAL:
        advice = (
            "Somebody else is as prominent, and too close to be cropped away. Use a photo of the subject."
        )
        yield Finding("several_faces", "reject", max(inside), RIVAL, advice)
        return
    share, limit = max(f.size_px for f in others) / subject.size_px, settings.several_faces_ratio
    cropped = "Others are in the photo; it is cropped to the subject, so nothing need be done."
    behind = "Somebody else is behind or at the edge, in the crop too. A photo without them teaches more."
    yield Finding("several_faces", "warn", share, limit, behind if inside else cropped)


def prominent(subject: Face, others: Sequence[Face], settings: CheckSettings) -> list[Face]:
    """The other faces that are large enough to be somebody in the picture."""
    return [f for f in others if f.size_px >= settings.several_faces_ratio * subject.size_px]


def is_in(box_xyxy_px: tuple[float, ...], face: Face) -> bool:
    """Whether a good part of the face is inside a box."""
    x0, y0, x1, y1 = face.box_xyxy_px
    wide = max(0.0, min(x1, box_xyxy_px[2]) - max(x0, box_xyxy_px[0]))
    tall = max(0.0, min(y1, box_xyxy_px[3]) - max(y0, box_xyxy_px[1]))
    return wide * tall >= _IN_CROP * max((x1 - x0) * (y1 - y0), 1e-6)
