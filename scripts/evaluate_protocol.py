"""The figures that the protocol of docs/protocol.md promises, measured in the studio.

python -m scripts.evaluate_protocol           within 8 minutes on two cores
python -m scripts.evaluate_protocol --full    the figures of record (4,000 studies, 2,000 pairs, 40 people)
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from portrait_lora.evaluation import identity
from portrait_lora.faces import FaceAnalyzer, resolve_pack
from portrait_lora.stages.looking import Wanted, look
from scripts.protocol import choosing, copies, intervals, truth
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
SPEED_SEED = 850_000
PHOTOS, FRESH = 12, 50
"""Real photos, and portraits rendered at a time."""


def speed_rows(finder: FaceAnalyzer, portraits: int) -> list[Row]:
    """Processor time of the whole measurement over that of decode + detect + embed of the same pictures.

    The bare half is taken half before and half after, so that a machine growing slower favours neither.
    """
    with tempfile.TemporaryDirectory() as place:
        photos = _saved(Path(place), copies.pictures(SPEED_SEED, PHOTOS), "photo")
        paths = [p for start in range(0, portraits, FRESH) for p in _portraits(Path(place), start, portraits)]
        items = [identity.PortraitItem(p, f"prompt {i % 8}") for i, p in enumerate(paths)]
        bare = _found(finder, paths[::2])
        started = time.process_time()
        looked = look(finder, Wanted(photos[:4], photos[4:], items))
        whole = time.process_time() - started
        bare += _found(finder, paths[1::2])
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
    made = copies.pictures(SPEED_SEED, count, first_scene=PHOTOS + start)
    return _saved(folder, made, f"portrait-{start:04d}")


def _found(finder: FaceAnalyzer, paths: Sequence[Path]) -> float:
    """Seconds of the processor for decode + detect + embed."""
    started = time.process_time()
    for path in paths:
        finder.find(identity.read_rgb(path))
    return time.process_time() - started


def evaluate(sizes: Sizes, seed: int, pack: str) -> list[Row]:
    """Every row."""
    found = resolve_pack(pack)
    select, report = FaceAnalyzer(found, "select"), FaceAnalyzer(found, "report")
    rows = intervals.rows(sizes.studies, seed)
    rows += choosing.rows(sizes.curves, seed)
    rows += truth.follow_rows((select, report), sizes.pairs, seed)
    rows += copies.rows(report, sizes.copy_people, seed)
    rows += truth.group_rows(report, sizes.group_people, seed)
    return rows + speed_rows(report, sizes.portraits)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--face-pack", default="embedded")
    given = parser.parse_args()
    sys.exit(finish(evaluate(FULL if given.full else QUICK, given.seed, given.face_pack), given.json))


if __name__ == "__main__":
    main()
