"""Masks of parts of a portrait: eyes, face, skin, hair, background.

Eyes and face follow the 68 landmarks (five keypoints where a pack has no more).  Skin, hair and background
come from the pack's segmenter; without one, and outside its crop, the person is segmented by GrabCut (Rother
et al. 2004), initialised with head and shoulders.
"""

from __future__ import annotations

from typing import Final, Literal

import cv2
import numpy as np
import numpy.typing as npt

from portrait_lora.errors import InputError
from portrait_lora.faces.head import head_lines_px
from portrait_lora.records import NOT_SEEN, Face, Parts, RGBImage

Region = Literal["eyes", "face", "skin", "hair", "background"]
REGIONS: Final[tuple[Region, ...]] = ("eyes", "face", "skin", "hair", "background")
Mask = npt.NDArray[np.uint8]  # (H, W), 0 or 255
_EYES: Final = (slice(36, 42), slice(42, 48))
_BROWS: Final = (slice(17, 22), slice(22, 27))
_MOUTH: Final = slice(48, 60)
_PERSON: Final = ("clothes", "skin", "hair", "eyes", "glasses")
_FOREHEAD: Final = 0.45
"""Height of the forehead above the brows, in chin-to-brow heights."""


def region_of(word: str, where: str = "") -> Region:
    """The region of that name.  Raises `InputError` naming those that there are."""
    if word not in REGIONS:
        raise InputError("unknown region", where=where, got=word, needed=", ".join(REGIONS))
    return REGIONS[REGIONS.index(word)]


def painted_mask(painted: npt.NDArray[np.uint8], size_px: tuple[int, int]) -> Mask:
    """A mask painted by hand, in black and white.

    Raises `InputError` when it has another size (W, H) than the picture, or nothing is painted in it.
    """
    height, width = painted.shape[:2]
    if painted.ndim != 2 or (width, height) != size_px:
        raise InputError(
            "the mask has another size than the picture",
            where="mask",
            got=f"{width} x {height} px",
            needed=f"{size_px[0]} x {size_px[1]} px",
        )
    mask = _white(painted > 127)
    if not mask.any():
        raise InputError("nothing is painted in the mask", where="mask", needed="white where to draw again")
    return mask


def region_mask(image_rgb: RGBImage, face: Face, region: Region, parts: Parts | None = None) -> Mask:
    """The mask, white in the region.  Raises `InputError` when the region is empty in this picture."""
    height, width = image_rgb.shape[:2]
    if region == "eyes":
        mask = _eyes(face, height, width)
    elif region == "face":
        mask = _face(face, height, width)
    elif region == "skin":
        mask = _skin(face, height, width)
        if parts is not None:
            mask[~parts.where("skin")] = 0
    elif region == "hair":
        mask = _hair(image_rgb, face) if parts is None else _white(parts.where("hair"))
    else:
        mask = cv2.bitwise_not(_grown(person_mask(image_rgb, face, parts), face, 0.06))
    if not mask.any():
        raise InputError("this region is not in the picture", where=region, needed="another region")
    return np.asarray(mask, dtype=np.uint8)


def person_mask(image_rgb: RGBImage, face: Face, parts: Parts | None = None) -> Mask:
    """The mask of the person, in white; the same picture gives the same mask."""
    height, width = image_rgb.shape[:2]
    eye_line, crown, chin = head_lines_px(face)
    x0, _, x1, _ = face.box_xyxy_px
    middle, wide, tall = (x0 + x1) / 2, x1 - x0, chin - crown
    labels = np.full((height, width), cv2.GC_PR_BGD, np.uint8)
    centre = (round(middle), round((crown + chin) / 2))
    cv2.ellipse(labels, centre, (round(0.95 * wide), round(0.72 * tall)), 0, 0, 360, cv2.GC_PR_FGD, -1)
    shoulders = np.array(
        [
            (middle - 0.45 * wide, chin),
            (middle + 0.45 * wide, chin),
            (middle + 1.6 * wide, chin + 0.9 * tall),
            (middle + 1.6 * wide, height),
            (middle - 1.6 * wide, height),
            (middle - 1.6 * wide, chin + 0.9 * tall),
        ]
    )
    cv2.fillPoly(labels, [shoulders.round().astype(np.int32)], cv2.GC_PR_FGD)
    labels[_face(face, height, width) > 0] = cv2.GC_FGD
    edge = max(1, round(0.02 * min(height, width)))
    labels[:edge][labels[:edge] != cv2.GC_FGD] = cv2.GC_BGD
    top = labels[: max(0, round(eye_line))]
    for side in (top[:, :edge], top[:, -edge:]):
        side[side != cv2.GC_FGD] = cv2.GC_BGD
    if parts is not None:
        labels[parts.where(*_PERSON)] = cv2.GC_FGD
        labels[parts.where("backdrop")] = cv2.GC_BGD
        if not (parts.labels_HW == NOT_SEEN).any():
            return _white(labels == cv2.GC_FGD)
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    bgr = np.ascontiguousarray(image_rgb[..., ::-1])
    cv2.grabCut(bgr, labels, (0, 0, 1, 1), models[0], models[1], 4, cv2.GC_INIT_WITH_MASK)
    inside = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    return _white(inside)


def _white(inside: npt.NDArray[np.bool_]) -> Mask:
    return (inside * 255).astype(np.uint8)


def _hull(points: npt.NDArray[np.floating], height: int, width: int) -> Mask:
    mask = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(points.round().astype(np.int32)), 255)
    return mask


def _eyes(face: Face, height: int, width: int) -> Mask:
    keypoints = np.asarray(face.keypoints_px)
    apart = float(np.hypot(*(keypoints[1] - keypoints[0])))
    mask = np.zeros((height, width), np.uint8)
    if face.landmarks_px is None:
        for x, y in keypoints[:2]:
            axes = (max(2, round(0.3 * apart)), max(2, round(0.18 * apart)))
            cv2.ellipse(mask, (round(x), round(y)), axes, 0, 0, 360, 255, -1)
        return mask
    for eye in _EYES:
        mask |= _hull(np.asarray(face.landmarks_px)[eye], height, width)
    return _grown(mask, face, 0.07)


def _face(face: Face, height: int, width: int) -> Mask:
    if face.landmarks_px is None:
        x0, y0, x1, y1 = face.box_xyxy_px
        mask = np.zeros((height, width), np.uint8)
        centre, axes = (
            (round((x0 + x1) / 2), round((y0 + y1) / 2)),
            (round((x1 - x0) / 2), round((y1 - y0) / 2)),
        )
        cv2.ellipse(mask, centre, axes, 0, 0, 360, 255, -1)
        return mask
    points = np.asarray(face.landmarks_px, dtype=np.float64)
    brows = points[17:27]
    rise = _FOREHEAD * (points[:17, 1].max() - brows[:, 1].mean())
    return _hull(np.concatenate([points, brows - (0, rise)]), height, width)


def _skin(face: Face, height: int, width: int) -> Mask:
    mask = _face(face, height, width)
    keep = _eyes(face, height, width)
    if face.landmarks_px is not None:
        points = np.asarray(face.landmarks_px)
        for part in (*_BROWS, _MOUTH):
            keep |= _grown(_hull(points[part], height, width), face, 0.04)
    mask[keep > 0] = 0
    return mask


def _hair(image_rgb: RGBImage, face: Face) -> Mask:
    height, width = image_rgb.shape[:2]
    _, crown, chin = head_lines_px(face)
    mask = person_mask(image_rgb, face)
    mask[_grown(_face(face, height, width), face, 0.02) > 0] = 0
    x0, _, x1, _ = face.box_xyxy_px
    mask[max(0, round(chin)) :] = 0
    mask[: max(0, round(crown - 0.35 * (chin - crown)))] = 0
    mask[:, : max(0, round(x0 - 0.5 * (x1 - x0)))] = 0
    mask[:, max(0, round(x1 + 0.5 * (x1 - x0))) :] = 0
    return mask


def _grown(mask: Mask, face: Face, share: float) -> Mask:
    """The mask dilated by that fraction of the face size."""
    margin = max(1, round(share * face.size_px))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    return np.asarray(cv2.dilate(mask, kernel), dtype=np.uint8)
