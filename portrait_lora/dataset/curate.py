"""Curation: the subject's photos without duplicates, some of them held out before training.

All decisions are deterministic: they depend on the reports and on the bytes of the photos only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from portrait_lora import log
from portrait_lora.dataset import coverage as cover
from portrait_lora.dataset.better_copy import best_copy
from portrait_lora.dataset.checks import move_face, unreadable
from portrait_lora.dataset.curation import CurateSettings, TooFewPhotos
from portrait_lora.dataset.duplicates import (
    Fingerprint,
    Fingerprints,
    Pairs,
    compare_all,
    fingerprint_of,
    groups,
)
from portrait_lora.dataset.holdout import choose_holdout, holdout_count
from portrait_lora.dataset.people import answered, listed, mark_others, used_anyway, with_finding
from portrait_lora.dataset.photos import UnreadablePhoto, load_photo, pixels_of
from portrait_lora.dataset.subject import unit_mean
from portrait_lora.dataset.surroundings import colour_groups
from portrait_lora.records import CuratedSet, Finding, PhotoReport, RGBImage, readonly

__all__ = ["CurateSettings", "TooFewPhotos", "curate"]

LOOK_SIDE_PX = 640
Loader = Callable[[PhotoReport], RGBImage]


def curate(
    reports: Sequence[PhotoReport],
    settings: CurateSettings,
    *,
    fingerprints: Fingerprints | None = None,
    load: Loader | None = None,
) -> CuratedSet:
    """Add the findings that need the whole set, and split the remaining photos.

    `kept` (for training), `holdout` and `rejected` are disjoint and together are all of `reports`.
    Photos that are not in `fingerprints` are opened with `load`, which returns upright RGB pixels, any size;
    one that has become unreadable since the check is rejected as such.  Raises TooFewPhotos (exit code 3).
    """
    _one_embedder(reports)
    anyway = answered(reports, settings.use_anyway, "use_anyway")
    reports = [used_anyway(r) if i in anyway else r for i, r in enumerate(reports)]
    reports, seen = _fingerprint_all(reports, fingerprints or Fingerprints(), load or _load)
    pairs = compare_all(seen)
    marked = _mark_duplicates(reports, seen, pairs, settings)
    marked = mark_others(marked, settings)
    usable = [i for i, r in enumerate(marked) if r.accepted]
    if len(usable) < settings.min_photos:
        raise TooFewPhotos(marked, settings)
    if len(usable) > settings.max_photos:
        marked = _mark_surplus(marked, seen, settings, [i for i in usable if i in anyway])
        usable = [i for i, r in enumerate(marked) if r.accepted]
    marked = _mark_bursts(marked, pairs)
    if len(usable) < settings.few_photos:
        text = "only %d usable photos: this works, but likeness and measurements are better with %d or more"
        log.get(__name__).warning(text, len(usable), settings.few_photos)
    return _split(marked, usable, seen, pairs, settings)


def _split(
    marked: list[PhotoReport],
    usable: list[int],
    fingerprints: list[Fingerprint | None],
    pairs: Pairs,
    settings: CurateSettings,
) -> CuratedSet:
    """Photos that are too alike stay on one side, also when what links them was itself rejected as a copy."""
    accepted = [marked[i] for i in usable]
    place = {i: n for n, i in enumerate(usable)}
    linked = groups(pair for pair, one in pairs.items() if one.linked(settings.duplicate_limits))
    together = [[place[i] for i in group if i in place] for group in linked]
    wanted = holdout_count(len(accepted))
    forced = {n for n, r in enumerate(accepted) if r.photo.path.name in settings.use_anyway}
    held = set(choose_holdout(accepted, wanted, together, forced))
    if wanted and not held:
        doubt = "the photos are too alike to hold one out for measuring: they are of one burst"
        raise TooFewPhotos(marked, settings, doubt)
    if len(held) < wanted:
        text = "only %d of %d photos could be held out: the others are nearly alike, and stay together"
        log.get(__name__).warning(text, len(held), wanted)
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
    photo = report.photo
    return load_photo(photo.path, LOOK_SIDE_PX, max_pixels=pixels_of(photo), edit=photo.edit)[1]


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


def _mark_duplicates(
    reports: list[PhotoReport],
    fingerprints: list[Fingerprint | None],
    pairs: Pairs,
    settings: CurateSettings,
) -> list[PhotoReport]:
    """Keep the best of each group of near-duplicates; the others' findings name it."""
    limits = settings.duplicate_limits
    copies = {pair: one for pair, one in pairs.items() if one.near_duplicate(limits)}
    marked = list(reports)
    for group in groups(copies):
        known = [(i, fingerprint) for i in group if (fingerprint := fingerprints[i]) is not None]
        best = known[best_copy([(fingerprint.photo, fingerprint.quality) for _, fingerprint in known])][0]
        name = reports[best].photo.path.name
        advice = f"Nearly the same picture as {name}, which is kept as the better one."
        for i in group:
            if i != best:
                fit = max(one.fit for pair, one in copies.items() if i in pair)
                severity = "warn" if reports[i].photo.path.name in settings.use_anyway else "reject"
                finding = Finding("near_duplicate", severity, fit, limits.face, advice)
                marked[i] = with_finding(reports[i], finding)
    return marked


def _mark_bursts(reports: list[PhotoReport], pairs: Pairs) -> list[PhotoReport]:
    """`burst` for the usable photos of one moment, each naming the others."""
    moments = {
        pair: one for pair, one in pairs.items() if one.burst and all(reports[i].accepted for i in pair)
    }
    marked = list(reports)
    for group in groups(moments):
        for i in group:
            others = sorted(reports[j].photo.path.name for j in group if j != i)
            nearest = max((one for pair, one in moments.items() if i in pair), key=lambda one: one.alike)
            as_of = "Taken in the same second as, and nearly like," if nearest.at_once else "Nearly like"
            advice = f"{as_of} {listed(others)}. One is enough; all stay on the same side of the holdout."
            finding = Finding("burst", "warn", nearest.alike, nearest.burst_limit, advice)
            marked[i] = with_finding(reports[i], finding)
    return marked


def _mark_surplus(
    reports: list[PhotoReport],
    fingerprints: list[Fingerprint | None],
    settings: CurateSettings,
    first: Sequence[int] = (),
) -> list[PhotoReport]:
    """Keep `max_photos`, `first` among them: cycling over the cells of yaw × pitch × expression, within a
    cell from the outfit with the fewest kept photos, then the sharpest."""
    usable = [i for i, r in enumerate(reports) if r.accepted]
    outfits = _outfits(usable, fingerprints)
    chosen: set[int] = set()
    held: Counter[tuple[str, ...]] = Counter()
    queue = list(first)
    while len(chosen) < settings.max_photos or queue:

        def rank(i: int) -> tuple[int, int, float, str, int]:
            report = reports[i]
            full = (*cover.cell(report.face), cover.pitch_bin(report.face))
            return held[full], held[outfits[i],], -_sharpness(report), report.photo.sha256, i

        best = queue.pop(0) if queue else min((i for i in usable if i not in chosen), key=rank)
        chosen.add(best)
        held[(*cover.cell(reports[best].face), cover.pitch_bin(reports[best].face))] += 1
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


def _sharpness(report: PhotoReport) -> float:
    return report.face.sharpness if report.face is not None else 0.0
