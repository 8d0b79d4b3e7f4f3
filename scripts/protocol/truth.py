"""Does similarity follow true identity, and for everybody?  In the studio the truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import MappingProxyType
from typing import Final

import numpy as np
import torch
from scipy import stats

from portrait_lora.evaluation.groups import Person, group_rates
from portrait_lora.evaluation.identity import ReferenceSet, impostor_scores, real_scores, subject_face
from portrait_lora.faces import FaceAnalyzer
from portrait_lora.faces.packs import Role
from portrait_lora.synthetic import People, colours, render, sample_people, sample_scenes
from portrait_lora.synthetic.curves import features_of
from portrait_lora.synthetic.head import build_head
from scripts.rows import Row

FIRST_SEED: Final = 830_000
GROUP_SEED: Final = 840_000
SIZE_PX: Final = 160
VERTEX_TO_ALBEDO: Final = 1.0
"""Both parts are scaled to a median of 1 between strangers, and then weighted alike."""
HOLDOUT, PORTRAITS = 4, 4


def mixed(a: People, b: People, share: float) -> People:
    """The person `share` of the way from a to b: everything continuous is interpolated, the rest is a's."""
    fixed = {"female", "style", "beard", "glasses", "moles"}
    values = {
        k: v if k in fixed else v.float() + share * (b.values[k].float() - v.float())
        for k, v in a.values.items()
    }
    return People(a.seeds, MappingProxyType(values))


@cache
def _neutral() -> object:
    return sample_scenes([1], expression="neutral", yaw_deg=0.0, pitch_deg=0.0, roll_deg=0.0).rows()[0]


def _shape(people: People) -> np.ndarray:
    """(V, 3) vertices of the neutral head."""
    person = people.rows()[0]
    head = build_head(person, features_of(person), _neutral(), torch.device("cpu"))  # type: ignore[arg-type]
    return head.position.reshape(-1, 3).numpy()


def _albedo(people: People) -> np.ndarray:
    """(3,) mean skin colour of the person under the studio's plainest light."""
    scene = sample_scenes([1], expression="neutral", yaw_deg=0.0, lighting="high-key lighting")
    made = render(people, scene, 48)
    x0, y0, x1, y1 = (int(v) for v in made.face_box_xyxy_px[0])
    return made.image_BCHW[0, :, y0:y1, x0:x1].float().mean(dim=(1, 2)).numpy()


def raw_distance(a: People, b: People) -> tuple[float, float]:
    """(mean vertex distance, mean colour distance) of the neutral heads."""
    vertices = float(np.linalg.norm(_shape(a) - _shape(b), axis=1).mean())
    return vertices, float(np.abs(_albedo(a) - _albedo(b)).mean())


def stranger_scale(seed: int, pairs: int = 24) -> tuple[float, float]:
    """Medians of both parts between strangers."""
    people = [sample_people([FIRST_SEED + 9_000 + 100 * seed + i]) for i in range(2 * pairs)]
    found = np.array([raw_distance(*people[2 * i : 2 * i + 2]) for i in range(pairs)])
    vertex, colour = np.median(found, axis=0)
    return float(vertex), float(max(colour, 1e-6))


def distance(a: People, b: People, scale: tuple[float, float]) -> float:
    """1 for two strangers in the middle."""
    vertex, colour = raw_distance(a, b)
    return (vertex / scale[0] + VERTEX_TO_ALBEDO * colour / scale[1]) / (1 + VERTEX_TO_ALBEDO)


def follow_rows(analyzers: Sequence[FaceAnalyzer], pairs: int, seed: int) -> list[Row]:
    """Rank correlation of cosine with true distance, pairs spread evenly from 0 to the median stranger."""
    rng = np.random.default_rng(seed)
    scale = stranger_scale(seed)
    truth: list[float] = []
    cosines: list[list[float]] = []
    for i in range(pairs):
        first = sample_people([FIRST_SEED + 10_000 * seed + 2 * i])
        other = sample_people([FIRST_SEED + 10_000 * seed + 2 * i + 1])
        whole = distance(first, other, scale)
        second = mixed(first, other, min(float(rng.uniform(0, 1)) / max(whole, 1e-6), 1.0))
        scenes = sample_scenes([7 * i + 1, 7 * i + 2], max_yaw_deg=25.0)
        shown = [
            render(who, type(scenes)(scenes.seeds[k : k + 1], **_row(scenes, k)), SIZE_PX).image_BCHW[0]
            for k, who in enumerate((first, second))
        ]
        images = [np.ascontiguousarray(p.permute(1, 2, 0).numpy()) for p in shown]
        found = [_pair(analyzer, images) for analyzer in analyzers]
        if all(value is not None for value in found):
            truth.append(distance(first, second, scale))
            cosines.append([float(value) for value in found if value is not None])
    table = np.array(cosines)
    return [
        Row(
            f"similarity follows identity, embedder {name}",
            float(-stats.spearmanr(truth, table[:, k]).statistic),
            "rank corr",
            len(truth),
            0.8,
        )
        for k, name in enumerate("AB"[: len(analyzers)])
    ]


def _row(scenes: object, k: int) -> dict[str, torch.Tensor]:
    from portrait_lora.synthetic.scene import FIELDS

    return {name: getattr(scenes, name)[k : k + 1] for name in FIELDS}


def _pair(analyzer: FaceAnalyzer, images: Sequence[np.ndarray]) -> float | None:
    faces = [subject_face(analyzer.find(image)) for image in images]
    if faces[0] is None or faces[1] is None:
        return None
    return float(faces[0].embedding @ faces[1].embedding)


def group_rows(analyzer: FaceAnalyzer, people: int, seed: int, role: Role = "report") -> list[Row]:
    """False non-matches of real pictures and false matches of strangers by sex, age and skin tone."""
    gallery = analyzer.impostor_embeddings()
    limit = analyzer.pack.threshold(role)
    measured = []
    for person_seed in range(GROUP_SEED + 1000 * seed, GROUP_SEED + 1000 * seed + people):
        person = sample_people([person_seed])
        n = HOLDOUT + PORTRAITS
        scenes = sample_scenes([person_seed * 50 + i for i in range(n)], max_yaw_deg=45.0)
        shown = render(person.take([0] * n), scenes, SIZE_PX).image_BCHW.permute(0, 2, 3, 1).numpy()
        faces = [subject_face(analyzer.find(np.ascontiguousarray(p))) for p in shown]
        held = [f.embedding for f in faces[:HOLDOUT] if f is not None]
        if len(held) < 2:
            continue
        holdout = ReferenceSet(np.stack(held), tuple(map(str, range(len(held)))), analyzer.embedder_id)
        own = [
            None if f is None else float((holdout.embeddings @ f.embedding).mean()) for f in faces[HOLDOUT:]
        ]
        empty = ReferenceSet(holdout.embeddings[:0], (), analyzer.embedder_id)
        strangers = impostor_scores(gallery, holdout).ravel()
        measured.append(
            Person(
                str(person_seed),
                _labels(person),
                tuple(own),
                limit,
                float(real_scores(empty, holdout).mean()),
                float(strangers.mean()),
                tuple(strangers.tolist()),
            )
        )
    rows: list[Row] = []
    for label in ("sex", "age", "skin"):
        for g in group_rates(measured, label):
            rows.append(
                Row(
                    f"false non-match, {label} {g.group}",
                    g.false_non_match_rate,
                    "share",
                    PORTRAITS * g.people,
                )
            )
            if g.false_match_rate is not None:
                count = g.people * strangers.size
                rows.append(Row(f"false match, {label} {g.group}", g.false_match_rate, "share", count))
    return rows


def _labels(person: People) -> dict[str, str]:
    row = person.rows()[0]
    return {
        "sex": "woman" if row.female > 0.5 else "man",
        "age": "older" if row.age > 1.0 else "younger",
        "skin": colours.skin_words(row),
    }
