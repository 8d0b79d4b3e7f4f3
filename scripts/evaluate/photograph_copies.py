"""Whether `score` flags copies of training photographs, and honest pictures of the same person not.

python -m scripts.evaluate.photograph_copies --photos DIR --pack DIR [--pairs CSV] [--seed N] [--full]

`--photos` holds one subfolder of photos per person.  Of each person some photos are held out and some train;
the dataset is built from them as `prepare` does it.  Copies of training crops (`KINDS`) are the portraits
that must be flagged, crops of the person's other photos those that must not.  A line `file_a,file_b,same` of
--pairs (paths below --photos or its parent) says that two files show one photo: the later one is left out.
The pictures stay where they are, and only counts are printed.
"""

from __future__ import annotations

import csv
import io
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from PIL import Image

from portrait_lora.config import CheckConfig, DatasetConfig
from portrait_lora.dataset.build import build_dataset, load_dataset_folder
from portrait_lora.dataset.checks import check_photo
from portrait_lora.dataset.coverage import coverage
from portrait_lora.dataset.crop import bucket_sizes
from portrait_lora.dataset.photograph_caption import PhotographCaptioner
from portrait_lora.evaluation.measure import Wanted, look
from portrait_lora.evaluation.similarity import PortraitItem
from portrait_lora.faces.backends import Analyzer, open_analyzer
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.log import progress
from portrait_lora.pictures.reader import read_rgb
from portrait_lora.records import CaptionedCrop, CuratedSet, PhotoReport, RGBImage
from portrait_lora.stages.configured import check_of
from scripts.evaluate.photograph_captions import photo_files
from scripts.evaluate.photographs import share
from scripts.rows import Row, arguments, finish

TRAINING, HOLDOUT = 12, 3
QUICK_PHOTOS: Final = 36
"""Photos per person of a quick run: about 20 others remain to be honest portraits."""
RESOLUTION_PX: Final = 512
MIN_FLAGGED, MAX_HONEST = 0.98, 0.01


def _jpeg(picture: RGBImage) -> RGBImage:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=30)
    return np.asarray(Image.open(out).convert("RGB"))


def _cropped(picture: RGBImage) -> RGBImage:
    """5 % off each side length, more of it at the left and at the bottom."""
    height, width = picture.shape[:2]
    return picture[height // 50 : height - height * 3 // 100, width * 3 // 100 : width - width // 50]


def _half(picture: RGBImage) -> RGBImage:
    return np.asarray(cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)


def _brighter(picture: RGBImage) -> RGBImage:
    return np.clip(picture.astype(np.float32) * 1.2 + 12, 0, 255).astype(np.uint8)


def _grey(picture: RGBImage) -> RGBImage:
    return np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2).astype(np.uint8)


def _blurred(picture: RGBImage) -> RGBImage:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), picture.shape[1] / 256), np.uint8)


KINDS: Final[Mapping[str, Callable[[RGBImage], RGBImage]]] = {
    "JPEG 30": _jpeg,
    "crop 5 %": _cropped,
    "mirror": lambda picture: picture[:, ::-1],
    "half size": _half,
    "brighter": _brighter,
    "grey": _grey,
    "blur": _blurred,
}


@dataclass(slots=True)
class Verdicts:
    """Portraits flagged, of how many, by kind of copy and of honest ones."""

    flagged: Counter[str] = field(default_factory=Counter)
    wrong_source: int = 0
    total: Counter[str] = field(default_factory=Counter)
    honest_flagged: int = 0
    honest: int = 0
    people: int = 0


def second_files(csv_file: Path) -> dict[str, set[str]]:
    """Per file the others that show the same photo.  Raises ValueError without the three columns."""
    same: dict[str, set[str]] = {}
    with csv_file.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines)
        if not {"file_a", "file_b", "kind"} <= set(reader.fieldnames or ()):
            raise ValueError(f"{csv_file}: the columns are {reader.fieldnames}, not file_a, file_b, kind")
        for row in reader:
            if row["kind"] == "same":
                same.setdefault(row["file_a"], set()).add(row["file_b"])
                same.setdefault(row["file_b"], set()).add(row["file_a"])
    return same


def each_once(files: Sequence[Path], photos: Path, same: Mapping[str, set[str]]) -> list[Path]:
    """The files without those that show the photo of an earlier one."""
    kept: list[Path] = []
    names: set[str] = set()
    for file in files:
        below = file.relative_to(photos).as_posix()
        own = {below, f"{photos.name}/{below}"}
        if not any(names & same.get(name, set()) for name in own):
            kept.append(file)
            names |= own
    return kept


def dataset_of(
    training: Sequence[PhotoReport],
    holdout: Sequence[PhotoReport],
    finder: Analyzer,
    folder: Path,
) -> tuple[list[CaptionedCrop], list[Path]]:
    """The crops and the held-out pictures that `prepare` writes for these photos."""
    embeddings = [r.face.embedding for r in training if r.face is not None]
    centroid = np.mean(embeddings, axis=0)
    kept = tuple(training)
    curated = CuratedSet(
        kept,
        (),
        tuple(holdout),
        coverage(kept),
        (centroid / np.linalg.norm(centroid)).astype(np.float32),
        finder.embedder_id,
    )
    build_dataset(
        curated,
        folder,
        size_px=bucket_sizes(RESOLUTION_PX, DatasetConfig().aspects),
        trigger="ohwx",
        subject="person",
        captioner=PhotographCaptioner("ohwx", "person"),
        find_faces=finder.find,
    )
    return load_dataset_folder(folder, verify=False)


def judge(
    reports: Sequence[PhotoReport],
    select: Analyzer,
    report: Analyzer,
    work: Path,
    verdicts: Verdicts,
) -> None:
    """Score copies and honest portraits of one person, whose photos are in the order of their roles."""
    holdout = reports[:HOLDOUT]
    training, others = reports[HOLDOUT : HOLDOUT + TRAINING], reports[HOLDOUT + TRAINING :]
    crops, held_out = dataset_of([*training, *others], holdout, select, work / "dataset")
    by_photo: dict[str, list[CaptionedCrop]] = {}
    for crop in crops:
        by_photo.setdefault(crop.source_sha256, []).append(crop)
    portraits: dict[str, tuple[str, str]] = {}  # by name: the kind of copy ("" for an honest one), the source
    items: list[PortraitItem] = []
    for index, photo in enumerate([*training, *others]):
        own = by_photo[photo.photo.sha256]
        source = own[index % len(own)].path  # close and wide ones in turn
        changes = KINDS if index < len(training) else {"": lambda picture: picture}
        for kind, change in changes.items():
            name = f"{index:03d}-{kind.replace(' ', '-').replace('%', 'pc')}.png"
            Image.fromarray(np.ascontiguousarray(change(read_rgb(source)))).save(work / name)
            portraits[name] = kind, photo.photo.path.name
            items.append(PortraitItem(work / name, ""))
    looked = look(report, Wanted(held_out, [r.photo.path for r in training], items))
    copies = looked.extras.copies
    assert copies is not None, "there are more than three real photos"
    copied = dict(copies.copied)
    flagged = sum(name in copied for name in portraits)
    print(
        f"{len(training)} and {len(others)} photos: {flagged} of {len(portraits)} portraits flagged",
        flush=True,
    )
    verdicts.people += 1
    for name, (kind, source) in portraits.items():
        if kind:
            verdicts.total[kind] += 1
            verdicts.flagged[kind] += name in copied
            verdicts.wrong_source += name in copied and copied[name] != source
        else:
            verdicts.honest += 1
            verdicts.honest_flagged += name in copied


def rows_of(verdicts: Verdicts) -> list[Row]:
    """Shares of copies and of honest portraits that are flagged, with exact intervals."""
    total = verdicts.total.total()
    rows = share("copies of training photos flagged", verdicts.flagged.total(), total, MIN_FLAGGED)
    for kind in KINDS:
        rows += share(f"  {kind}", verdicts.flagged[kind], verdicts.total[kind])
    rows += share("  of those flagged, another photo named", verdicts.wrong_source, verdicts.flagged.total())
    name = "other photos of the same person flagged"
    return rows + share(name, verdicts.honest_flagged, verdicts.honest, MAX_HONEST, at_most=True)


def accepted_photos(
    files: Sequence[Path], finder: Analyzer, most: int | None, rng: np.random.Generator
) -> list[PhotoReport]:
    """Reports of photos that pass the check, in random order; at most `most` photos are looked at."""
    order = [files[i] for i in rng.permutation(len(files))][:most]
    settings = check_of(CheckConfig())
    return [r for r in (check_photo(file, finder, settings) for file in order) if r.accepted]


def main() -> int:
    """Print the table; the exit code says whether both targets were met."""
    parser = arguments("Copies of training photographs, and honest pictures, in the verdict of score.")
    parser.add_argument("--photos", type=Path, required=True, help="one subfolder of photos per person")
    parser.add_argument("--pack", required=True, help="folder of a face pack")
    parser.add_argument("--pairs", type=Path, default=None, help="file_a,file_b,kind: `same` is one photo")
    options = parser.parse_args()
    logging.getLogger("portrait_lora").setLevel(logging.ERROR)
    pack = resolve_pack(options.pack)
    select, report = open_analyzer(pack, "select"), open_analyzer(pack, "report")
    same = second_files(options.pairs) if options.pairs else {}
    people = sorted(p for p in options.photos.iterdir() if p.is_dir())
    verdicts, rng = Verdicts(), np.random.default_rng(options.seed)
    with progress("judging people", len(people)) as advance, tempfile.TemporaryDirectory() as temporary:
        for person in people:
            files = each_once(photo_files(person, None), options.photos, same)
            reports = accepted_photos(files, select, None if options.full else QUICK_PHOTOS, rng)
            if len(reports) <= HOLDOUT + TRAINING:
                print(f"left out: a person with {len(reports)} photos that pass the check")
            else:
                work = Path(temporary) / f"{verdicts.people}"
                work.mkdir()
                judge(reports, select, report, work, verdicts)
            advance(1)
    print(f"{verdicts.people} people, {TRAINING} training photos and {HOLDOUT} held out each")
    return finish(rows_of(verdicts), options.json)


if __name__ == "__main__":
    sys.exit(main())
