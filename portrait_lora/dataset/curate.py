"""Curation: the subject's photos without duplicates, some of them held out before training.

All decisions are deterministic: they depend on the reports and on the bytes of the photos only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from portrait_lora import log
from portrait_lora.dataset import coverage as cover
from portrait_lora.dataset.checks import move_face, unreadable
from portrait_lora.dataset.duplicates import (
    Fingerprint,
    Fingerprints,
    fingerprint_of,
    linked,
    same_picture,
    sharper,
)
from portrait_lora.dataset.photos import UnreadablePhoto, load_photo
from portrait_lora.dataset.subject import find_subject, unit_mean
from portrait_lora.dataset.surroundings import colour_groups
from portrait_lora.errors import PhotosError
from portrait_lora.records import CuratedSet, Finding, PhotoReport, RGBImage, readonly

LOOK_SIDE_PX = 640
Loader = Callable[[PhotoReport], RGBImage]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurateSettings:
    """The thresholds of curation; similarities are cosines of embeddings or correlations of pixels."""

    min_photos: int
    few_photos: int  # fewer usable photos give a warning
    max_photos: int  # above, the best covering subset is kept
    same_person_similarity: float  # the pack's threshold for two photos of one person
    duplicate_frame: float  # correlation of the whole frames
    duplicate_face: float  # correlation of the aligned faces
    duplicate_embedding: float


class TooFewPhotos(PhotosError):
    """Not enough usable photos; `reports` has every photo with all its findings, for the report page."""

    def __init__(self, reports: Sequence[PhotoReport], settings: CurateSettings, doubt: str = "") -> None:
        self.reports = tuple(reports)
        usable = [r for r in reports if r.accepted]
        lines = [f"{r.photo.path.name}: {', '.join(r.codes)}" for r in reports if not r.accepted]
        more = f" Rejected: {'; '.join(lines[:20])}{' …' if len(lines) > 20 else ''}." if lines else ""
        super().__init__(
            doubt or "not enough usable photos",
            got=f"{len(usable)} of {len(reports)}",
            needed=f"at least {settings.min_photos}",
            remedy=f"Add clear photos of the subject alone, or fix these.{more}",
        )


def curate(
    reports: Sequence[PhotoReport],
    settings: CurateSettings,
    *,
    fingerprints: Fingerprints | None = None,
    load: Loader | None = None,
) -> CuratedSet:
    """Add `near_duplicate`, `other_person` and `surplus` findings and split the remaining photos.

    `kept` (for training), `holdout` and `rejected` are disjoint and together are all of `reports`.
    Photos that are not in `fingerprints` are opened with `load`, which returns upright RGB pixels, any size;
    one that has become unreadable since the check is rejected as such.  Raises TooFewPhotos (exit code 3).
    """
    _one_embedder(reports)
    reports, seen = _fingerprint_all(reports, fingerprints or Fingerprints(), load or _load)
    marked = _mark_duplicates(reports, seen, settings)
    marked = _mark_others(marked, settings)
    usable = [i for i, r in enumerate(marked) if r.accepted]
    if len(usable) < settings.min_photos:
        raise TooFewPhotos(marked, settings)
    if len(usable) > settings.max_photos:
        marked = _mark_surplus(marked, seen, settings)
        usable = [i for i, r in enumerate(marked) if r.accepted]
    if len(usable) < settings.few_photos:
        text = "only %d usable photos: this works, but likeness and measurements are better with %d or more"
        log.get(__name__).warning(text, len(usable), settings.few_photos)
    return _split(marked, usable, seen, settings)


def _split(
    marked: list[PhotoReport],
    usable: list[int],
    fingerprints: list[Fingerprint | None],
    settings: CurateSettings,
) -> CuratedSet:
    accepted = [marked[i] for i in usable]
    limits = (settings.duplicate_frame, settings.duplicate_face, settings.duplicate_embedding)
    close = linked([fingerprints[i] for i in usable], limits)
    held = set(choose_holdout(accepted, holdout_count(len(accepted)), close))
    faces = [r.face for r in accepted if r.face is not None]
    around = [fingerprint.surroundings for i in usable if (fingerprint := fingerprints[i]) is not None]
    return CuratedSet(
        kept=tuple(r for i, r in enumerate(accepted) if i not in held),
        rejected=tuple(r for r in marked if not r.accepted),
        holdout=tuple(r for i, r in enumerate(accepted) if i in held),
        coverage=cover.coverage(accepted, around, settings.same_person_similarity),
        centroid=readonly(unit_mean(np.stack([f.embedding for f in faces]))),
        embedder_id=faces[0].embedder_id,
    )


def _one_embedder(reports: Sequence[PhotoReport]) -> None:
    names = {r.face.embedder_id for r in reports if r.face is not None}
    if len(names) > 1:
        raise ValueError(f"faces of different embedders cannot be compared: {sorted(names)}")


def _load(report: PhotoReport) -> RGBImage:
    width, height = report.photo.size_px
    return load_photo(report.photo.path, LOOK_SIDE_PX, max_pixels=max(1, width * height))[1]


def _fingerprint_all(
    reports: Sequence[PhotoReport], known: Fingerprints, load: Loader
) -> tuple[list[PhotoReport], list[Fingerprint | None]]:
    """The fingerprint of every accepted photo; photos that were removed or changed are now `unreadable`."""
    after, fingerprints = list(reports), [known.of(r.photo) if r.accepted else None for r in reports]
    for i, report in enumerate(reports):
        if fingerprints[i] is None and report.accepted and report.face is not None:
            try:
                fingerprints[i] = _fingerprint(report, load)
            except UnreadablePhoto as error:
                after[i] = unreadable(error)
    return after, fingerprints


def _fingerprint(report: PhotoReport, load: Loader) -> Fingerprint:
    assert report.face is not None
    image = load(report)
    scale = max(image.shape[:2]) / max(report.photo.size_px)
    return fingerprint_of(report.photo, image, move_face(report.face, scale))


def with_finding(report: PhotoReport, finding: Finding) -> PhotoReport:
    """The report with one more finding, before those that could not be checked."""
    checked = [f for f in report.findings if f.severity != "not_checked"]
    unchecked = [f for f in report.findings if f.severity == "not_checked"]
    return replace(report, findings=(*checked, finding, *unchecked))


def _mark_duplicates(
    reports: list[PhotoReport], fingerprints: list[Fingerprint | None], settings: CurateSettings
) -> list[PhotoReport]:
    """Keep the sharpest of each group of near-duplicates; the others' findings name it."""
    limits = (settings.duplicate_frame, settings.duplicate_face, settings.duplicate_embedding)
    kept: list[int] = []
    beaten_by: dict[int, tuple[int, float]] = {}
    for i, fingerprint in enumerate(fingerprints):
        if fingerprint is None:
            continue
        winner = i
        for j in list(kept):
            other = fingerprints[j]
            assert other is not None
            likeness = same_picture(fingerprint, other, limits)
            if likeness is None:
                continue
            better, worse = (winner, j) if sharper(fingerprints[winner], other) else (j, winner)
            beaten_by[worse] = (better, likeness)
            winner = better
            if worse in kept:
                kept.remove(worse)
        if winner not in kept:
            kept.append(winner)
    marked = list(reports)
    for i, (_, likeness) in beaten_by.items():
        best = i
        while best in beaten_by:
            best = beaten_by[best][0]
        advice = (
            f"Nearly the same picture as {reports[best].photo.path.name}, which is kept as the better one."
        )
        finding = Finding("near_duplicate", "reject", likeness, settings.duplicate_frame, advice)
        marked[i] = with_finding(reports[i], finding)
    return marked


def _mark_others(reports: list[PhotoReport], settings: CurateSettings) -> list[PhotoReport]:
    """`other_person` for the photos outside the largest group of mutually similar faces."""
    usable = [i for i, r in enumerate(reports) if r.accepted and r.face is not None]
    if len(usable) < 2:
        return reports
    faces = [reports[i].face for i in usable]
    subject = find_subject(np.stack([f.embedding for f in faces if f]), settings.same_person_similarity)
    if subject.tied:
        doubt = "two people appear equally often, so the subject is not clear"
        raise TooFewPhotos(reports, settings, doubt)
    marked = list(reports)
    advice = "This does not look like the person in the other photos. Remove it, or use a clearer photo."
    for place, i in enumerate(usable):
        if not subject.is_subject[place]:
            measured = float(subject.similarity[place])
            finding = Finding("other_person", "reject", measured, subject.threshold, advice)
            marked[i] = with_finding(reports[i], finding)
    return marked


def _mark_surplus(
    reports: list[PhotoReport], fingerprints: list[Fingerprint | None], settings: CurateSettings
) -> list[PhotoReport]:
    """Keep `max_photos`: cycling over the cells of yaw × pitch × expression, within a cell from the outfit
    with the fewest kept photos, then the sharpest."""
    usable = [i for i, r in enumerate(reports) if r.accepted]
    outfits = _outfits(usable, fingerprints)
    chosen: set[int] = set()
    held: Counter[tuple[str, ...]] = Counter()
    while len(chosen) < settings.max_photos:

        def rank(i: int) -> tuple[int, int, float, str, int]:
            report = reports[i]
            full = (*_cell(report), cover.pitch_bin(report.face))
            return held[full], held[outfits[i],], -_sharpness(report), report.photo.sha256, i

        best = min((i for i in usable if i not in chosen), key=rank)
        chosen.add(best)
        held[(*_cell(reports[best]), cover.pitch_bin(reports[best].face))] += 1
        held[outfits[best],] += 1
    marked = list(reports)
    advice = "Nothing is wrong; there are enough of this view. Raise dataset.curate.max_photos to keep it."
    for i in usable:
        if i not in chosen:
            limit = float(settings.max_photos)
            marked[i] = with_finding(
                reports[i], Finding("surplus", "reject", float(len(usable)), limit, advice)
            )
    return marked


def _outfits(usable: Sequence[int], fingerprints: Sequence[Fingerprint | None]) -> dict[int, str]:
    """A name for the outfit of every usable photo; "" if none is visible."""
    shown: list[int] = []
    colours: list[tuple[float, float, float]] = []
    for i in usable:
        fingerprint = fingerprints[i]
        if fingerprint is not None and fingerprint.surroundings.clothes_lab is not None:
            shown.append(i)
            colours.append(fingerprint.surroundings.clothes_lab)
    names = dict.fromkeys(usable, "")
    for number, group in enumerate(colour_groups(colours) if colours else []):
        names |= {shown[place]: f"outfit {number}" for place in group}
    return names


def _cell(report: PhotoReport) -> tuple[str, str]:
    return cover.yaw_bin(report.face), cover.expression_bin(report.face)


def _sharpness(report: PhotoReport) -> float:
    return report.face.sharpness if report.face is not None else 0.0


def holdout_count(accepted: int) -> int:
    """2 of 5–9 accepted photos, 3 of 10–14, 4 of 15–20, 5 above; 1 below 5, 0 of fewer than 2."""
    for limit, count in ((2, 0), (5, 1), (10, 2), (15, 3), (21, 4)):
        if accepted < limit:
            return count
    return 5


def choose_holdout(
    accepted: Sequence[PhotoReport], count: int, linked: frozenset[int] = frozenset()
) -> list[int]:
    """Indices of the photos to hold out, spread over yaw bins and expressions.

    The next photo comes from the view with the most photos relative to those already held out; the last photo
    of a view is left for training if possible, and so are `linked` photos, which resemble another one too
    closely.  Independent of order and names.
    """
    left, held = set(range(len(accepted))), []
    while len(held) < min(count, len(accepted)):
        yaws = Counter(_cell(accepted[i])[0] for i in left)
        cells = Counter(_cell(accepted[i]) for i in left)
        held_yaws = Counter(_cell(accepted[i])[0] for i in held)
        held_expressions = Counter(_cell(accepted[i])[1] for i in held)

        def rank(
            i: int,
            yaws: Counter[str] = yaws,
            cells: Counter[tuple[str, str]] = cells,
            held_yaws: Counter[str] = held_yaws,
            held_expressions: Counter[str] = held_expressions,
        ) -> tuple[bool, bool, float, int, int, str, int]:
            yaw, expression = _cell(accepted[i])
            plenty = yaws[yaw] / (1 + 2 * held_yaws[yaw])
            digest = accepted[i].photo.sha256
            return (
                i in linked,
                yaws[yaw] < 2,
                -plenty,
                held_expressions[expression],
                -cells[yaw, expression],
                digest,
                i,
            )

        best = min(left, key=rank)
        left.remove(best)
        held.append(best)
    return sorted(held)
