"""The figures that the protocol of docs/protocol.md promises, measured in the studio.

python -m scripts.evaluate.protocol                  within 8 minutes on two cores
python -m scripts.evaluate.protocol --full           the figures of record
python -m scripts.evaluate.protocol --part copies    one part; see `--help` for all

What is measured is kept piece by piece under `work/protocol`, so an interrupted run goes on where it stopped;
a change of the code that measures, of the face pack or of the seed begins anew.  How a checkpoint chosen does
against the truth is `scripts.evaluate.selection`, for it trains people.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from portrait_lora import manifest
from portrait_lora.evaluation import similarity
from portrait_lora.evaluation.measure import Wanted, look
from portrait_lora.faces import resolve_pack
from portrait_lora.faces.backends import Analyzer, open_analyzer
from portrait_lora.faces.packs import Role
from scripts.evaluate.cohort import cohort_folder
from scripts.evaluate.protocol import choosing, cohort, copies, intervals, truth
from scripts.evaluate.protocol.store import Store
from scripts.rows import Row, arguments, finish


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    studies: int
    pairs: int
    copy_people: int
    group_people: int
    curves: int
    portraits: int


QUICK = Sizes(studies=4000, pairs=200, copy_people=6, group_people=30, curves=60, portraits=400)
FULL = Sizes(studies=4000, pairs=2000, copy_people=40, group_people=300, curves=600, portraits=1000)
PARTS: Final = ("intervals", "choosing", "copies", "groups", "follow", "speed", "cohort")
"""The quickest first."""
SPEED_SEED = 850_000
PHOTOS, FRESH = 12, 50
"""Real photos, and portraits rendered at a time."""


def speed_rows(finder: Analyzer, portraits: int) -> list[Row]:
    """Processor time of the whole measurement over that of decode + detect + embed of the same pictures.

    The bare half is taken half before and half after, so that a machine growing slower favours neither.
    """
    with tempfile.TemporaryDirectory() as place:
        photos = _saved(Path(place), copies.pictures(SPEED_SEED, PHOTOS), "photo")
        paths = [p for start in range(0, portraits, FRESH) for p in _portraits(Path(place), start, portraits)]
        items = [similarity.PortraitItem(p, f"prompt {i % 8}") for i, p in enumerate(paths)]
        bare = _analysis_seconds(finder, paths[::2])
        started = time.process_time()
        looked = look(finder, Wanted(photos[:4], photos[4:], items))
        whole = time.process_time() - started
        bare += _analysis_seconds(finder, paths[1::2])
    copied = 0 if looked.extras.copies is None else len(looked.extras.copies.copied)
    return [
        Row("scoring over decode + detect + embed", whole / bare, "times", portraits, 1.2, at_most=True),
        Row("scoring: time per portrait", 1000 * whole / portraits, "ms", portraits),
        Row("scoring: share of those portraits taken for copies", copied / portraits, "share", portraits),
    ]


def _saved(folder: Path, images: np.ndarray, name: str) -> list[Path]:
    paths = [folder / f"{name}-{i:04d}.png" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return paths


def _portraits(folder: Path, start: int, portraits: int) -> list[Path]:
    """Up to `FRESH` pictures, every scene new, so that none repeats a photo or another portrait."""
    count = min(FRESH, portraits - start)
    pictures = copies.pictures(SPEED_SEED, count, first_scene=PHOTOS + start)
    return _saved(folder, pictures, f"portrait-{start:04d}")


def _analysis_seconds(finder: Analyzer, paths: Sequence[Path]) -> float:
    """Seconds of the processor for decode + detect + embed."""
    started = time.process_time()
    for path in paths:
        finder.find(similarity.read_rgb(path))
    return time.process_time() - started


def parts(sizes: Sizes, args: argparse.Namespace, store: Store) -> dict[str, Callable[[], list[Row]]]:
    """Every part by its name; nothing is measured yet."""
    seed, pack = args.seed, args.face_pack

    @cache
    def finder(role: Role) -> Analyzer:
        return open_analyzer(resolve_pack(pack), role)

    def speed() -> list[Row]:
        return speed_rows(finder("report"), sizes.portraits)

    return {
        "intervals": lambda: intervals.rows(sizes.studies, seed, store),
        "choosing": lambda: choosing.rows(sizes.curves, seed, store),
        "copies": lambda: copies.rows(finder("report"), sizes.copy_people, seed, store),
        "groups": lambda: truth.group_rows(finder("report"), sizes.group_people, seed, store),
        "follow": lambda: truth.follow_rows((finder("select"), finder("report")), sizes.pairs, seed, store),
        "speed": lambda: [
            Row(*fields) for fields in store.piece(f"speed-{sizes.portraits}", lambda: plain(speed()))
        ],
        "cohort": lambda: cohort.rows(args.cohort or cohort_folder(args.work)),
    }


def plain(rows: Sequence[Row]) -> list[list[object]]:
    """Rows as JSON knows them."""
    return [[r.name, r.value, r.unit, r.n, r.target, r.at_most] for r in rows]


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this one; may be given again")
    parser.add_argument("--face-pack", default="embedded")
    parser.add_argument("--work", type=Path, default=Path("work"), help="finished pieces are kept here")
    parser.add_argument("--cohort", type=Path, help="a folder of trained people; today's of train_cohort")
    args = parser.parse_args()
    sizes = FULL if args.full else QUICK
    key = manifest.digest([resolve_pack(args.face_pack).digest, args.seed])
    available = parts(sizes, args, Store(args.work / "protocol", key))
    rows: list[Row] = []
    for name in args.part or PARTS:
        started = time.process_time()
        rows += available[name]()
        print(f"{name}: {time.process_time() - started:.0f} s of the processor", flush=True)
    sys.exit(finish(rows, args.json) if rows else 0)


if __name__ == "__main__":
    main()
