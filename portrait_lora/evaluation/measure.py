"""The measurement common to all scores: portraits and real photos with one embedder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from threadpoolctl import threadpool_limits

from portrait_lora.errors import InputError
from portrait_lora.evaluation import drift, overview, protocol, similarity
from portrait_lora.evaluation.clip import ClipAdherence, clip_adherence
from portrait_lora.evaluation.copyview import View, view
from portrait_lora.evaluation.thresholds import Threshold
from portrait_lora.faces.backends import Analyzer
from portrait_lora.faces.pack import FacePack
from portrait_lora.records import DriftReport, Face, FloatArray


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to measure.  Without `training`, copies of `holdout` are searched for.

    `clip`: the CLIP model for prompt adherence, if any; `trigger` is removed from its prompts.
    """

    holdout: Sequence[Path]
    training: Sequence[Path]
    portraits: Sequence[similarity.PortraitItem]
    base: Sequence[similarity.PortraitItem] = ()
    meanings: Mapping[str, str] = field(default_factory=dict)
    repeated: Sequence[tuple[str, str]] = ()
    lenient: bool = False
    threshold: Threshold | None = None
    clip: str = ""
    trigger: str = ""


@dataclass(frozen=True, slots=True)
class Looked:
    """The report, its extras, and crops of the held-out photos for the overview."""

    report: DriftReport
    extras: protocol.Extras
    heads: tuple[Image.Image, ...]
    skipped_photos: tuple[str, ...]
    unlike: tuple[str, ...] = ()
    """Real photos that do not resemble the others: somebody else, or a face that the embedder cannot read."""


class PhotosSeen:
    """Views and head crops of the real photos with a detected face."""

    def __init__(self) -> None:
        self.views: list[View] = []
        self.heads: list[Image.Image] = []

    def __call__(self, path: Path, image: similarity.RGBImage, face: Face | None) -> None:
        if face is not None:
            self.heads.append(overview.head_square(image, face))
            self.views.append(view(image, face.keypoints_px))


class PortraitsSeen:
    """The face and the view of every portrait, by name."""

    def __init__(self, items: Sequence[similarity.PortraitItem]) -> None:
        self._items = {item.path: item for item in items}
        self.seen: list[protocol.Seen] = []
        self.unreadable: list[str] = []

    def __call__(self, path: Path, image: similarity.RGBImage, face: Face | None) -> None:
        around = None if face is None else view(image, face.keypoints_px)
        item = self._items[path]
        self.seen.append(protocol.Seen(item.label, item.prompt, face, around, item.layers))

    def broken(self, item: similarity.PortraitItem, error: InputError) -> None:
        self.seen.append(protocol.Seen(item.label, item.prompt, None, None, item.layers))
        self.unreadable.append(item.label)


def look(finder: Analyzer, wanted: Wanted) -> Looked:
    """Measure.  Raises PhotosError with fewer than two usable held-out photos, InputError for bad input."""
    # The products are small: further threads of the matrix library wait longer than they help.
    with threadpool_limits(1, user_api="blas"):
        return _look(finder, wanted)


def _look(finder: Analyzer, wanted: Wanted) -> Looked:
    pack = finder.pack
    real, trained = PhotosSeen(), PhotosSeen()
    holdout, skipped = similarity.embed_photos(
        wanted.holdout, finder, min_faces=similarity.MIN_HOLDOUT, on_face=real
    )
    limit, rate = _threshold(finder, wanted.threshold)
    training, skipped_too = training_photos(wanted.training, finder, trained, holdout, limit)
    portraits = PortraitsSeen(wanted.portraits)
    on_unreadable = portraits.broken if wanted.lenient else None
    scores = similarity.score_portraits(
        wanted.portraits, holdout, finder, on_face=portraits, on_unreadable=on_unreadable
    )
    base_scores = similarity.score_portraits(wanted.base, holdout, finder) if wanted.base else ()
    impostors = None if pack.impostors is None else finder.impostor_embeddings()
    floor, floor_source = _floor(pack, impostors, holdout)
    sources = (
        (trained.views, real.views, training.names) if trained.views else (real.views, [], holdout.names)
    )
    copied = protocol.copies(portraits.seen, *sources, portrait_count=len(scores))
    report = drift.drift_report(
        scores,
        base_scores,
        holdout=holdout.names,
        pack_digest=pack.digest,
        threshold=limit,
        false_match_rate=rate,
        ceiling=similarity.ceiling(training, holdout),
        impostor=floor,
        impostor_source=floor_source,
        copy_score=float("nan") if copied is None else copied.score,
    )
    extras = protocol.extras(
        report,
        portraits.seen,
        training=training,
        holdout=holdout,
        photo_views=[*trained.views, *real.views],
        impostors=impostors,
        copied=copied,
        meanings=wanted.meanings,
        unreadable=portraits.unreadable,
        repeated=wanted.repeated,
        clip=_by_clip(wanted),
    )
    names = tuple(name for name, _ in (*skipped, *skipped_too))
    return Looked(report, extras, tuple(real.heads), names, similarity.unlike_others(holdout, limit))


def _floor(
    pack: FacePack, impostors: FloatArray | None, holdout: similarity.ReferenceSet
) -> tuple[float, str]:
    """(impostor floor, its source): from a gallery, else published; NaN without either."""
    if impostors is not None:
        return similarity.impostor(impostors, holdout), f"gallery of {len(impostors)} people"
    published = pack.published("report")
    if published is not None:
        return published.mean, f"published calibration of {pack.name}: {published.source}"
    return float("nan"), f"not measured: {pack.name} has no gallery, and nothing is published of it"


def _by_clip(wanted: Wanted) -> ClipAdherence | None:
    if not wanted.clip:
        return None
    pairs = [(item.path, item.prompt) for item in wanted.portraits]
    return clip_adherence(pairs, wanted.clip, trigger=wanted.trigger)


def _threshold(finder: Analyzer, own: Threshold | None) -> tuple[float, float]:
    """(similarity, false-match rate): the pack's, or the user's own for the same embedder."""
    if own is None:
        return finder.pack.threshold("report"), finder.pack.rate_at_threshold("report")
    if own.embedder_id != finder.embedder_id:
        got, needed = own.embedder_id, finder.embedder_id
        raise InputError("the threshold is for another embedder", got=got, needed=needed)
    return own.similarity, own.false_match_rate


def training_photos(
    paths: Sequence[Path],
    finder: similarity.FaceFinder,
    seen: PhotosSeen,
    holdout: similarity.ReferenceSet,
    threshold: float,
) -> tuple[similarity.ReferenceSet, tuple[tuple[str, object], ...]]:
    """The training photos by the face that is verified against `holdout` (`similarity.known_face`).

    An empty set of the right width when there are none.
    """
    if paths:
        embeddings, skipped = similarity.embed_photos(
            paths,
            finder,
            on_face=seen,
            subject=lambda faces: similarity.known_face(faces, holdout, threshold),
        )
        if len(embeddings):
            return embeddings, skipped
    return similarity.ReferenceSet(holdout.embeddings[:0], (), finder.embedder_id), ()
