"""Soft masks of the person on a photograph, for packs without a segmenter: head with all its hair, shoulders.

The proportions of `crop.person_mask` hold for the studio's heads; curls, buns and caps of real ones reach
beyond them.  Here GrabCut (Rother et al. 2004) decides between the usual head and the farthest hair, and what
it leaves of the usual head is put back: the mask may contain some backdrop, but it never cuts into the hair
that the proportions contain.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from portrait_lora.dataset.crop import Framing, cut, face_height, head_mask, person_mask, turn_of
from portrait_lora.faces.shape import lean_deg
from portrait_lora.records import Face, RGBImage

WORK_PX: Final = 192
"""Longer side of the picture that is segmented: finer detail than the soft edge would be lost anyway."""
_ROUNDS: Final = 3
_FACE_CORE: Final = (0.42, 0.46)
"""Half axes of what is surely face, in widths and heights of the box."""
_HAIR_REACH: Final = (1.0, 1.25)
"""Half axes of the farthest hair around the head's middle, in face heights: an afro or a high bun reaches
0.6 face heights above the box and as far to the sides."""
_LONG_HAIR: Final = 0.85
"""Half width of hair that falls on the shoulders, in face heights."""
_MAYBE_HAIR: Final = (0.9, 1.0)
"""Half axes within which hair has half weight even where GrabCut sees backdrop: it confuses lit curls with
a blurred crowd, and cut hair does more harm to a likeness than some backdrop."""
_NECK: Final = 0.3
"""Height below the chin at which a head with its hair and neck ends, in face heights."""
_SHOULDER_RISE: Final = 0.12
_ALL_OF_IT: Final = 0.7
"""Where GrabCut takes more than this of the place in which hair may be, as on many black-and-white pictures,
it has seen no border: pictures with a leak reach 0.72 to 0.84, the widest hair of 34 0.69."""
_EDGE: Final = 0.05
"""Width of the soft edge, and of what is added around the mask for single hairs, in face heights."""

_VIEW: Final = 1.5
"""Half side of the view in which hair is looked for, in face heights."""
_STRAY: Final = 1.0
"""Percentage of the head's pixels that may lie beyond its box: single hairs and leaks."""

Mask = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Place:
    """The face in pixels of the segmented picture; the axes follow the head's lean."""

    box: tuple[float, float, float, float]
    middle: tuple[float, float]
    tall: float
    turn: float
    lean: float

    def around(self, shape: tuple[int, int]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Across and down from the middle of the face in face heights, turned with the lean, per pixel."""
        rows, columns = np.mgrid[: shape[0], : shape[1]]
        dx, dy = (columns - self.middle[0]) / self.tall, (rows - self.middle[1]) / self.tall
        c, s = np.cos(self.lean), np.sin(self.lean)
        return dx * c + dy * s, dy * c - dx * s


def photograph_masks(image_rgb: RGBImage, face: Face, framing: Framing) -> tuple[Mask, Mask]:
    """(person, head) of a crop, each (H, W) uint8 with a soft edge; the same crop gives the same masks."""
    width, height = framing.size_px
    shrink = min(1.0, WORK_PX / max(width, height))
    size = (max(8, round(width * shrink)), max(8, round(height * shrink)))
    small = _resized(cut(image_rgb, framing.box_xyxy_px), size)
    place = _place(face, framing, size)
    usual, usual_head = (
        np.asarray(cv2.resize(m, size, interpolation=cv2.INTER_AREA)) > 127
        for m in (person_mask(face, framing), head_mask(face, framing))
    )
    inside = _segmented(small, place, usual)
    across, down = place.around(inside.shape)
    beard = 0.5 * (place.box[3] - place.box[1]) / place.tall
    is_head = (down <= beard + _NECK) & (np.abs(across + 0.2 * place.turn) <= _HAIR_REACH[0])
    maybe = (across / _MAYBE_HAIR[0]) ** 2 + ((down + 0.15) / _MAYBE_HAIR[1]) ** 2 <= 1
    maybe &= down <= beard
    person = _soft(inside | usual, maybe, place, (width, height))
    head = _soft((inside & is_head) | usual_head, maybe, place, (width, height))
    return person, np.minimum(head, person)


def outline(small_rgb: RGBImage, face: Face, framing: Framing) -> npt.NDArray[np.bool_]:
    """(H, W) where the person is in a crop of any size that shows the framing's box; generous at its edge."""
    height, width = small_rgb.shape[:2]
    place = _place(face, framing, (width, height))
    usual = cv2.resize(person_mask(face, framing), (width, height), interpolation=cv2.INTER_AREA) > 127
    inside = _segmented(small_rgb, place, usual) | usual
    margin = max(1, round(_EDGE * place.tall))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    return np.asarray(cv2.dilate(inside.astype(np.uint8), kernel)) > 0


def head_extent(image_rgb: RGBImage, face: Face) -> tuple[float, float, float, float]:
    """The box of face and hair together, in pixels of the picture and inside it."""
    x0, y0, x1, y1 = face.box_xyxy_px
    tall, middle = face_height(face), ((x0 + x1) / 2, (y0 + y1) / 2)
    height, width = image_rgb.shape[:2]
    left, top = max(0, round(middle[0] - _VIEW * tall)), max(0, round(middle[1] - _VIEW * tall))
    right, bottom = min(width, round(middle[0] + _VIEW * tall)), min(height, round(y1 + tall))
    whole = (left, top, max(right, left + 8), max(bottom, top + 8))
    shrink = min(1.0, WORK_PX / max(whole[2] - left, whole[3] - top))
    size = (max(8, round((whole[2] - left) * shrink)), max(8, round((whole[3] - top) * shrink)))
    view = Framing(Path(), whole, size, 1.0)
    small = _resized(cut(image_rgb, whole), size)
    place, usual = _place(face, view, size), head_mask(face, view) > 127
    inside = _segmented(small, place, person_mask(face, view) > 127)
    across, down = place.around(inside.shape)
    hair = inside & (down <= 0.25) & (np.abs(across) <= _HAIR_REACH[0])
    rows, columns = np.nonzero(hair | (usual & (down <= 0)))
    if len(rows) == 0:
        return face.box_xyxy_px
    low, high = np.percentile(columns, _STRAY), np.percentile(columns, 100 - _STRAY)
    crown = np.percentile(rows, _STRAY / 2)
    return (
        max(0.0, min(x0, left + float(low) / shrink)),
        max(0.0, min(y0, top + float(crown) / shrink)),
        min(float(width), max(x1, left + float(high) / shrink)),
        min(float(height), y1),
    )


def _resized(pixels: RGBImage, size_px: tuple[int, int]) -> RGBImage:
    return np.asarray(cv2.resize(pixels, size_px, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _place(face: Face, framing: Framing, size: tuple[int, int]) -> _Place:
    left, top, right, _ = framing.box_xyxy_px
    scale = size[0] / (right - left)
    x0, y0, x1, y1 = ((v - o) * scale for v, o in zip(face.box_xyxy_px, (left, top, left, top), strict=True))
    lean = float(np.deg2rad(lean_deg(face.keypoints_px)))
    tall = max(face_height(face) * scale, 2.0)
    return _Place((x0, y0, x1, y1), ((x0 + x1) / 2, (y0 + y1) / 2), tall, turn_of(face), lean)


def _segmented(small: RGBImage, place: _Place, usual: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """GrabCut from the usual head and shoulders, within the reach of hair; the piece with the face."""
    across, down = place.around(usual.shape)
    x0, y0, x1, y1 = place.box
    wide, tall = (x1 - x0) / place.tall, (y1 - y0) / place.tall
    chin = tall / 2
    face = (across / (_FACE_CORE[0] * wide)) ** 2 + (down / (_FACE_CORE[1] * tall)) ** 2 <= 1
    chest = (np.abs(across) <= 0.5 * wide) & (down >= chin + 0.35)
    reach = (across / _HAIR_REACH[0]) ** 2 + ((down + 0.15) / _HAIR_REACH[1]) ** 2 <= 1
    reach |= (np.abs(across) <= _LONG_HAIR) & (down >= 0)
    reach |= down >= chin + _SHOULDER_RISE
    labels = np.full(usual.shape, cv2.GC_BGD, np.uint8)
    labels[reach] = cv2.GC_PR_BGD
    labels[usual] = cv2.GC_PR_FGD
    labels[face | chest] = cv2.GC_FGD
    if not (labels == cv2.GC_BGD).any():
        labels[:1][labels[:1] == cv2.GC_PR_BGD] = cv2.GC_BGD
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    bgr = np.ascontiguousarray(small[..., ::-1])
    try:
        cv2.grabCut(bgr, labels, (0, 0, 1, 1), models[0], models[1], _ROUNDS, cv2.GC_INIT_WITH_MASK)
    except cv2.error:  # too few pixels of one kind for a colour model, as in a face that fills the picture
        return usual
    inside = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    _, pieces = cv2.connectedComponents((inside | face).astype(np.uint8))
    own = np.unique(pieces[face]) if face.any() else np.zeros(0, int)
    person = np.asarray(np.isin(pieces, own[own > 0]))
    beside = reach & ~usual & (down < chin)
    if beside.any() and float(person[beside].mean()) > _ALL_OF_IT:
        return usual
    return person


def _soft(
    inside: npt.NDArray[np.bool_], maybe: npt.NDArray[np.bool_], place: _Place, size_px: tuple[int, int]
) -> Mask:
    margin = max(1, round(_EDGE * place.tall))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    filled = cv2.morphologyEx(inside.astype(np.uint8) * 255, cv2.MORPH_CLOSE, kernel)
    grown = np.maximum(cv2.dilate(filled, kernel), np.where(maybe, 128, 0).astype(np.uint8))
    blurred = cv2.GaussianBlur(grown, (0, 0), max(0.8, _EDGE * place.tall))
    return np.asarray(cv2.resize(blurred, size_px, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
