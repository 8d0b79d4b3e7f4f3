"""Sets of photos for `scripts.evaluate.check`: one person, intruders, copies."""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from portrait_lora.config import CheckConfig, CurateConfig
from portrait_lora.dataset.checks import check_folder
from portrait_lora.dataset.curate import TooFewPhotos, curate
from portrait_lora.dataset.duplicates import Fingerprints
from portrait_lora.dataset.subject import find_subject
from portrait_lora.faces.analyzer import FaceAnalyzer
from portrait_lora.records import RGBImage
from portrait_lora.stages.configured import check_of, curate_of
from scripts.evaluate.degradations import take
from scripts.rows import Row

TARGET = 0.95
SUBJECT_TARGET = 0.99
PEOPLE_FROM, SCENES_FROM = 40_000, 900_000
MAX_INTRUDERS = 0.4


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    per_level: int
    clean: int
    people: int  # of the sets
    photos: int  # per person
    sets: int


def jpeg(pixels: RGBImage, quality: int = 93) -> bytes:
    """The picture as a file."""
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, "JPEG", quality=quality)
    return out.getvalue()


def photos_of(person: int, sizes: Sizes, seed: int) -> list[bytes]:
    """Files of one person of the sets: varied pose, expression, light, outfit and backdrop."""
    first, scene = PEOPLE_FROM + 1000 * seed + 500, SCENES_FROM + 50_000_000 + 100_000 * seed
    return [jpeg(take(first + person, scene + 100 * person + i).image_rgb) for i in range(sizes.photos)]


def subject_rows(faces: list[list[np.ndarray]], same: float, sizes: Sizes, seed: int) -> list[Row]:
    """Sets of one person with 0–40 % intruders, one or several: is the right person the subject?  `faces` are
    the embeddings of every person's photos."""
    rng = np.random.default_rng([seed, 17])
    identified = right = missed = false = 0
    for _ in range(sizes.sets):
        me = int(rng.integers(len(faces)))
        mine = faces[me]
        intruders = int(rng.integers(0, int(len(mine) * MAX_INTRUDERS / (1 - MAX_INTRUDERS)) + 1))
        pool = [v for p, vectors in enumerate(faces) if p != me for v in vectors]
        others = [pool[int(i)] for i in rng.choice(len(pool), intruders, replace=False)]
        chosen = find_subject(np.stack([*mine, *others]), same).is_subject
        identified += bool(
            chosen[: len(mine)].mean() > 0.5
            and chosen.sum() > 0
            and chosen[: len(mine)].sum() > chosen[len(mine) :].sum()
        )
        right += int((~chosen[len(mine) :]).sum())
        missed += int(chosen[len(mine) :].sum())
        false += int((~chosen[: len(mine)]).sum())
    rows = [
        Row(
            "subject: found among 0–40 % intruders",
            identified / sizes.sets,
            "share",
            sizes.sets,
            SUBJECT_TARGET,
        )
    ]
    return rows + two_rows("other_person", right, missed, false)


def two_rows(code: str, right: int, missed: int, false: int) -> list[Row]:
    """Recall and precision, as far as there is anything to divide by."""
    rows = []
    if right + missed:
        rows.append(Row(f"{code}: recall", right / (right + missed), "share", right + missed, TARGET))
    if right + false:
        rows.append(Row(f"{code}: precision", right / (right + false), "share", right + false, TARGET))
    return rows


def copies(photos: list[bytes], analyzer: FaceAnalyzer, same: float) -> tuple[int, int, int]:
    """A set with copies of three of its photos (smaller, softer, re-encoded, a little brighter): how many
    were reported, how many not, and how many photos were reported that are no copies."""
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        for i, data in enumerate(photos):
            (here / f"{i:02d}.jpg").write_bytes(data)
        for i in range(3):
            (here / f"{i:02d}_copy.jpg").write_bytes(_copy(photos[i], i))
        fingerprints = Fingerprints()
        reports = check_folder(here, analyzer, check_of(CheckConfig()), seen=fingerprints.see)
        try:
            limits = curate_of(CurateConfig(), same_person_similarity=same)
            after = curate(reports, limits, fingerprints=fingerprints)
            every = [*after.kept, *after.holdout, *after.rejected]
        except TooFewPhotos as few:
            every = list(few.reports)
    flagged = [r.photo.path.name for r in every if "near_duplicate" in r.codes]
    wanted = {r.photo.path.name[:2] for r in reports if r.accepted and "copy" in r.photo.path.name}
    wanted &= {r.photo.path.stem for r in reports if r.accepted}
    hit = {name[:2] for name in flagged} & wanted
    return len(hit), len(wanted - hit), len(flagged) - len(hit)


def _copy(data: bytes, way: int) -> bytes:
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    if way == 0:
        picture = picture.resize(
            (picture.width * 7 // 10, picture.height * 7 // 10), Image.Resampling.BILINEAR
        )
    if way == 1:
        picture = picture.point([min(255, round(v * 1.06)) for v in range(256)] * 3)
    return jpeg(np.asarray(picture), quality=(85, 80, 55)[way])
