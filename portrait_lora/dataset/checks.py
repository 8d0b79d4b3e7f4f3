"""The photo check: decode, detect the subject's face, report findings.

A bad photo is data, not an exception.  The thresholds and the findings are in `findings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from portrait_lora import log
from portrait_lora.dataset import findings, panorama
from portrait_lora.dataset.findings import CODES, DETECT_SIDE_PX, CheckSettings, face_luma
from portrait_lora.dataset.named import require_named
from portrait_lora.dataset.photos import (
    UnreadablePhoto,
    list_photos,
    load_photo,
    photos_in_subfolders,
    pixels_of,
)
from portrait_lora.dataset.prominence import most_like, ordered, prominent, several_faces
from portrait_lora.dataset.second_look import SURE_SCORE, second_look
from portrait_lora.dataset.subject import unit_mean
from portrait_lora.dataset.unseen import unseen
from portrait_lora.records import Face, Finding, FloatArray, Photo, PhotoEdit, PhotoReport, RGBImage, readonly

__all__ = ["CODES", "CheckSettings", "check_folder", "check_photo", "face_luma", "move_face"]

NO_FACE: Final = Finding(
    "no_face", "reject", 0.0, 1.0, "No face was found. Use a photo where the face is in plain view."
)

Progress = Callable[[str, int], AbstractContextManager[Callable[..., Any]]]


Seen = Callable[[Photo, RGBImage, Face], None]
"""Called for every accepted photo with its downscaled pixels and the face in those pixels."""


class FaceFinder(Protocol):
    """The part of a face pack that the checks use."""

    @property
    def embedder_id(self) -> str: ...

    def find(self, image_rgb: RGBImage) -> list[Face]:
        """The faces of an RGB uint8 HWC picture, largest first."""
        ...

    def covered_face(self, image_rgb: RGBImage) -> Face | None:
        """The most confident low-score face that is partly covered by an object."""
        ...


def check_folder(
    folder: Path,
    analyzer: FaceFinder,
    settings: CheckSettings,
    progress: Progress = log.progress,
    seen: Seen | None = None,
    edits: Mapping[str, PhotoEdit] | None = None,
    tell: Callable[[PhotoReport], None] | None = None,
) -> list[PhotoReport]:
    """A report for every picture of `folder`, sorted by name; nothing is written there.

    `edits` says by file name how a photo is turned and cropped.  `tell` hears each report as it comes; later
    looks at the whole set may still change it.

    The subject of a photo with several prominent faces is the one most like the other photos.  Subfolders
    are not read; pictures in them are logged.  Raises InputError when the folder cannot be read.
    """
    paths, edits = list_photos(folder), edits or {}
    require_named(edits, [p.name for p in paths], "dataset.edits")
    _tell_of_subfolders(photos_in_subfolders(folder))
    reports = []
    with progress("checking photos", len(paths)) as advance:
        for path in paths:
            reports.append(check_photo(path, analyzer, settings, seen, edit=edits.get(path.name)))
            advance(1)
            if tell is not None:
                tell(reports[-1])
    subject = _most_common(reports)
    for i, report in enumerate(reports):
        if report.face is not None and most_like([report.face, *report.others], subject)[0] != report.face:
            path = report.photo.path
            reports[i] = check_photo(path, analyzer, settings, seen, subject, edit=edits.get(path.name))
    return reports


_FEWEST_ALONE: Final = 3


def _most_common(reports: Sequence[PhotoReport]) -> FloatArray | None:
    """(D,) the mean face of the photos that show one person, without the half least like the others.

    None from fewer than three such photos.
    """
    alone = [r.face.embedding for r in reports if r.face is not None and not r.others]
    if len(alone) < _FEWEST_ALONE:
        return None
    vectors = np.stack(alone)
    likeness = np.median(vectors @ vectors.T, axis=1)
    best = np.argsort(-likeness, kind="stable")[: (len(alone) + 1) // 2]
    return unit_mean(vectors[best])


def _tell_of_subfolders(left_out: Iterable[tuple[str, int]]) -> None:
    for name, count in left_out:
        text = "%d pictures in the subfolder %r are ignored; move them up to use them"
        log.get(__name__).warning(text, count, name)


def check_photo(
    path: Path,
    analyzer: FaceFinder,
    settings: CheckSettings,
    seen: Seen | None = None,
    subject: FloatArray | None = None,
    *,
    edit: PhotoEdit | None = None,
) -> PhotoReport:
    """Decode one photo, detect its subject's face and report findings.

    The subject is the most prominent face, or one that is clearly more like the unit-norm `subject` (D,).
    """
    most = int(settings.max_megapixels * 1e6)
    try:
        photo, image = load_photo(path, DETECT_SIDE_PX, max_pixels=most, quick=True, edit=edit)
        if panorama.is_long(photo.size_px):
            side = panorama.side_px(photo.size_px, DETECT_SIDE_PX)
            photo, image = load_photo(path, side, max_pixels=most, quick=True, edit=edit)
        find = panorama.in_windows(analyzer.find)
        first = find(image)
        faces, hidden = second_look(image, first, find)
        if not first and not (faces and faces[0].score >= SURE_SCORE):
            covered = analyzer.covered_face(image)
            if covered is not None:
                faces, hidden = [covered], False
                first = faces
        if not faces:
            low = tuple(findings.low_resolution(photo, settings))
            return PhotoReport(photo, None, (unseen(image, find, settings) or NO_FACE, *low))
        scale = max(photo.size_px) / max(image.shape[:2])
        as_found = faces is first
        faces = ordered(faces, image)
        faces = most_like([faces[0], *prominent(faces[0], faces[1:], settings)], subject)
        face, view, view_face = move_face(faces[0], scale), image, faces[0]
        if as_found:
            face, view, view_face = _closer_look(photo, image, faces[0], analyzer, scale)
    except UnreadablePhoto as error:  # also when the file goes away between two looks at it
        return unreadable(error)
    remarks = [*several_faces(photo, faces, image, settings)]
    remarks += findings.of_face(photo, face, view, view_face, settings, hidden=hidden)
    remarks.sort(key=lambda f: f.severity == "not_checked")
    report = PhotoReport(photo, face, tuple(remarks), tuple(move_face(f, scale) for f in faces[1:]))
    if report.accepted and seen is not None:
        seen(photo, image, move_face(face, 1 / scale))
    return report


def unreadable(error: UnreadablePhoto) -> PhotoReport:
    """The report of a file that cannot be used."""
    return PhotoReport(error.photo, None, (Finding("unreadable", "reject", None, None, error.advice),))


def _closer_look(
    photo: Photo, image: RGBImage, face: Face, analyzer: FaceFinder, scale: float
) -> tuple[Face, RGBImage, Face]:
    """The face in pixels of the original, and the picture (with the face in it) of the best resolution.

    A small face in a large photo is examined again at full size, so that downscaling does not count as blur.
    """
    if scale > 1.05 and face.size_px < 160.0:
        _, full = load_photo(photo.path, max_pixels=pixels_of(photo), edit=photo.edit)
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
