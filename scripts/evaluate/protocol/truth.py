"""Does similarity follow true identity, and for everybody?  In the studio the truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from typing import Final

import numpy as np
import torch
from scipy import stats

from portrait_lora.evaluation.groups import Person, group_rates
from portrait_lora.evaluation.similarity import ReferenceSet, impostor_scores, real_scores, subject_face
from portrait_lora.faces.backends import Analyzer
from portrait_lora.faces.packs import Role
from portrait_lora.records import Face
from portrait_lora.synthetic import People, colours, render, sample_people, sample_scenes
from scripts.evaluate.protocol.distance import Scale, at_distance, stranger_scale
from scripts.evaluate.protocol.store import Store
from scripts.rows import Row

FIRST_SEED: Final = 830_000
GROUP_SEED: Final = 840_000
_NEXT_OTHER: Final = 10_000_000
SIZE_PX: Final = 160
HOLDOUT, PORTRAITS = 4, 4
SERIES: Final = 8
"""Portraits of one likeness whose mean is its similarity; a series of the product has 16 and more."""
_COMPARED: Final = (
    (f"{SERIES} portraits to {HOLDOUT} photos", 0.8),
    (f"one portrait to {HOLDOUT} photos", None),
    ("one portrait to one photo", None),
)
"""What `_similarity` answers, in its order, with targets."""
PIECE: Final = 25
LABELS: Final = ("sex", "age", "skin")


def follow_rows(analyzers: Sequence[Analyzer], pairs: int, seed: int, store: Store) -> list[Row]:
    """Rank correlation of similarity with true distance, pairs spread evenly from 0 to the median stranger.

    Similarity is what the protocol reports of a likeness: the mean cosine of its portraits, `SERIES` of them,
    to `HOLDOUT` photos.  That of one portrait, and of one portrait to one photo, stand beside.
    """
    scale = Scale(*store.piece(f"follow-{seed}-scale", lambda: list(astuple(stranger_scale(seed)))))

    def work(part: range) -> list[list[float | None]]:
        before = torch.get_num_threads()
        torch.set_num_threads(1)  # pictures this small: a second thread costs four times the processor's time
        try:
            return [_measured_pair(analyzers, i, seed, scale) for i in part]
        finally:
            torch.set_num_threads(before)

    pieces = store.pieces(f"follow-{SERIES}-{HOLDOUT}-{seed}", pairs, PIECE, work)
    table = np.array([row for row in pieces if None not in row], dtype=np.float64)
    rows: list[Row] = []
    for k, name in enumerate("AB"[: len(analyzers)]):
        for column, (what, target) in enumerate(_COMPARED, start=1):
            rank = float(-stats.spearmanr(table[:, 0], table[:, len(_COMPARED) * k + column]).statistic)
            label = f"similarity of {what} follows identity, embedder {name}"
            rows.append(Row(label, rank, "rank corr", len(table), target))
    return rows


def _measured_pair(analyzers: Sequence[Analyzer], i: int, seed: int, scale: Scale) -> list[float | None]:
    """[true distance, then `_similarity` by each analyzer] of a person's photos and portraits of one
    interpolated towards another."""
    first = sample_people([FIRST_SEED + 10_000 * seed + 2 * i])
    wanted = float(np.random.default_rng([seed, i]).uniform(0, 1))
    second, apart = at_distance(first, wanted, scale, FIRST_SEED + 10_000 * seed + 2 * i + 1, _NEXT_OTHER)
    size = HOLDOUT + SERIES
    scenes = sample_scenes([20 * i + 1 + k for k in range(size)], max_yaw_deg=25.0)
    shown = [
        render(first.take([0] * HOLDOUT), scenes.take(range(HOLDOUT)), SIZE_PX),
        render(second.take([0] * SERIES), scenes.take(range(HOLDOUT, size)), SIZE_PX),
    ]
    images = torch.cat([part.image_BCHW for part in shown]).permute(0, 2, 3, 1).numpy()
    seen = _faces(analyzers[-1], images)
    measured = [value for analyzer in analyzers for value in _similarity(analyzer, images, seen)]
    return [apart, *measured]


def _faces(analyzer: Analyzer, images: np.ndarray) -> list[Face | None]:
    """Who is shown, detected once for both embedders: the keypoints belong to the pack."""
    return [subject_face(analyzer.find(np.ascontiguousarray(image))) for image in images]


def _similarity(
    analyzer: Analyzer, images: np.ndarray, seen: Sequence[Face | None]
) -> tuple[float | None, ...]:
    """Mean cosine of the portraits to the photos, of the first portrait to them, and to the first of them.

    A portrait without a face counts as 0, as in the protocol; None where the first photo or the first
    portrait shows no face.
    """
    if seen[0] is None or seen[HOLDOUT] is None:
        return None, None, None
    known = [
        None if face is None else analyzer.embed(np.ascontiguousarray(image), face.keypoints_px)
        for image, face in zip(images, seen, strict=True)
    ]
    photos, portraits = [e for e in known[:HOLDOUT] if e is not None], known[HOLDOUT:]
    cosines = np.array([[0.0 if p is None else float(f @ p) for f in photos] for p in portraits])
    return float(cosines.mean()), float(cosines[0].mean()), float(cosines[0, 0])


def group_rows(analyzer: Analyzer, people: int, seed: int, store: Store, role: Role = "report") -> list[Row]:
    """False non-matches of real pictures and false matches of strangers by sex, age and skin tone."""
    first, limit = GROUP_SEED + 1000 * seed, analyzer.pack.threshold(role)

    def work(part: range) -> list[dict[str, object] | None]:
        return [_group_member(analyzer, first + i, limit) for i in part]

    members = store.pieces(f"groups-{seed}-{role}", people, PIECE, work)
    return rates_by_group([Person(**member) for member in members if member is not None])  # type: ignore[arg-type]


def rates_by_group(people: Sequence[Person]) -> list[Row]:
    """Rows per value of every label that the people bear."""
    rows: list[Row] = []
    for label in LABELS:
        for g in group_rates(people, label):
            name = f"{label} {g.group}"
            ci95 = g.similarity.ci95 if g.people > 1 else None
            count = g.similarity.portraits
            rows.append(Row(f"likeness, {name}", g.similarity.mean, "cosine", count, ci95=ci95))
            rows.append(Row(f"false non-match, {name}", g.false_non_match_rate, "share", count))
            if g.false_match_rate is not None:
                strangers = sum(len(p.impostors) for p in people if p.labels[label] == g.group)
                rows.append(Row(f"false match, {name}", g.false_match_rate, "share", strangers))
    return rows


def _group_member(analyzer: Analyzer, person_seed: int, limit: float) -> dict[str, object] | None:
    """The fields of a `Person`; None when fewer than two of their photos show a face."""
    person, n = sample_people([person_seed]), HOLDOUT + PORTRAITS
    scenes = sample_scenes([person_seed * 50 + i for i in range(n)], max_yaw_deg=45.0)
    shown = render(person.take([0] * n), scenes, SIZE_PX).image_BCHW.permute(0, 2, 3, 1).numpy()
    faces = [subject_face(analyzer.find(np.ascontiguousarray(p))) for p in shown]
    held = [f.embedding for f in faces[:HOLDOUT] if f is not None]
    if len(held) < 2:
        return None
    holdout = ReferenceSet(np.stack(held), tuple(map(str, range(len(held)))), analyzer.embedder_id)
    empty = ReferenceSet(holdout.embeddings[:0], (), analyzer.embedder_id)
    strangers = impostor_scores(analyzer.impostor_embeddings(), holdout).ravel()
    return {
        "name": str(person_seed),
        "labels": labels_of(person),
        "genuine": [
            None if f is None else float((holdout.embeddings @ f.embedding).mean()) for f in faces[HOLDOUT:]
        ],
        "threshold": limit,
        "ceiling": float(real_scores(empty, holdout).mean()),
        "impostor": float(strangers.mean()),
        "impostors": [round(float(v), 5) for v in strangers],
    }


def labels_of(person: People) -> dict[str, str]:
    row = person.rows()[0]
    return {
        "sex": "woman" if row.female > 0.5 else "man",
        "age": "older" if row.age > 1.0 else "younger",
        "skin": colours.skin_words(row),
    }
