"""How well the photo check sees what is wrong, and who the subject is.

python -m scripts.evaluate.check                        a few hundred photos
python -m scripts.evaluate.check --full --work FOLDER   the figures of record (over 3,000 photos, 300 sets)
    ... --part 1/2 & ... --part 2/2                     the same by two processes; then once without --part

The truth is the physical degradation (`scripts.evaluate.degradations`), fixed before the thresholds were
tuned.  Precision counts every report of a code, on clean and on otherwise spoilt photos, against that truth;
codes that a spoilt photo may carry as well are not counted.  `not_checked` counts as not found.  Every face
of a
degradation is spoilt at all of its levels.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from portrait_lora.config import CheckConfig
from portrait_lora.dataset.checks import check_photo
from portrait_lora.dataset.subject import SHARE_OF_THRESHOLD
from portrait_lora.faces.analyzer import FaceAnalyzer
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.records import PhotoReport
from portrait_lora.stages.configured import check_of
from scripts import parts
from scripts.evaluate.check_sets import (
    PEOPLE_FROM,
    SCENES_FROM,
    Sizes,
    copies,
    jpeg,
    photos_of,
    subject_rows,
    two_rows,
)
from scripts.evaluate.degradations import DEGRADATIONS, Degradation, Shot, Truth, beside, lenses, take
from scripts.rows import Row, arguments, finish

SOURCES = (
    *("portrait_lora/dataset/*.py", "portrait_lora/faces/*.py", "portrait_lora/synthetic/*.py"),
    *(
        "scripts/evaluate/check_sets.py",
        "scripts/evaluate/check.py",
        "scripts/evaluate/degradations.py",
        "scripts/evaluate/covering.py",
    ),
)
COMPANIONS: tuple[tuple[float, Truth], ...] = ((0.2, "good"), (0.6, "bad"), (0.8, "bad"))
CLEAN_PART, PEOPLE_PART = 100, 10


QUICK = Sizes(per_level=5, clean=40, people=10, photos=8, sets=100)
FULL = Sizes(per_level=50, clean=600, people=60, photos=12, sets=300)


@dataclass(slots=True)
class Tally:
    """Reports of every code against the truth."""

    right: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    false: Counter[str] = field(default_factory=Counter)
    photos: int = 0

    def add(self, codes: set[str], truth: str | None, level: Truth, may: tuple[str, ...], what: str) -> None:
        """One photo: the codes reported, and what it is (`truth` None: nothing is wrong with it)."""
        self.photos += 1
        if truth is not None and level == "bad":
            (self.right if truth in codes else self.missed)[truth] += 1
            if truth not in codes:
                print(f"  {what}: missed, reported {sorted(codes) or 'nothing'}", flush=True)
        allowed = {truth, *may} if level != "good" else set()
        for code in codes - allowed:
            self.false[code] += 1
            print(f"  {what}: {code} was reported wrongly", flush=True)

    def to_json(self) -> parts.Result:
        """Plain dictionaries."""
        counts = {"right": dict(self.right), "missed": dict(self.missed), "false": dict(self.false)}
        return counts | {"photos": self.photos}

    def include(self, part: parts.Result) -> None:
        """Add what `to_json` gave of another tally."""
        for mine, name in ((self.right, "right"), (self.missed, "missed"), (self.false, "false")):
            mine.update(part[name])
        self.photos += part["photos"]

    def rows(self, codes: list[str]) -> list[Row]:
        """Recall and precision of every code that was tried."""
        return [
            row
            for code in codes
            for row in two_rows(code, self.right[code], self.missed[code], self.false[code])
        ]


class Judge:
    """Writes a picture into a folder and returns the codes that the check finds."""

    def __init__(self, analyzer: FaceAnalyzer, folder: Path):
        self.analyzer, self.path, self.settings = analyzer, folder / "photo.jpg", check_of(CheckConfig())

    def report(self, data: bytes) -> PhotoReport:
        """The report of one file."""
        self.path.write_bytes(data)
        return check_photo(self.path, self.analyzer, self.settings)

    def codes(self, data: bytes) -> set[str]:
        """Codes of findings that reject or warn."""
        return {f.code for f in self.report(data).findings if f.severity != "not_checked"}

    def tally(self, what: str, sizes: Sizes, seed: int) -> Tally:
        """One part of the photos: `clean-N`, `files`, `companions` or a code."""
        tally = Tally()
        if what.startswith("clean"):
            begin = CLEAN_PART * int(what.removeprefix("clean-"))
            for i in range(begin, min(begin + CLEAN_PART, sizes.clean)):
                tally.add(self.codes(jpeg(_shot("clean", i, seed).image_rgb)), None, "good", (), f"clean {i}")
        elif what == "files":
            for i in range(sizes.per_level):
                data = jpeg(_shot("files", i, seed).image_rgb)
                broken = (("cut", data[: len(data) // 3]), ("empty", b""), ("text", b"no picture" * 9))
                for name, bytes_ in broken:
                    tally.add(self.codes(bytes_), "unreadable", "bad", (), f"{name} file {i}")
        elif what == "companions":
            for i in range(sizes.per_level):
                pair = (_shot(what, 2 * i, seed, yaw_deg=5.0), _shot(what, 2 * i + 1, seed, yaw_deg=-5.0))
                for share, truth in COMPANIONS:
                    codes = self.codes(jpeg(beside(*pair, share)))
                    tally.add(codes, "several_faces", truth, (), f"companion of {share:g}, {i}")
        else:
            one = next(d for d in DEGRADATIONS if d.code == what)
            for i in range(sizes.per_level):
                self._levels(tally, one, i, seed)
        return tally

    def _levels(self, tally: Tally, one: Degradation, index: int, seed: int) -> None:
        """One face, spoilt by every level."""
        taken: Shot | None = None
        for number, (level, truth) in enumerate(one.levels):
            if one.scene_field is not None or taken is None:
                place = index * len(one.levels) + number if one.scene_field else index
                taken = _shot(one.code, place, seed, **_scene(one, level, index))
            codes = self.codes(jpeg(one.spoil(taken, level)))
            tally.add(codes, one.code, truth, one.also, f"{one.code} at {level:g}, {index}")


def photo_parts(sizes: Sizes) -> list[str]:
    """The names of all parts of the photos."""
    clean = [f"clean-{i}" for i in range(-(-sizes.clean // CLEAN_PART))]
    return [*clean, "files", "companions", *(d.code for d in DEGRADATIONS)]


def _shot(part: str, index: int, seed: int, **fixed: object) -> Shot:
    """Another person and scene for every index of every part."""
    place = (
        1000 * sorted(["clean", "files", "companions", *(d.code for d in DEGRADATIONS)]).index(part) + index
    )
    return take(PEOPLE_FROM + 1000 * seed + place % 199, SCENES_FROM + 100_000 * seed + place, **fixed)


def _scene(one: Degradation, level: float, index: int) -> dict[str, object]:
    fixed: dict[str, object] = dict(one.fixed)
    if one.scene_field == "centre":
        fixed["centre"] = (level, 0.0)
    if one.spoil is lenses:
        fixed["yaw_deg"] = 25.0 * float(np.sin(97.0 * index))
    return fixed


@dataclass(frozen=True, slots=True)
class Study:
    """What is measured with which pack; every part is measured by its name."""

    sizes: Sizes
    seed: int
    analyzer: FaceAnalyzer

    @property
    def same(self) -> float:
        """The similarity from which photos are grouped."""
        return SHARE_OF_THRESHOLD * self.analyzer.pack.threshold("select")

    def names(self) -> list[str]:
        """All parts, the photos first."""
        return [*photo_parts(self.sizes), *self._people()]

    def _people(self) -> list[str]:
        return [f"people-{i}" for i in range(-(-self.sizes.people // PEOPLE_PART))]

    def make(self, name: str) -> parts.Result:
        """One part, as plain JSON."""
        with tempfile.TemporaryDirectory() as folder:
            judge = Judge(self.analyzer, Path(folder))
            if not name.startswith("people"):
                return judge.tally(name, self.sizes, self.seed).to_json()
            return {"people": list(self._look_at(int(name.removeprefix("people-")), judge))}

    def _look_at(self, part: int, judge: Judge) -> Iterator[parts.Result]:
        begin = PEOPLE_PART * part
        for person in range(begin, min(begin + PEOPLE_PART, self.sizes.people)):
            photos = photos_of(person, self.sizes, self.seed)
            reports = [judge.report(data) for data in photos]
            faces = [r.face.embedding.tolist() for r in reports if r.face is not None]
            yield {"faces": faces, "copies": copies(photos, self.analyzer, self.same)}

    def rows(self, results: list[parts.Result]) -> list[Row]:
        """The figures of all parts."""
        tally = Tally()
        for part in results[: len(photo_parts(self.sizes))]:
            tally.include(part)
        people = [one for part in results[len(photo_parts(self.sizes)) :] for one in part["people"]]
        faces = [[np.asarray(v, np.float32) for v in one["faces"]] for one in people]
        right, missed, false = (sum(one["copies"][i] for one in people) for i in range(3))
        return [
            *tally.rows([*(d.code for d in DEGRADATIONS), "several_faces", "unreadable"]),
            *subject_rows(faces, self.same, self.sizes, self.seed),
            *two_rows("near_duplicate", right, missed, false),
            Row("photos looked at", tally.photos + sum(map(len, faces)), "photos", len(people)),
        ]


def evaluate(sizes: Sizes, seed: int, work: Path | None = None, part: str | None = None) -> list[Row] | None:
    """Every row, with the embedded pack; None when only a part was measured."""
    study = Study(sizes, seed, FaceAnalyzer(resolve_pack()))
    name = "check-" + parts.key(study.analyzer.pack.digest, str(sizes), str(seed), sources=SOURCES)
    results = parts.collect(study.names(), study.make, work=work, name=name, part=part)
    return None if results is None else study.rows(results)


def main() -> None:
    parser = arguments(__doc__ or "")
    parts.add_arguments(parser)
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    rows = evaluate(FULL if args.full else QUICK, args.seed, args.work, args.part)
    sys.exit(0 if rows is None else finish(rows, args.json))


if __name__ == "__main__":
    main()
