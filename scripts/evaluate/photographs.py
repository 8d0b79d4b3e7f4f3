"""How the photo check fares on photographs, against labels made by eye.

python -m scripts.evaluate.photographs --photos DIR --labels CSV [CSV ...] --pack DIR [-s KEY=VALUE]

The pictures stay where they are; only counts are printed.  A label file has a header and one line per photo:
`file` (below --photos, one folder per person) and any of the columns of `COLUMNS`; figures whose column is
missing are left out.  A rejection of a photo that is labelled usable is wrong; rejections for size are not
counted, as the pictures of old collections are small.
"""

from __future__ import annotations

import csv
import logging
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scipy import stats

from portrait_lora import config
from portrait_lora.dataset.checks import check_photo
from portrait_lora.dataset.findings import CODES
from portrait_lora.faces.backends import open_analyzer
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.log import progress
from portrait_lora.records import PhotoReport
from portrait_lora.stages.configured import check_of
from scripts.rows import Row, arguments, finish

COLUMNS: Final[Mapping[str, frozenset[str]]] = {
    "subject": frozenset({"yes", "no", "doubtful"}),
    "faces": frozenset({"alone", "spectators", "company"}),
    "usable": frozenset({"yes", "no"}),
    "codes": frozenset(),  # the true reasons, separated by spaces
    "lenses": frozenset({"none", "glasses", "tinted", "sunglasses", "unclear"}),
    "cap": frozenset(),
    "view": frozenset({"left-profile", "left", "frontal", "right", "right-profile"}),
    "grey": frozenset({"yes", "no"}),
    "skin": frozenset({"light", "medium", "dark"}),
}
"""The columns that are read, and their words; any others are ignored."""
SIZE_CODES: Final = frozenset({"face_too_small", "low_resolution"})
SET_CODES: Final = frozenset({"near_duplicate", "surplus", "other_person"})
MAX_WRONG, MAX_WRONG_PER_CODE, MAX_WRONG_OF_20 = 0.02, 0.01, 2.0
LENSES_TARGET, JUDGED_TARGET, VIEW_TARGET = 0.9, 0.97, 0.95
LEFT_YAW_DEG: Final = 20.0
"""A face turned by less may pass for frontal, one turned by `FRONTAL_YAW_DEG` for turned, by eye."""
FRONTAL_YAW_DEG: Final = 30.0

Label = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Judged:
    """One photo: the label by eye and the findings of the check."""

    label: Label
    rejected: frozenset[str]
    warned: frozenset[str]
    unchecked: frozenset[str]
    yaw_deg: float | None

    @property
    def person(self) -> str:
        """The photo's folder."""
        return str(Path(self.label["file"]).parent)


def judged(label: Label, report: PhotoReport) -> Judged:
    """The label beside the report; codes of size are left out."""
    by: dict[str, set[str]] = defaultdict(set)
    for finding in report.findings:
        by[finding.severity].add(finding.code)
    pose = report.face.pose_deg if report.face is not None else None
    return Judged(
        label,
        frozenset(by["reject"] - SIZE_CODES),
        frozenset(by["warn"]),
        frozenset(by["not_checked"]),
        None if pose is None else pose[1],
    )


def read_labels(files: Sequence[Path]) -> list[Label]:
    """The lines of the label files.  Raises ValueError for an unknown word or a missing column `file`."""
    labels: list[Label] = []
    for file in files:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            if "file" not in (reader.fieldnames or ()):
                raise ValueError(f"{file}: no column `file`")
            for row in reader:
                clean = {k: (v or "").strip() for k, v in row.items() if k}
                _check_words(file, reader.line_num, clean)
                labels.append(clean)
    return labels


def _check_words(file: Path, line: int, label: Label) -> None:
    for column, words in COLUMNS.items():
        value = label.get(column, "")
        if words and value and value not in words:
            raise ValueError(f"{file}:{line}: {column} is {value!r}, not one of {', '.join(sorted(words))}")
    unknown = set(label.get("codes", "").split()) - set(CODES)
    if unknown:
        raise ValueError(f"{file}:{line}: no such code: {', '.join(sorted(unknown))}")


def share(name: str, hits: int, of: int, target: float | None = None, *, at_most: bool = False) -> list[Row]:
    """A share with its exact 95 % interval (Clopper and Pearson 1934); no row of nothing."""
    if not of:
        return []
    low = float(stats.beta.ppf(0.025, hits, of - hits + 1)) if hits else 0.0
    high = float(stats.beta.ppf(0.975, hits + 1, of - hits)) if hits < of else 1.0
    return [Row(name, hits / of, "share", of, target, at_most, (low, high))]


def rejection_rows(photos: Sequence[Judged]) -> list[Row]:
    """Wrong rejections in all, by code, and of the person who suffers most."""
    usable = [p for p in photos if p.label.get("usable") == "yes" and p.label.get("subject", "yes") != "no"]
    if not usable:
        return []
    wrong = Counter(code for p in usable for code in p.rejected)
    rows = share(
        "usable photos rejected", sum(bool(p.rejected) for p in usable), len(usable), MAX_WRONG, at_most=True
    )
    for code in CODES:
        if code not in SIZE_CODES | SET_CODES:
            name = f"  as {code}"
            rows += share(name, wrong[code], len(usable), MAX_WRONG_PER_CODE, at_most=True)
    people: dict[str, list[bool]] = defaultdict(list)
    for p in usable:
        people[p.person].append(bool(p.rejected))
    worst = max(20 * sum(v) / max(len(v), 20) for v in people.values())
    rows.append(Row("the same of the worst person", worst, "of 20", len(people), MAX_WRONG_OF_20, True))
    return rows + _recall_rows(photos)


def _recall_rows(photos: Sequence[Judged]) -> list[Row]:
    """Of the photos that are unusable for a reason, how many are rejected at all, and for that reason."""
    bad = [p for p in photos if p.label.get("usable") == "no" and p.label.get("codes")]
    rows = share("unusable photos rejected, whatever the code", sum(bool(p.rejected) for p in bad), len(bad))
    for code in CODES:
        if code not in SIZE_CODES | SET_CODES:
            of = [p for p in bad if code in p.label["codes"].split()]
            rows += share(f"  {code} found", sum(code in p.rejected for p in of), len(of))
    return rows


def lens_rows(photos: Sequence[Judged]) -> list[Row]:
    """Sunglasses: what is found, what is right, and both among photos that the check dares to judge."""
    clear = [p for p in photos if p.label.get("lenses") in ("none", "glasses", "sunglasses")]
    rows: list[Row] = []
    groups: list[tuple[str, Callable[[Label], bool]]] = [
        ("", lambda label: True),
        (", light skin", lambda label: label.get("skin") == "light"),
        (", dark skin", lambda label: label.get("skin") in ("medium", "dark")),
        (", caps and hats", lambda label: label.get("cap", "none") not in ("none", "", "headband")),
    ]
    for words, holds in groups:
        group = [p for p in clear if holds(p.label)]
        real = [p for p in group if p.label["lenses"] == "sunglasses"]
        called = [p for p in group if "sunglasses" in p.rejected]
        right = sum("sunglasses" in p.rejected for p in real)
        rows += share(f"sunglasses found{words}", right, len(real), LENSES_TARGET)
        rows += share(f"sunglasses verdicts that are right{words}", right, len(called), LENSES_TARGET)
        dared = [p for p in group if "sunglasses" not in p.unchecked]
        agree = sum(("sunglasses" in p.rejected) == (p.label["lenses"] == "sunglasses") for p in dared)
        rows += share(f"right of those it dares to judge{words}", agree, len(dared), JUDGED_TARGET)
    rows += share("photos it does not dare to judge", len(clear) - _dared(clear), len(clear))
    return rows


def _dared(photos: Sequence[Judged]) -> int:
    return sum("sunglasses" not in p.unchecked for p in photos)


def view_rows(photos: Sequence[Judged]) -> list[Row]:
    """Whether the side that a head is turned to agrees with the eye, where a pose was measured."""
    posed = [p for p in photos if p.yaw_deg is not None and p.label.get("view")]
    right = sum(view_agrees(p.label["view"], p.yaw_deg or 0.0) for p in posed)
    return share("left, front or right as by eye", right, len(posed), VIEW_TARGET)


def view_agrees(view: str, yaw_deg: float) -> bool:
    """Whether a yaw fits the word; between 20° and 30° a head may be called frontal or turned."""
    if view == "frontal":
        return abs(yaw_deg) <= FRONTAL_YAW_DEG
    turned = -yaw_deg if view.startswith("left") else yaw_deg
    return turned >= (LEFT_YAW_DEG if view.endswith("profile") else LEFT_YAW_DEG / 2)


def other_rows(photos: Sequence[Judged]) -> list[Row]:
    """Companions and black-and-white pictures."""
    known = [p for p in photos if p.label.get("faces")]
    company = [p for p in known if p.label["faces"] == "company"]
    rest = [p for p in known if p.label["faces"] != "company"]
    rows = share(
        "company named", sum("several_faces" in p.rejected | p.warned for p in company), len(company)
    )
    rows += share(
        "alone or before spectators, called several",
        sum("several_faces" in p.rejected for p in rest),
        len(rest),
        MAX_WRONG_PER_CODE,
        at_most=True,
    )
    grey = [p for p in photos if p.label.get("grey")]
    agree = sum(("monochrome" in p.warned) == (p.label["grey"] == "yes") for p in grey)
    return rows + share("black and white or colour as by eye", agree, len(grey), VIEW_TARGET)


def all_rows(photos: Sequence[Judged]) -> list[Row]:
    """Every figure that the labels allow."""
    return [*rejection_rows(photos), *lens_rows(photos), *view_rows(photos), *other_rows(photos)]


def look(folder: Path, labels: Sequence[Label], pack: str, overrides: Sequence[str]) -> list[Judged]:
    """Check every labelled photo.  `overrides` are settings of `dataset`, such as `check.min_face_px=40`."""
    analyzer = open_analyzer(resolve_pack(pack))
    settings = config.load(None, [f"dataset.{one}" for one in overrides]).dataset
    photos = []
    with progress("looking at photos", len(labels)) as advance:
        for label in labels:
            photos.append(
                judged(label, check_photo(folder / label["file"], analyzer, check_of(settings.check)))
            )
            advance(1)
    return photos


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--photos", type=Path, required=True, help="folder with one folder per person")
    parser.add_argument("--labels", type=Path, nargs="+", required=True, help="labels by eye")
    parser.add_argument("--pack", required=True, help="face pack for photographs")
    parser.add_argument(
        "-s", "--set", action="append", default=[], help="a setting of dataset, such as check.min_face_px=40"
    )
    parser.add_argument("--wrong", action="store_true", help="name every photo that was rejected wrongly")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    photos = look(args.photos, read_labels(args.labels), args.pack, args.set)
    if args.wrong:
        for p in photos:
            if p.rejected and p.label.get("usable") == "yes":
                print(f"  {p.label['file']}: {' '.join(sorted(p.rejected))}")
    sys.exit(finish(all_rows(photos), args.json))


if __name__ == "__main__":
    main()
