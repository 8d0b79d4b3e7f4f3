"""The findings of the photo check: a stable code, the measured value, the threshold.

A bad photo is data, not an exception.  Lengths are pixels of the upright original unless stated; luma is
0..255; angles are degrees.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from portrait_lora.dataset.light import chroma, contrast_stops
from portrait_lora.dataset.second_look import roll_deg
from portrait_lora.faces.lenses import SURELY_NONE, lens_evidence
from portrait_lora.faces.quality import (
    aligned_crop,
    blur_limit_px,
    blur_px,
    source_px_per_aligned_px,
)
from portrait_lora.records import Face, Finding, Photo, RGBImage, Severity
from portrait_lora.vocabulary import GLASSES

NEEDS: Final[Mapping[str, str]] = {
    "unreadable": "the file alone",
    "no_face": "a face detector",
    "several_faces": "a face detector",
    "other_person": "a face embedder",
    "doubtful_person": "a face embedder",
    "face_too_small": "a face detector",
    "low_resolution": "the file alone",
    "blurred": "five keypoints",
    "under_exposed": "a face detector",
    "over_exposed": "a face detector",
    "harsh_contrast": "a face detector",
    "monochrome": "a face detector",
    "cut_off": "a face detector",
    "extreme_pose": "five keypoints for turned and leaning heads; a head pose model for bowed ones",
    "near_duplicate": "a face embedder",
    "burst": "a face embedder",
    "surplus": "a face embedder",
    "occluded": "a model for covered faces",
    "sunglasses": "five keypoints",
    "may_be_minor": "a model that reads age",
}
"""Every finding code, and what it needs; codes never change their meaning."""

CODES: Final = tuple(NEEDS)
NO_GLASSES: Final = GLASSES[0]


DETECT_SIDE_PX: Final = 1280
"""The longer side of the detector's input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSettings:
    """The thresholds of the per-photo checks; the defaults are those of the configuration."""

    min_face_px: float  # longer side of the face box in the original
    min_side_px: int  # shorter side of the picture
    several_faces_ratio: float  # a further face counts from this share of the largest one's size
    max_blur_px: float  # `faces.quality.blur_px` of the aligned 112 px crop
    min_brightness: float  # mean luma of the aligned crop
    max_brightness: float
    min_highlight: float  # 95th percentile of the face's luma: fair to dark skin, unlike the mean
    max_blown_share: float  # share of face pixels at luma 250 and above
    max_clipped_share: float  # blown and crushed (12 and below) together
    min_chroma: float  # `light.chroma` of the face; black-and-white photos are below
    min_border_share: float  # room between face and border, in face sizes
    max_yaw_deg: float
    max_pitch_deg: float
    max_roll_deg: float
    max_contrast_stops: float  # `light.contrast_stops`: 2.5 in split lighting, 5 with a side in black
    max_lens_evidence: float  # `faces.lenses.lens_evidence`: dark lenses are above
    max_covered_share: float  # of the face between brows and chin
    max_megapixels: float  # larger pictures are refused unread


def of_face(
    photo: Photo,
    face: Face,
    view: RGBImage,
    view_face: Face,
    settings: CheckSettings,
    *,
    hidden: bool = False,
) -> Iterator[Finding]:
    """All findings from one face and its pixels.

    `face` is in pixels of the original, `view_face` in those of `view`, which has the best resolution.
    `hidden`: only lifted shadows show the face, so hard light rejects.
    """
    yield from low_resolution(photo, settings)
    small = list(_face_too_small(face, settings))
    yield from small
    aligned = np.asarray(aligned_crop(view, view_face.keypoints_px), dtype=np.uint8)
    if not small:
        yield from _blurred(aligned, view_face, settings)
    exposed = list(_exposure(view, view_face, settings, "reject" if hidden else "warn"))
    yield from exposed
    if not any(f.severity == "reject" for f in exposed):  # black and burnt faces have no colour to see
        yield from _monochrome(view, view_face, settings)
    yield from _cut_off(photo, face, settings)
    yield from _extreme_pose(face, settings)
    yield from _sunglasses(aligned, face, settings, small=bool(small))
    if hidden:
        yield not_checked("occluded", "The face is too dark to see what covers it.")
    else:
        yield from _occluded(face, settings)


def not_checked(code: str, advice: str) -> Finding:
    """The finding for what cannot be checked."""
    return Finding(code, "not_checked", None, None, advice)


def low_resolution(photo: Photo, settings: CheckSettings) -> Iterator[Finding]:
    """The picture's shorter side."""
    short = min(photo.size_px)
    if short < settings.min_side_px:
        advice = "The picture is very small. Use the original file, not a thumbnail or a copy from a chat."
        yield Finding("low_resolution", "reject", float(short), float(settings.min_side_px), advice)


def _face_too_small(face: Face, settings: CheckSettings) -> Iterator[Finding]:
    if face.size_px < settings.min_face_px:
        advice = (
            "The face is too small in the picture. Use a closer photo, or lower dataset.check.min_face_px."
        )
        yield Finding("face_too_small", "reject", face.size_px, settings.min_face_px, advice)


def _blurred(aligned: RGBImage, view_face: Face, settings: CheckSettings) -> Iterator[Finding]:
    """More tolerant for faces of few pixels, whose edges are wide in the sharpest file."""
    limit = blur_limit_px(settings.max_blur_px, source_px_per_aligned_px(view_face.keypoints_px))
    measured = blur_px(aligned)
    if measured > limit:
        advice = "The face is out of focus or blurred by motion. Use a sharper photo."
        yield Finding("blurred", "reject", measured, limit, advice)


def face_luma(image_rgb: RGBImage, face: Face) -> np.ndarray:
    """The luma of the pixels inside the ellipse that fits the face box, flat float32; never empty."""
    height, width = image_rgb.shape[:2]
    x0, y0, x1, y1 = face.box_xyxy_px
    left, right = int(np.clip(x0, 0, width - 1)), int(np.clip(np.ceil(x1), 1, width))
    top, bottom = int(np.clip(y0, 0, height - 1)), int(np.clip(np.ceil(y1), 1, height))
    part = image_rgb[top : max(bottom, top + 1), left : max(right, left + 1)]
    luma = cv2.cvtColor(np.ascontiguousarray(part), cv2.COLOR_RGB2GRAY).astype(np.float32)
    rows = (np.arange(luma.shape[0]) + top + 0.5 - (y0 + y1) / 2) / max((y1 - y0) / 2, 1.0)
    columns = (np.arange(luma.shape[1]) + left + 0.5 - (x0 + x1) / 2) / max((x1 - x0) / 2, 1.0)
    inside = rows[:, None] ** 2 + columns[None, :] ** 2 <= 0.81
    return luma[inside] if inside.any() else luma.ravel()


def _exposure(image: RGBImage, face: Face, settings: CheckSettings, harsh: Severity) -> Iterator[Finding]:
    """At most one of the three: too dark, too hard, too bright."""
    luma = face_luma(image, face)
    highlight = float(np.percentile(luma, 95))
    blown, crushed = float(np.mean(luma >= 250.0)), float(np.mean(luma <= 12.0))
    dark = "The face is too dark. Use a photo with light on the face."
    bright = "The face is overexposed. Use a photo with softer light or less exposure."
    hard = "Much of the face is pure black or white. A photo in softer light teaches more."
    sided = "One side of the face is in the dark. A photo in softer light teaches more."
    clipped, contrast = blown + crushed, contrast_stops(image, face)
    if contrast > settings.max_contrast_stops and highlight >= settings.min_highlight:
        yield Finding("harsh_contrast", harsh, contrast, settings.max_contrast_stops, sided)
    elif face.brightness < settings.min_brightness:
        yield Finding("under_exposed", "reject", face.brightness, settings.min_brightness, dark)
    elif highlight < settings.min_highlight:
        yield Finding("under_exposed", "reject", highlight, settings.min_highlight, dark)
    elif face.brightness > settings.max_brightness:
        yield Finding("over_exposed", "reject", face.brightness, settings.max_brightness, bright)
    elif clipped > settings.max_clipped_share and crushed > blown / 3:
        yield Finding("harsh_contrast", harsh, clipped, settings.max_clipped_share, hard)
    elif blown > settings.max_blown_share:
        yield Finding("over_exposed", "reject", blown, settings.max_blown_share, bright)


def _monochrome(image: RGBImage, face: Face, settings: CheckSettings) -> Iterator[Finding]:
    measured = chroma(image, face)
    if measured is not None and measured < settings.min_chroma:
        advice = (
            "The photo is black-and-white and teaches a grey skin. Use the photo in colour if there is one."
        )
        yield Finding("monochrome", "warn", measured, settings.min_chroma, advice)


def _cut_off(photo: Photo, face: Face, settings: CheckSettings) -> Iterator[Finding]:
    """The distance from the face (box, keypoints, landmarks) to the nearest border, in face sizes."""
    width, height = photo.size_px
    x0, y0, x1, y1 = face.box_xyxy_px
    points = [np.array([[x0, y0], [x1, y1]]), face.keypoints_px]
    points += [] if face.landmarks_px is None else [face.landmarks_px]
    every = np.concatenate(points)
    low, high = every.min(axis=0), every.max(axis=0)
    room = float(min(low[0], low[1], width - high[0], height - high[1])) / max(face.size_px, 1e-6)
    if room < settings.min_border_share:
        advice = "The face is cut off by the border of the picture. Use a photo with the whole head in it."
        yield Finding("cut_off", "reject", room, settings.min_border_share, advice)


_ON_ITS_SIDE_DEG: Final = 70.0
_UPSIDE_DOWN_DEG: Final = 135.0


def _extreme_pose(face: Face, settings: CheckSettings) -> Iterator[Finding]:
    """Turned, tilted or leaning too far; a pose from five keypoints is too rough to reject by its pitch."""
    roll = roll_deg(face)
    limits = [(abs(roll), settings.max_roll_deg, _leaning(roll))]
    if face.pose_deg is not None:
        pitch, yaw = abs(face.pose_deg[0]), abs(face.pose_deg[1])
        limits.append(
            (yaw, settings.max_yaw_deg, "The head is turned away too far. Use a less extreme pose.")
        )
        tilted = "The head is tilted up or down too far. Use a less extreme pose."
        limits += [] if face.pose_from_points else [(pitch, settings.max_pitch_deg, tilted)]
    over = [(angle / limit, angle, limit, advice) for angle, limit, advice in limits if angle > limit]
    if over:
        _, angle, limit, advice = max(over)
        yield Finding("extreme_pose", "reject", angle, limit, advice)
    elif face.pose_deg is None:
        yield not_checked("extreme_pose", "This face pack does not measure the pose.")
    elif face.pose_from_points:
        yield not_checked("extreme_pose", "This face pack cannot tell how far a head is bowed or raised.")


def _leaning(roll: float) -> str:
    """Advice on a roll; positive leans clockwise, so the picture must be turned to the left."""
    if abs(roll) >= _UPSIDE_DOWN_DEG:
        return "The picture seems to be upside down. Turn it and save it again."
    if abs(roll) >= _ON_ITS_SIDE_DEG:
        way = "left" if roll > 0 else "right"
        return f"The picture seems to be on its side. Turn it to the {way} and save it again."
    return (
        "The head is leaning too far. Turn the picture until the head is upright, or use a less extreme pose."
    )


def _occluded(face: Face, settings: CheckSettings) -> Iterator[Finding]:
    if face.covered_share is None:
        yield not_checked("occluded", "This face pack cannot check this; look for yourself.")
    elif face.covered_share > settings.max_covered_share:
        advice = "Something covers part of the face. Use a photo without hands, mask or cup in front of it."
        yield Finding("occluded", "reject", face.covered_share, settings.max_covered_share, advice)


SUNGLASSES_MAX_YAW_DEG: Final = 40.0
"""Beyond this yaw the aligned crop no longer has the eyes at the expected place."""


def _sunglasses(aligned: RGBImage, face: Face, settings: CheckSettings, *, small: bool) -> Iterator[Finding]:
    """Clear evidence of dark lenses rejects; short of that, only a model for glasses may rule them out."""
    yaw = face.pose_deg[1] if face.pose_deg is not None else 0.0
    judged = abs(yaw) <= SUNGLASSES_MAX_YAW_DEG and not small
    measured = lens_evidence(aligned) if judged else None
    if measured is not None and measured > settings.max_lens_evidence:
        advice = "The eyes are behind dark lenses. Use a photo that shows the eyes."
        yield Finding("sunglasses", "reject", measured, settings.max_lens_evidence, advice)
    elif face.glasses != NO_GLASSES and (measured is None or measured > SURELY_NONE):
        yield not_checked("sunglasses", "It cannot be told whether the eyes are behind dark lenses.")
