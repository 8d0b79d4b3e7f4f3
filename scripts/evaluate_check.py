"""How well the photo check sees what is wrong, and who the subject is.

python -m scripts.evaluate_check           a few hundred photos
python -m scripts.evaluate_check --full    the figures of record (3,000 photos, 300 sets)

The truth is the physical degradation (`scripts.degradations`), fixed before the thresholds were tuned.
Precision counts every report of a code, on clean and on otherwise spoilt photos, against that truth; codes
that a spoilt photo may carry as well are not counted.  `not_checked` counts as not found.
"""

from __future__ import annotations

import io
import logging
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from portrait_lora.dataset.checks import CheckSettings, check_folder, check_photo
from portrait_lora.dataset.curate import CurateSettings, TooFewPhotos, curate
from portrait_lora.dataset.duplicates import Looks
from portrait_lora.dataset.subject import SHARE_OF_THRESHOLD, find_subject
from portrait_lora.faces.analyzer import FaceAnalyzer
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.records import PhotoReport
from scripts.degradations import DEGRADATIONS, Degradation, ImageArray, Shot, Truth, beside, lenses, take
from scripts.rows import Row, arguments, finish

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


TINY = Sizes(per_level=2, clean=8, people=4, photos=6, sets=20)
QUICK = Sizes(per_level=5, clean=40, people=10, photos=8, sets=100)
FULL = Sizes(per_level=50, clean=600, people=60, photos=12, sets=300)


@dataclass(slots=True)
class Tally:
    """Reports of every code against the truth."""

    right: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    false: Counter[str] = field(default_factory=Counter)
    photos: int = 0

    def add(self, told: set[str], truth: str | None, level: Truth, may: tuple[str, ...], what: str) -> None:
        """One photo: the codes told, and what it is (`truth` None: nothing is wrong with it)."""
        self.photos += 1
        if truth is not None and level == "bad":
            (self.right if truth in told else self.missed)[truth] += 1
            if truth not in told:
                print(f"  {what}: missed, told {sorted(told) or 'nothing'}", flush=True)
        allowed = {truth, *may} if level != "good" else set()
        for code in told - allowed:
            self.false[code] += 1
            print(f"  {what}: {code} was told wrongly", flush=True)

    def rows(self, codes: list[str]) -> list[Row]:
        """Precision and recall of every code that was tried."""
        rows = []
        for code in codes:
            right, missed, false = self.right[code], self.missed[code], self.false[code]
            if right + missed:
                rows.append(Row(f"{code}: recall", right / (right + missed), "share", right + missed, TARGET))
            if right + false:
                rows.append(
                    Row(f"{code}: precision", right / (right + false), "share", right + false, TARGET)
                )
        return rows


def jpeg(pixels: ImageArray, quality: int = 93) -> bytes:
    """The picture as a file."""
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, "JPEG", quality=quality)
    return out.getvalue()


class Judge:
    """Writes a picture into a folder and tells which codes the check finds."""

    def __init__(self, analyzer: FaceAnalyzer, folder: Path):
        self.analyzer, self.path, self.settings = analyzer, folder / "photo.jpg", CheckSettings()

    def report(self, data: bytes) -> PhotoReport:
        """The report of one file."""
        self.path.write_bytes(data)
        return check_photo(self.path, self.analyzer, self.settings)

    def codes(self, data: bytes) -> set[str]:
        """Codes of findings that reject or warn."""
        return {f.code for f in self.report(data).findings if f.severity != "not_checked"}


def photo_rows(judge: Judge, sizes: Sizes, seed: int) -> list[Row]:
    """Every degradation at every level, clean photos, files that are none, companions, covered mouths."""
    tally, number = Tally(), 0

    def shot(**fixed: object) -> Shot:
        nonlocal number
        number += 1
        return take(PEOPLE_FROM + 1000 * seed + number % 199, SCENES_FROM + 10_000 * seed + number, **fixed)

    for i in range(sizes.clean):
        tally.add(judge.codes(jpeg(shot().image_rgb)), None, "good", (), f"clean {i}")
    for one in DEGRADATIONS:
        for level, truth in one.levels:
            for i in range(sizes.per_level):
                taken = shot(**_scene(one, level))
                told = judge.codes(jpeg(one.spoil(taken, level)))
                tally.add(told, one.code, truth, one.also, f"{one.code} at {level:g}, {i}")
    for share, truth in ((0.2, "good"), (0.6, "bad"), (0.8, "bad")):
        for i in range(sizes.per_level):
            pixels = beside(shot(yaw_deg=5.0), shot(yaw_deg=-5.0), share)
            tally.add(judge.codes(jpeg(pixels)), "several_faces", truth, (), f"companion of {share:g}, {i}")  # type: ignore[arg-type]
    for i in range(sizes.per_level):
        data = jpeg(shot().image_rgb)
        for name, broken in (("cut", data[: len(data) // 3]), ("empty", b""), ("text", b"no picture" * 9)):
            tally.add(judge.codes(broken), "unreadable", "bad", (), f"{name} file {i}")
    covered = [judge.report(jpeg(_covered(shot()))) for _ in range(sizes.per_level)]
    untold = [any(f.code == "occluded" and f.severity == "not_checked" for f in r.findings) for r in covered]
    found = [u for u, r in zip(untold, covered, strict=True) if r.face is not None]
    codes = [*(d.code for d in DEGRADATIONS), "several_faces", "unreadable"]
    rows = tally.rows(codes)
    if found:
        rows.append(Row("occluded: said to be not checked", float(np.mean(found)), "share", len(found)))
    return rows


def _scene(one: Degradation, level: float) -> dict[str, object]:
    fixed: dict[str, object] = dict(one.fixed)
    if one.scene_field == "centre":
        fixed["centre"] = (level, 0.0)
    if one.spoil is lenses:
        fixed["yaw_deg"] = 25.0 * float(np.sin(97.0 * level))
    return fixed


def _covered(shot: Shot) -> ImageArray:
    """Something plain in front of mouth and chin."""
    x0, y0, x1, y1 = (int(v) for v in shot.box_xyxy_px)
    pixels = shot.image_rgb.copy()
    pixels[int(y0 + 0.6 * (y1 - y0)) : y1, x0:x1] = (90, 110, 140)
    return pixels


def make_people(folder: Path, sizes: Sizes, seed: int) -> list[list[bytes]]:
    """Photos of every person: varied pose, expression, light, outfit and backdrop."""
    first, scene = PEOPLE_FROM + 1000 * seed + 500, SCENES_FROM + 5_000_000 + 100_000 * seed
    return [
        [jpeg(take(first + p, scene + 100 * p + i).image_rgb) for i in range(sizes.photos)]
        for p in range(sizes.people)
    ]


def subject_rows(people: list[list[PhotoReport]], same: float, sizes: Sizes, seed: int) -> list[Row]:
    """Sets of one person with 0–40 % intruders, one or several: is the right person the subject?"""
    rng = np.random.default_rng([seed, 17])
    found = right = missed = false = 0
    faces = [[r.face.embedding for r in photos if r.face is not None] for photos in people]
    for _ in range(sizes.sets):
        me = int(rng.integers(len(faces)))
        mine = faces[me]
        intruders = int(rng.integers(0, int(len(mine) * MAX_INTRUDERS / (1 - MAX_INTRUDERS)) + 1))
        pool = [v for p, vectors in enumerate(faces) if p != me for v in vectors]
        others = [pool[int(i)] for i in rng.choice(len(pool), intruders, replace=False)]
        told = find_subject(np.stack([*mine, *others]), same).is_subject
        found += bool(
            told[: len(mine)].mean() > 0.5
            and told.sum() > 0
            and told[: len(mine)].sum() > told[len(mine) :].sum()
        )
        right += int((~told[len(mine) :]).sum())
        missed += int(told[len(mine) :].sum())
        false += int((~told[: len(mine)]).sum())
    rows = [
        Row("subject: found among 0–40 % intruders", found / sizes.sets, "share", sizes.sets, SUBJECT_TARGET)
    ]
    if right + missed:
        rows.append(Row("other_person: recall", right / (right + missed), "share", right + missed, TARGET))
    if right + false:
        rows.append(Row("other_person: precision", right / (right + false), "share", right + false, TARGET))
    return rows


def duplicate_rows(people: list[list[bytes]], analyzer: FaceAnalyzer, same: float, folder: Path) -> list[Row]:
    """Every set with copies of three of its photos: smaller, softer, re-encoded, a little brighter."""
    right = missed = false = 0
    for p, photos in enumerate(people):
        here = folder / f"person_{p}"
        here.mkdir()
        for i, data in enumerate(photos):
            (here / f"{i:02d}.jpg").write_bytes(data)
        for i in range(3):
            (here / f"{i:02d}_copy.jpg").write_bytes(_copy(photos[i], i))
        looks = Looks()
        reports = check_folder(here, analyzer, CheckSettings(), seen=looks.see)
        try:
            after = curate(reports, CurateSettings(), same_person_similarity=same, looks=looks)
            every = [*after.kept, *after.holdout, *after.rejected]
        except TooFewPhotos as few:
            every = list(few.reports)
        told = [r.photo.path.name for r in every if "near_duplicate" in r.codes]
        wanted = {r.photo.path.name[:2] for r in reports if r.accepted and "copy" in r.photo.path.name}
        wanted &= {r.photo.path.stem for r in reports if r.accepted}
        hit = {name[:2] for name in told} & wanted
        right, missed, false = right + len(hit), missed + len(wanted - hit), false + len(told) - len(hit)
    rows = []
    if right + missed:
        rows.append(Row("near_duplicate: recall", right / (right + missed), "share", right + missed, TARGET))
    if right + false:
        rows.append(Row("near_duplicate: precision", right / (right + false), "share", right + false, TARGET))
    return rows


def _copy(data: bytes, way: int) -> bytes:
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    if way == 0:
        picture = picture.resize(
            (picture.width * 7 // 10, picture.height * 7 // 10), Image.Resampling.BILINEAR
        )
    if way == 1:
        picture = picture.point([min(255, round(v * 1.06)) for v in range(256)] * 3)
    return jpeg(np.asarray(picture), quality=(85, 80, 55)[way])


def evaluate(sizes: Sizes, seed: int) -> list[Row]:
    """Every row, with the embedded pack."""
    analyzer = FaceAnalyzer(resolve_pack())
    same = SHARE_OF_THRESHOLD * analyzer.pack.threshold("select")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        judge = Judge(analyzer, folder)
        rows = photo_rows(judge, sizes, seed)
        people = make_people(folder, sizes, seed)
        reports = [[judge.report(data) for data in photos] for photos in people]
        rows += subject_rows(reports, same, sizes, seed)
        rows += duplicate_rows(people, analyzer, same, folder)
    return rows


def main() -> None:
    given = arguments(__doc__ or "").parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    sys.exit(finish(evaluate(FULL if given.full else QUICK, given.seed), given.json))


if __name__ == "__main__":
    main()
