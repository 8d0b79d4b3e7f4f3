"""Similarity of portraits to held-out photos, with its ceiling and impostor floor.

One statistic throughout: the *mean cosine* of a picture's embedding to the held-out photos.  The
ceiling is that statistic for real photos of the person, the impostor floor for other people, so all
three stand on one axis.  Legend: N held-out photos, M training photos, P people, K pictures each, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from portrait_lora.errors import InputError, PhotosError
from portrait_lora.pictures.reader import read_rgb
from portrait_lora.records import (
    Face,
    Finding,
    FloatArray,
    IdentityScore,
    Layers,
    Portrait,
    RGBImage,
    readonly,
)
from portrait_lora.vocabulary import view_of

FaceSeen = Callable[[Path, RGBImage, Face | None], None]
"""Called once per picture with its pixels and the face that was scored; for crops and progress."""

POSE_MATCH_DEG: Final = 10.0
"""Maximum yaw difference of real photos that match a portrait's pose."""
MIN_HOLDOUT: Final = 2
"""Minimum number of faces for a ceiling: a held-out photo is compared with the others."""


class FaceFinder(Protocol):
    """The part of a face analyzer that this module uses."""

    @property
    def embedder_id(self) -> str: ...

    def find(self, image_rgb: RGBImage, /) -> list[Face]: ...


@dataclass(frozen=True, slots=True)
class PortraitItem:
    """A picture to score; `name` is its name in reports (default: the file name).

    `layers` are what its prompt was composed of; none for a picture from elsewhere.
    """

    path: Path
    prompt: str
    name: str = ""
    layers: Layers = ()

    @classmethod
    def of(cls, portrait: Portrait) -> PortraitItem:
        """A portrait that was drawn here."""
        return cls(portrait.path, portrait.shot.prompt, layers=portrait.shot.layers)

    @property
    def label(self) -> str:
        return self.name or self.path.name


Unreadable = Callable[[PortraitItem, InputError], None]


@dataclass(frozen=True, slots=True)
class ReferenceSet:
    """Embeddings of real photos, (N, D) with unit rows, their names, and their embedder."""

    embeddings: FloatArray
    names: tuple[str, ...]
    embedder_id: str = ""
    yaws_deg: tuple[float | None, ...] = ()

    def __post_init__(self) -> None:
        rows = np.asarray(self.embeddings, dtype=np.float32)
        if rows.ndim != 2 or len(rows) != len(self.names):
            raise InputError("embeddings and names differ", got=f"{rows.shape} and {len(self.names)} names")
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        if not np.isfinite(rows).all() or (norms < 1e-6).any():
            raise InputError("an embedding is empty or not finite", needed="unit-norm rows")
        object.__setattr__(self, "embeddings", readonly(rows / norms))

    def __len__(self) -> int:
        return len(self.names)


def subject_face(faces: Sequence[Face]) -> Face | None:
    """The largest face; a portrait has one subject, bystanders are smaller."""
    return max(faces, key=lambda face: face.size_px, default=None)


def known_face(faces: Sequence[Face], known: ReferenceSet, threshold: float) -> Face | None:
    """The largest face verified against `known`; the largest of all when none is.

    Photographs may show somebody nearer to the camera than the subject.
    """
    centre = known.embeddings.mean(axis=0)
    own = [face for face in faces if float(_unit(face.embedding[None])[0] @ centre) >= threshold]
    return subject_face(own or faces)


def embed_photos(
    paths: Sequence[Path],
    finder: FaceFinder,
    *,
    min_faces: int = 0,
    on_face: FaceSeen | None = None,
    subject: Callable[[Sequence[Face]], Face | None] = subject_face,
) -> tuple[ReferenceSet, tuple[tuple[str, Finding], ...]]:
    """Embed the face of each photo that `subject` chooses; photos without one are returned as findings.

    Raises PhotosError when fewer than `min_faces` remain (use `MIN_HOLDOUT` for held-out photos).
    """
    rows: list[FloatArray] = []
    names: list[str] = []
    yaws: list[float | None] = []
    skipped: list[tuple[str, Finding]] = []
    for path in map(Path, paths):
        image = read_rgb(path)
        face = subject(finder.find(image))
        if on_face is not None:
            on_face(path, image, face)
        if face is None:
            advice = "No face was detected in this photo, so it is not used for comparison."
            skipped.append((path.name, Finding("no_face", "warn", 0.0, 1.0, advice)))
            continue
        rows.append(face.embedding)
        names.append(path.name)
        yaws.append(None if face.pose_deg is None else face.pose_deg[1])
    if len(rows) < min_faces:
        raise PhotosError(
            "too few photos with a face",
            got=f"{len(rows)} of {len(paths)}",
            needed=min_faces,
            remedy="Hold out more photos with a clearly visible face.",
        )
    matrix = np.stack(rows) if rows else np.zeros((0, 1), dtype=np.float32)
    return ReferenceSet(matrix, tuple(names), finder.embedder_id, tuple(yaws)), tuple(skipped)


def score_portraits(
    portraits: Sequence[PortraitItem],
    holdout: ReferenceSet,
    finder: FaceFinder,
    *,
    on_face: FaceSeen | None = None,
    on_unreadable: Unreadable | None = None,
) -> tuple[IdentityScore, ...]:
    """Mean cosine of each portrait's largest face to the held-out photos; None where there is no face.

    A file that cannot be read raises InputError; with `on_unreadable` it is reported there and counts as a
    portrait without a face, so that a tool gains nothing by writing broken files.
    """
    if not len(holdout):
        raise PhotosError("there is no held-out photo to compare with", got=0, needed=MIN_HOLDOUT)
    if holdout.embedder_id and holdout.embedder_id != finder.embedder_id:
        raise InputError(
            "portraits and held-out photos were embedded by different models",
            got=f"{finder.embedder_id} and {holdout.embedder_id}",
            remedy="Embed both with one embedder: similarities of different embedders are not comparable.",
        )
    scores: list[IdentityScore] = []
    for item in portraits:
        try:
            image = read_rgb(item.path)
        except InputError as error:
            if on_unreadable is None:
                raise
            on_unreadable(item, error)
            scores.append(_score(item, [], holdout, finder.embedder_id))
            continue
        faces = finder.find(image)
        if on_face is not None:
            on_face(item.path, image, subject_face(faces))
        scores.append(_score(item, faces, holdout, finder.embedder_id))
    return tuple(scores)


def _score(
    item: PortraitItem, faces: Sequence[Face], holdout: ReferenceSet, embedder_id: str
) -> IdentityScore:
    face = subject_face(faces)
    if face is None:
        return IdentityScore(item.label, item.prompt, None, None, None, embedder_id, layers=item.layers)
    cosines = holdout.embeddings @ _unit(face.embedding)
    return IdentityScore(
        portrait=item.label,
        prompt=item.prompt,
        similarity=float(cosines.mean()),
        nearest=holdout.names[int(cosines.argmax())],
        pose_bin=None if face.pose_deg is None else view_of(face.pose_deg[1]),
        embedder_id=embedder_id,
        yaw_deg=None if face.pose_deg is None else face.pose_deg[1],
        face_px=face.size_px,
        faces=len(faces),
        layers=item.layers,
    )


def real_scores(training: ReferenceSet, holdout: ReferenceSet) -> FloatArray:
    """(M + N,) mean cosine of every real photo to the held-out photos other than itself."""
    if len(holdout) < MIN_HOLDOUT:
        raise PhotosError("the ceiling needs more held-out photos", got=len(holdout), needed=MIN_HOLDOUT)
    shared = sorted(set(training.names) & set(holdout.names))
    if shared:
        raise InputError("a photo is both in training and held out", got=", ".join(shared[:3]))
    if training.embedder_id != holdout.embedder_id:
        raise InputError(
            "training and held-out photos were embedded by different models",
            got=f"{training.embedder_id} and {holdout.embedder_id}",
        )
    n = len(holdout)
    pairs = holdout.embeddings @ holdout.embeddings.T
    without_itself = (pairs.sum(axis=1) - np.diag(pairs)) / (n - 1)
    if not len(training):
        return without_itself
    return np.concatenate([(training.embeddings @ holdout.embeddings.T).mean(axis=1), without_itself])


def ceiling(training: ReferenceSet, holdout: ReferenceSet) -> float:
    """The ceiling: mean of `real_scores` of the person's real photos.

    `training` must not contain the held-out photos; they are added here, each without itself.
    """
    return float(real_scores(training, holdout).mean())


UNLIKE: Final = 0.5
"""Of the threshold: other people stay below a fifth of it, the person's own profiles above two thirds."""


def unlike_others(references: ReferenceSet, threshold: float) -> tuple[str, ...]:
    """Names of the photos whose cosines to the closer half of the others average below half the threshold.

    With two photos nobody can say which is the wrong one: none is named.
    """
    count = len(references)
    if count < 3:
        return ()
    cosines = references.embeddings @ references.embeddings.T
    names = []
    for i, name in enumerate(references.names):
        others = np.sort(np.delete(cosines[i], i))[::-1]
        if float(others[: max(1, (count - 1) // 2)].mean()) < UNLIKE * threshold:
            names.append(name)
    return tuple(names)


def pose_matched_ceiling(
    training: ReferenceSet, holdout: ReferenceSet, portrait_yaws_deg: Sequence[float]
) -> float | None:
    """The ceiling matched to these yaws: profiles of the real person score lower, too.

    For each portrait the mean of `real_scores` over the photos within `POSE_MATCH_DEG` of its yaw, or over
    the nearest one.  None when no yaw is known on either side.
    """
    real = real_scores(training, holdout)
    known = (*(training.yaws_deg or (None,) * len(training)), *(holdout.yaws_deg or (None,) * len(holdout)))
    seen = np.array([yaw is not None for yaw in known])
    if not seen.any() or not len(portrait_yaws_deg):
        return None
    yaws = np.array([yaw for yaw in known if yaw is not None])
    away = np.abs(np.asarray(portrait_yaws_deg)[:, None] - yaws[None, :])
    near = away <= np.maximum(away.min(axis=1, keepdims=True), POSE_MATCH_DEG)
    return float(((near @ real[seen]) / near.sum(axis=1)).mean())


def impostor_scores(gallery: FloatArray, holdout: ReferenceSet) -> FloatArray:
    """(P, K) mean cosine of each gallery picture (P, K, D) of other people to the held-out photos."""
    people = np.asarray(gallery, dtype=np.float32)
    if people.ndim != 3 or not people.size or people.shape[-1] != holdout.embeddings.shape[-1]:
        raise InputError(
            "the impostor gallery does not match the embedder",
            got=people.shape,
            needed=f"(P, K, {holdout.embeddings.shape[-1]})",
        )
    return (_unit(people) @ holdout.embeddings.T).mean(axis=-1)


def impostor(gallery: FloatArray, holdout: ReferenceSet) -> float:
    """The impostor floor: mean of `impostor_scores`."""
    return float(impostor_scores(gallery, holdout).mean())


def verified(score: IdentityScore, threshold: float) -> bool:
    """Whether the portrait is verified as the person; never without a face."""
    return score.similarity is not None and score.similarity >= threshold


def _unit(vectors: FloatArray) -> FloatArray:
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-12), dtype=np.float32)
