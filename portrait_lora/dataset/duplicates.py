"""Duplicate detection: copies, re-encodings, crops, resized or softened versions; and photos of one burst.

A copy that was cropped, squared, framed, mirrored or captured as a screenshot has another frame, and
keypoints jitter between copies.  So the aligned faces are registered (`overlay`), and from there the whole
frames: two different photos never match to the pixel, in both.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from portrait_lora.dataset.better_copy import CopyQuality, quality_of
from portrait_lora.dataset.matching import Features, features_of, same_scene
from portrait_lora.dataset.overlay import Frame, Mask, aligned_luma, frame_of, frames_fit, laid_over
from portrait_lora.dataset.surroundings import Surroundings, surroundings_of
from portrait_lora.faces.quality import aligned_crop
from portrait_lora.records import Face, FloatArray, Photo, RGBImage

FACE_SIDE: Final = 40

TO_THE_PIXEL: Final = 0.995
"""Correlation of registered faces from which pictures are duplicates although predicted expressions or the
embedder deny it (grey copies), or the frames differ (another backdrop)."""
SAME_FRAME: Final = 0.99
"""Correlation of registered frames from which the embedder is not asked: it fails on some profiles."""
LINKED_FIT: Final = 0.96
"""Different photos of studio people reach 0.955, photographs 0.937, copies have 0.990 and more."""
BURST_S: Final = 1.0
BURST_FIT: Final = 0.80
"""Correlation of faces or frames from which two photos of one second are nearly alike."""
ALIKE_FIT: Final = 0.90
ALIKE_FRAME: Final = 0.93
"""Correlations of faces and of frames from which photos are nearly alike, as those of a burst, although their
files do not say when they were taken: a studio head that turns by 4° has 0.98, by 10° 0.84 to 0.94."""
SCREEN_FACE: Final = 0.90
HALF_SCREEN_FACE: Final = 0.70
HALF_SCREEN_EMBEDDING: Final = 0.65
ROUGH_FACE: Final = 0.50
"""On photographs keypoints jitter: copies with equal frames were seen down to 0.55."""
CLOSE_EMBEDDING: Final = 0.80


@dataclass(frozen=True, slots=True)
class Limits:
    """The minimum correlations of registered faces and of the frames around them, and the minimum cosine of
    embeddings, of near-duplicates."""

    face: float
    frame: float
    embedding: float


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A photo's fingerprint: small pixels of the frame and of the aligned face."""

    photo: Photo
    face: FloatArray  # (FACE_SIDE²,) zero mean, unit norm
    aligned: FloatArray  # (overlay.SIDE, overlay.SIDE) luma of the aligned face
    inside: Mask  # of the same shape: what of it lies inside the picture
    frame: Frame
    features: Features
    mirrored_features: Features
    embedding: FloatArray
    expression: str | None
    quality: CopyQuality
    surroundings: Surroundings


def fingerprint_of(photo: Photo, image_rgb: RGBImage, face: Face) -> Fingerprint:
    """The fingerprint of a picture; `face` is in its pixels, `photo` has the full size."""
    crop = np.asarray(aligned_crop(image_rgb, face.keypoints_px, 112), dtype=np.uint8)
    aligned, inside = aligned_luma(image_rgb, face.keypoints_px)
    return Fingerprint(
        photo=photo,
        face=_normalised(crop, FACE_SIDE),
        aligned=aligned,
        inside=inside,
        frame=frame_of(image_rgb, face.keypoints_px),
        features=features_of(image_rgb),
        mirrored_features=features_of(np.ascontiguousarray(image_rgb[:, ::-1])),
        embedding=face.embedding,
        expression=face.expression,
        quality=quality_of(photo, image_rgb, face),
        surroundings=surroundings_of(image_rgb, face, crop),
    )


class Fingerprints:
    """The fingerprints of photos, computed while pixels are in memory, so that no file is decoded twice."""

    def __init__(self) -> None:
        self._taken: dict[tuple[Path, str], Fingerprint] = {}

    def see(self, photo: Photo, image_rgb: RGBImage, face: Face) -> None:
        """Store the fingerprint of a picture; `face` is in its pixels."""
        self._taken[photo.path, photo.sha256] = fingerprint_of(photo, image_rgb, face)

    def of(self, photo: Photo) -> Fingerprint | None:
        """The fingerprint of exactly these bytes; None if unknown."""
        return self._taken.get((photo.path, photo.sha256))


def _normalised(image_rgb: RGBImage, side: int) -> FloatArray:
    """Grey, `side`×`side`, blurred so that focus and noise do not matter, zero mean, unit norm."""
    grey = cv2.cvtColor(np.ascontiguousarray(image_rgb), cv2.COLOR_RGB2GRAY).astype(np.float32)
    small = cv2.GaussianBlur(cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA), (0, 0), 0.8)
    flat = small.ravel() - small.mean()
    return np.asarray(flat / max(float(np.linalg.norm(flat)), 1e-6), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Likeness:
    """How alike two photos are: correlations 0..1 of the registered faces and of the frames around them."""

    fit: float
    frame: float
    embedding: float  # cosine
    other_expression: bool
    seconds: float | None  # between the two exposures, by their files

    def near_duplicate(self, limits: Limits) -> bool:
        """Whether both are copies of one picture."""
        strange = self.embedding < limits.embedding and self.frame < SAME_FRAME
        denied = self.other_expression or strange
        least = max(limits.face, TO_THE_PIXEL) if denied else limits.face
        return self.fit >= least and (self.frame >= limits.frame or self.fit >= TO_THE_PIXEL)

    @property
    def burst(self) -> bool:
        """Whether both were taken in the same second and are nearly alike, or look as if."""
        if self.at_once and self.alike >= BURST_FIT:
            return True
        return self.fit >= ALIKE_FIT and self.frame >= ALIKE_FRAME

    @property
    def at_once(self) -> bool:
        """Whether the files say that both were taken in the same second."""
        return self.seconds is not None and self.seconds <= BURST_S

    @property
    def alike(self) -> float:
        """The larger correlation."""
        return max(self.fit, self.frame)

    @property
    def burst_limit(self) -> float:
        """The minimum of `alike` for a burst."""
        return BURST_FIT if self.at_once else ALIKE_FIT

    def linked(self, limits: Limits) -> bool:
        """Whether the photos are too alike to stand on both sides of the holdout."""
        return self.burst or self.near_duplicate(limits) or self.fit >= min(LINKED_FIT, limits.face)


Pairs = Mapping[tuple[int, int], Likeness]
"""The pairs of photos, by their indices, that are alike at all."""


def compare_all(fingerprints: Sequence[Fingerprint | None]) -> Pairs:
    """The likeness of every pair that is alike at all; the others are left out."""
    known = [(i, fingerprint) for i, fingerprint in enumerate(fingerprints) if fingerprint is not None]
    pairs = (((i, j), compare(a, b)) for (i, a), (j, b) in itertools.combinations(known, 2))
    return {pair: likeness for pair, likeness in pairs if likeness is not None}


def compare(a: Fingerprint, b: Fingerprint) -> Likeness | None:
    """How alike two photos are; None when they are far apart.  The same bytes are always duplicates."""
    cosine = float(a.embedding @ b.embedding)
    differs = None not in (a.expression, b.expression) and a.expression != b.expression
    seconds = None
    if a.photo.taken_s is not None and b.photo.taken_s is not None:
        seconds = abs(a.photo.taken_s - b.photo.taken_s)
    if a.photo.sha256 and a.photo.sha256 == b.photo.sha256:
        return Likeness(1.0, 1.0, cosine, False, seconds)
    straight = float(a.face @ b.face)
    turned = float(a.face @ b.face.reshape(FACE_SIDE, FACE_SIDE)[:, ::-1].ravel())
    cut = not (a.inside.all() and b.inside.all())  # what lies outside spoils the rough correlation
    at_once = seconds is not None and seconds <= BURST_S
    look = at_once or _worth_a_look(max(straight, turned), cut, cosine)
    likenesses: list[Likeness] = []
    for mirrored in (False, True):
        move = same_scene(a.features, b.mirrored_features if mirrored else b.features)
        likelier = turned > straight if mirrored else straight >= turned
        if move is not None or (look and (cut or likelier)):
            fit, frame = _laid_over(a, b, mirrored, move)
            likenesses.append(Likeness(fit, frame, cosine, differs, seconds))
    return max(likenesses, key=lambda one: one.fit, default=None)


def _laid_over(
    a: Fingerprint, b: Fingerprint, mirrored: bool, scene: FloatArray | None
) -> tuple[float, float]:
    """The correlations of the faces and of the frames; `scene` is the transform of the points of features."""
    frame_b = b.frame.mirrored() if mirrored else b.frame
    face_b, inside_b = (b.aligned[:, ::-1], b.inside[:, ::-1]) if mirrored else (b.aligned, b.inside)
    if scene is None:
        start = np.eye(3, dtype=np.float32)
    else:
        start = (
            frame_b.to_face @ frame_b.of_points @ scene @ np.linalg.inv(a.frame.to_face @ a.frame.of_points)
        )
    fit, move = laid_over(a.aligned, a.inside, face_b, inside_b, np.asarray(start, dtype=np.float32))
    if scene is None and fit == 0:
        return 0.0, 0.0
    return fit, frames_fit(
        a.frame, frame_b, np.asarray(start if scene is not None else move, dtype=np.float32)
    )


def _worth_a_look(screened: float, cut: bool, cosine: float) -> bool:
    """Whether to register two faces: it costs a millisecond, and a set of 60 photos has 1,770 pairs."""
    close = (cut or screened >= ROUGH_FACE) and cosine >= CLOSE_EMBEDDING
    half = screened >= HALF_SCREEN_FACE and cosine >= HALF_SCREEN_EMBEDDING
    return close or half or screened >= SCREEN_FACE


def groups(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The connected components of a graph, sorted; single photos are in none."""
    member_of: dict[int, set[int]] = {}
    for i, j in pairs:
        merged = member_of.get(i, {i}) | member_of.get(j, {j})
        for n in merged:
            member_of[n] = merged
    return [list(group) for group in sorted({tuple(sorted(group)) for group in member_of.values()})]
