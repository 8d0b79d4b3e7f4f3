"""What is wrong with a photo, one finding at a time: a stable code, what was measured, what was asked.

A bad photo is data, not an exception.  Lengths are pixels of the upright original unless said;
luma is 0..255; angles are degrees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import cv2
import numpy as np

from portrait_lora import log
from portrait_lora.dataset.photos import ImageArray, UnreadablePhoto, list_photos, load_photo
from portrait_lora.records import Face, Finding, Photo, PhotoReport, readonly

CODES: Final = (
    "unreadable",
    "no_face",
    "several_faces",
    "other_person",
    "face_too_small",
    "low_resolution",
    "blurred",
    "under_exposed",
    "over_exposed",
    "harsh_contrast",
    "cut_off",
    "extreme_pose",
    "near_duplicate",
    "surplus",
    "occluded",
    "sunglasses",
)
"""Every code a finding can carry; they never change their meaning."""

DARK_PICTURE_HIGHLIGHT: Final = 110.0
"""98th percentile of the luma: below, a picture without a face is brightened and looked at again."""

Progress = Callable[[str, int], AbstractContextManager[Callable[..., Any]]]


class FaceFinder(Protocol):
    """What the checks need of a face pack."""

    @property
    def embedder_id(self) -> str: ...

    def find(self, image_rgb: ImageArray) -> list[Face]:
        """The faces of an RGB uint8 HWC picture, largest first."""
        ...


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """The thresholds of the per-photo checks."""

    detect_side_px: int = 1280  # the longer side of the picture that the detector sees
    min_face_px: float = 64.0  # longer side of the face box in the original
    min_side_px: int = 128  # shorter side of the picture
    several_faces_ratio: float = 0.4  # a further face counts from this share of the largest one's size
    min_sharpness: float = 40.0  # variance of the Laplacian of the aligned 112 px crop
    full_detail_face_px: float = 112.0  # smaller faces are enlarged by the alignment and judged more mildly
    full_contrast_brightness: float = 90.0  # darker faces have less contrast and are judged more mildly
    min_brightness: float = 22.0  # mean luma of the aligned crop
    max_brightness: float = 232.0
    min_highlight: float = 70.0  # 95th percentile of the face's luma: fair to dark skin, unlike the mean
    max_blown_share: float = 0.25  # share of face pixels at luma 250 and above
    max_clipped_share: float = 0.45  # blown and crushed (12 and below) together
    min_border_share: float = 0.01  # room between face and border, in face sizes
    max_yaw_deg: float = 85.0
    max_pitch_deg: float = 40.0
    max_roll_deg: float = 50.0
    max_megapixels: float = 120.0  # larger pictures are refused unread

    @classmethod
    def of(cls, values: object) -> CheckSettings:
        """Settings from anything that has some of these fields, such as a section of a configuration."""
        return settings_of(cls, values)


T = TypeVar("T")


def settings_of(kind: type[T], values: object) -> T:
    """The dataclass `kind` with every field that `values` has; defaults for the others, or for None."""
    if isinstance(values, kind):
        return values
    names = [f.name for f in fields(kind) if hasattr(values, f.name)]  # type: ignore[arg-type]
    return kind(**{name: getattr(values, name) for name in names})


def check_folder(
    folder: Path,
    analyzer: FaceFinder,
    settings: CheckSettings | None = None,
    progress: Progress = log.progress,
) -> list[PhotoReport]:
    """A report for every picture of `folder`, in the order of their names; nothing there is written.

    Raises InputError when the folder cannot be read.
    """
    settings = CheckSettings.of(settings)
    paths = list_photos(folder)
    reports = []
    with progress("checking photos", len(paths)) as advance:
        for path in paths:
            reports.append(check_photo(path, analyzer, settings))
            advance(1)
    return reports


def check_photo(path: Path, analyzer: FaceFinder, settings: CheckSettings) -> PhotoReport:
    """Decode one photo, find the face of its subject and say what is wrong with it."""
    try:
        photo, image = load_photo(
            path, settings.detect_side_px, max_pixels=int(settings.max_megapixels * 1e6)
        )
    except UnreadablePhoto as error:
        return PhotoReport(error.photo, None, (Finding("unreadable", "reject", None, None, error.advice),))
    faces = analyzer.find(image)
    if not faces:
        low = tuple(_low_resolution(photo, settings))
        why = _too_dark_to_see(image, analyzer, settings) or _no_face(image, analyzer)
        return PhotoReport(photo, None, (why, *low))
    scale = max(photo.size_px) / max(image.shape[:2])
    face, view, view_face = _closer_look(photo, image, faces[0], analyzer, scale)
    found: list[Finding] = [*_several_faces(faces, settings), *_sizes(photo, face, settings)]
    if not any(f.code == "face_too_small" for f in found):
        found += _blurred(face, settings)
    found += _exposure(view, view_face, settings)
    found += [*_cut_off(photo, face, settings), *_extreme_pose(face, settings), *_not_checked()]
    return PhotoReport(photo, face, tuple(found))


def _closer_look(
    photo: Photo, image: ImageArray, face: Face, analyzer: FaceFinder, scale: float
) -> tuple[Face, ImageArray, Face]:
    """The face in pixels of the original, and the picture (with the face in it) that shows it best.

    A small face in a large photo is looked at again at full size, so that reduction is not taken for blur.
    """
    if scale > 1.05 and face.size_px < 160.0:
        _, full = load_photo(photo.path, max_pixels=max(1, photo.size_px[0] * photo.size_px[1]))
        x0, y0, x1, y1 = (v * scale for v in face.box_xyxy_px)
        reach = 1.2 * max(x1 - x0, y1 - y0)
        left, top = max(0, int(x0 - reach)), max(0, int(y0 - reach))
        part = np.ascontiguousarray(full[top : int(y1 + reach) + 1, left : int(x1 + reach) + 1])
        centre = np.array([(x0 + x1) / 2 - left, (y0 + y1) / 2 - top])
        again = [f for f in analyzer.find(part) if _contains(f, centre)]
        if again:
            return move_face(again[0], 1.0, (left, top)), part, again[0]
    return move_face(face, scale), image, face


def _contains(face: Face, point: np.ndarray) -> bool:
    x0, y0, x1, y1 = face.box_xyxy_px
    return bool(x0 <= point[0] <= x1 and y0 <= point[1] <= y1)


def move_face(face: Face, scale: float, offset_px: tuple[float, float] = (0.0, 0.0)) -> Face:
    """The same face with its coordinates multiplied by `scale`, then shifted."""
    shift = np.asarray(offset_px, dtype=np.float32)
    x0, y0, x1, y1 = (float(v) for v in face.box_xyxy_px)
    dx, dy = offset_px
    box = (x0 * scale + dx, y0 * scale + dy, x1 * scale + dx, y1 * scale + dy)
    marks = None if face.landmarks_px is None else readonly(face.landmarks_px * scale + shift)
    points = readonly(face.keypoints_px * scale + shift)
    return replace(face, box_xyxy_px=box, keypoints_px=points, landmarks_px=marks)


def _too_dark_to_see(image: ImageArray, analyzer: FaceFinder, settings: CheckSettings) -> Finding | None:
    """`under_exposed` when a face appears once a dark picture is brightened; otherwise None."""
    highlight = float(np.percentile(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY), 98))
    if highlight >= DARK_PICTURE_HIGHLIGHT:
        return None
    brighter = np.clip(image.astype(np.float32) * (220.0 / max(highlight, 1.0)), 0, 255).astype(np.uint8)
    faces = analyzer.find(brighter)
    if not faces:
        return None
    luma = float(face_luma(image, faces[0]).mean())
    advice = "The picture is so dark that the face is hardly there. Use a photo with light on the face."
    return Finding("under_exposed", "reject", luma, settings.min_brightness, advice)


def _no_face(image: ImageArray, analyzer: FaceFinder) -> Finding:
    """`no_face`; tells when the face appears once the picture is turned."""
    for turns, word in ((1, "left"), (3, "right"), (2, "upside down")):
        if analyzer.find(np.ascontiguousarray(np.rot90(image, turns))):
            how = "upside down" if turns == 2 else f"on its side; turn it to the {word}"
            return Finding(
                "no_face", "reject", 0.0, 1.0, f"The picture seems to lie {how} and save it again."
            )
    return Finding(
        "no_face", "reject", 0.0, 1.0, "No face was found. Use a photo where the face is in plain view."
    )


def _several_faces(faces: list[Face], settings: CheckSettings) -> Iterator[Finding]:
    if len(faces) > 1:
        share = faces[1].size_px / max(faces[0].size_px, 1e-6)
        if share >= settings.several_faces_ratio:
            advice = "More than one person is close to the camera. Crop the photo to the subject alone."
            yield Finding("several_faces", "reject", share, settings.several_faces_ratio, advice)


def _low_resolution(photo: Photo, settings: CheckSettings) -> Iterator[Finding]:
    short = min(photo.size_px)
    if short < settings.min_side_px:
        advice = "The picture is very small. Use the original file, not a thumbnail or a copy from a chat."
        yield Finding("low_resolution", "reject", float(short), float(settings.min_side_px), advice)


def _sizes(photo: Photo, face: Face, settings: CheckSettings) -> Iterator[Finding]:
    yield from _low_resolution(photo, settings)
    if face.size_px < settings.min_face_px:
        advice = "The face is too small in the picture. Use a closer photo, or lower dataset.min_face_px."
        yield Finding("face_too_small", "reject", face.size_px, settings.min_face_px, advice)


def _blurred(face: Face, settings: CheckSettings) -> Iterator[Finding]:
    """Asks less of faces that the alignment enlarged and of dark ones, whose every contrast is smaller."""
    detail = min(1.0, face.size_px / settings.full_detail_face_px)
    light = min(1.0, face.brightness / settings.full_contrast_brightness)
    asked = settings.min_sharpness * (detail * light) ** 2
    if face.sharpness < asked:
        advice = "The face is out of focus or moved. Use a sharper photo."
        yield Finding("blurred", "reject", face.sharpness, asked, advice)


def face_luma(image_rgb: ImageArray, face: Face) -> np.ndarray:
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


def _exposure(image: ImageArray, face: Face, settings: CheckSettings) -> Iterator[Finding]:
    luma = face_luma(image, face)
    highlight = float(np.percentile(luma, 95))
    blown, crushed = float(np.mean(luma >= 250.0)), float(np.mean(luma <= 12.0))
    dark = "The face is too dark. Use a photo with light on the face."
    bright = "The face is burnt out. Use a photo with softer light or less exposure."
    if face.brightness < settings.min_brightness:
        yield Finding("under_exposed", "reject", face.brightness, settings.min_brightness, dark)
    elif highlight < settings.min_highlight:
        yield Finding("under_exposed", "reject", highlight, settings.min_highlight, dark)
    elif face.brightness > settings.max_brightness:
        yield Finding("over_exposed", "reject", face.brightness, settings.max_brightness, bright)
    elif blown > settings.max_blown_share:
        yield Finding("over_exposed", "reject", blown, settings.max_blown_share, bright)
    elif blown + crushed > settings.max_clipped_share:
        advice = "Much of the face is pure black or white. A photo in softer light teaches more."
        yield Finding("harsh_contrast", "warn", blown + crushed, settings.max_clipped_share, advice)


def _cut_off(photo: Photo, face: Face, settings: CheckSettings) -> Iterator[Finding]:
    """The room between the face (box, keypoints, landmarks) and the nearest border, in face sizes."""
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


def _extreme_pose(face: Face, settings: CheckSettings) -> Iterator[Finding]:
    if face.pose_deg is None:
        yield Finding("extreme_pose", "not_checked", None, None, "This face pack does not measure the pose.")
        return
    pitch, yaw, roll = face.pose_deg
    limits = (
        (abs(yaw), settings.max_yaw_deg, "turned away too far"),
        (abs(pitch), settings.max_pitch_deg, "tilted up or down too far"),
        (abs(roll), settings.max_roll_deg, "leaning too far; turn the picture upright"),
    )
    over = [(angle / limit, angle, limit, words) for angle, limit, words in limits if angle > limit]
    if over:
        _, angle, limit, words = max(over)
        yield Finding("extreme_pose", "reject", angle, limit, f"The head is {words}. Use a calmer pose.")


def _not_checked() -> tuple[Finding, ...]:
    advice = "This face pack cannot tell; look for yourself."
    return tuple(Finding(code, "not_checked", None, None, advice) for code in ("occluded", "sunglasses"))
