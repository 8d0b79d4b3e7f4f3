"""Duplicate detection: copies, re-encodings, resized or softened versions, bursts.

A copy that was cropped, squared, framed, mirrored or captured as a screenshot has another frame, and
keypoints jitter between copies.  So the aligned faces are also registered (`overlay`): two different photos
never match to the pixel.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from portrait_lora.dataset.overlay import Mask, aligned_luma, laid_over
from portrait_lora.dataset.surroundings import Surroundings, surroundings_of
from portrait_lora.faces.quality import aligned_crop
from portrait_lora.records import Face, FloatArray, Photo, RGBImage

FRAME_SIDE: Final = 48
FACE_SIDE: Final = 40
SHARPNESS_TIE: Final = 0.05
"""Sharpness within this factor counts as equal; then the larger picture is better."""


OTHER_EXPRESSION_FACE: Final = 0.997
"""Correlation of the aligned faces from which pictures are duplicates although expressions differ."""


OTHER_EMBEDDING_FIT: Final = 0.995
"""Correlation of registered faces from which the embedder is overruled (grey copies)."""
LINKED_FIT: Final = 0.975
"""Different photos of studio people reach 0.968, copies 0.985 and more (docs/log.md)."""
MIRRORED_FIT: Final = 0.99
"""Faces are nearly symmetric: one turned to the left and one turned to the right fit to 0.981, mirrored."""
SCREEN_FACE: Final = 0.90
ROUGH_FACE: Final = 0.50
"""On photographs keypoints jitter: copies with equal frames were seen down to 0.55."""
CLOSE_EMBEDDING: Final = 0.80


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A photo's fingerprint: normalised small pixels of the frame and of the aligned face."""

    photo: Photo
    frame: FloatArray  # (FRAME_SIDE²,) zero mean, unit norm
    face: FloatArray  # (FACE_SIDE²,) zero mean, unit norm
    aligned: FloatArray  # (overlay.SIDE, overlay.SIDE) luma of the aligned face
    inside: Mask  # of the same shape: what of it lies inside the picture
    embedding: FloatArray
    expression: str | None
    sharpness: float
    aspect: float
    surroundings: Surroundings


def fingerprint_of(photo: Photo, image_rgb: RGBImage, face: Face) -> Fingerprint:
    """The fingerprint of a picture; `face` is in its pixels, `photo` has the full size."""
    crop = np.asarray(aligned_crop(image_rgb, face.keypoints_px, 112), dtype=np.uint8)
    aligned, inside = aligned_luma(image_rgb, face.keypoints_px)
    width, height = photo.size_px
    return Fingerprint(
        photo=photo,
        frame=_normalised(image_rgb, FRAME_SIDE),
        face=_normalised(crop, FACE_SIDE),
        aligned=aligned,
        inside=inside,
        embedding=face.embedding,
        expression=face.expression,
        sharpness=face.sharpness,
        aspect=width / max(height, 1),
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


def same_picture(a: Fingerprint, b: Fingerprint, limits: tuple[float, float, float]) -> float | None:
    """The correlation of frames, or of registered faces, when `a` and `b` are near-duplicates, else None.

    `limits` are the minimum correlation of frames (and of registered faces), of aligned faces, and the
    minimum cosine of embeddings.
    The same bytes are always duplicates; pictures with different expressions are not, unless the faces match
    to the pixel, so that the predicted expressions must be wrong.
    """
    if a.photo.sha256 and a.photo.sha256 == b.photo.sha256:
        return 1.0
    frame, face = float(a.frame @ b.frame), float(a.face @ b.face)
    differs = None not in (a.expression, b.expression) and a.expression != b.expression
    face_limit = max(limits[1], OTHER_EXPRESSION_FACE) if differs else limits[1]
    alike = frame >= limits[0] and face >= face_limit and float(a.embedding @ b.embedding) >= limits[2]
    if alike and abs(np.log(a.aspect / b.aspect)) < 0.05:
        return frame
    fit = resemblance(a, b)
    least_fit = max(limits[0], OTHER_EXPRESSION_FACE if differs else 0.0)
    least_fit = max(least_fit, OTHER_EMBEDDING_FIT if float(a.embedding @ b.embedding) < limits[2] else 0.0)
    return fit if fit >= least_fit else None


def resemblance(a: Fingerprint, b: Fingerprint) -> float:
    """Correlation of the registered faces of two photos, 0..1, also mirrored; 0 when they are far apart."""
    straight = float(a.face @ b.face)
    mirrored = float(a.face @ b.face.reshape(FACE_SIDE, FACE_SIDE)[:, ::-1].ravel())
    screened = max(straight, mirrored)
    cut = not (a.inside.all() and b.inside.all())  # what lies outside spoils the rough correlation
    close = (cut or screened >= ROUGH_FACE) and float(a.embedding @ b.embedding) >= CLOSE_EMBEDDING
    if not (close or screened >= SCREEN_FACE):
        return 0.0
    fits = [0.0]
    if cut or straight >= mirrored:
        fits.append(laid_over(a.aligned, a.inside, b.aligned, b.inside))
    if cut or mirrored > straight:
        turned = laid_over(a.aligned, a.inside, b.aligned[:, ::-1], b.inside[:, ::-1])
        fits.append(turned if turned >= MIRRORED_FIT else 0.0)
    return max(fits)


def linked(fingerprints: Sequence[Fingerprint | None], limits: tuple[float, float, float]) -> frozenset[int]:
    """Indices of the photos that resemble another one too much to be split between training and holdout."""
    pairs = itertools.combinations(
        [(i, fingerprint) for i, fingerprint in enumerate(fingerprints) if fingerprint is not None], 2
    )
    close = min(LINKED_FIT, limits[0])
    return frozenset(n for (i, a), (j, b) in pairs if resemblance(a, b) >= close for n in (i, j))


def sharper(a: Fingerprint | None, b: Fingerprint | None) -> bool:
    """Whether `a` is the one to keep: the sharper; then the larger; then the first by name."""
    assert a is not None and b is not None
    if abs(a.sharpness - b.sharpness) > SHARPNESS_TIE * max(a.sharpness, b.sharpness, 1e-6):
        return a.sharpness > b.sharpness
    area_a, area_b = a.photo.size_px[0] * a.photo.size_px[1], b.photo.size_px[0] * b.photo.size_px[1]
    return area_a > area_b if area_a != area_b else a.photo.path.name < b.photo.path.name
