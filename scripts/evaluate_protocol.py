"""The figures that the protocol of docs/protocol.md promises, measured in the studio.

python -m scripts.evaluate_protocol           within 8 minutes on two cores
python -m scripts.evaluate_protocol --full    the figures of record (4,000 studies, 2,000 pairs, 40 people)
"""

from __future__ import annotations

import sys
import tempfile
import time
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


QUICK = Sizes(studies=4000, pairs=200, copy_people=6, group_people=30, curves=60, portraits=100)
FULL = Sizes(studies=4000, pairs=2000, copy_people=40, group_people=300, curves=600, portraits=1000)
SPEED_SEED = 850_000


def speed_rows(finder: FaceAnalyzer, portraits: int) -> list[Row]:
    """Processor time of the whole measurement over that of decode + detect + embed of the same pictures."""
    with tempfile.TemporaryDirectory() as place:
        made = copies.pictures(SPEED_SEED, 24)
        paths = [Path(place) / f"{i:04d}.png" for i in range(portraits + 12)]
        for i, path in enumerate(paths):
            shifted = np.roll(made[i % 24], i // 24, axis=1)
            Image.fromarray(shifted).save(path)
        items = [identity.PortraitItem(p, f"prompt {i % 8}") for i, p in enumerate(paths[12:])]
        started = time.process_time()
        for item in items:
            finder.find(identity.read_rgb(item.path))
        bare = time.process_time() - started
        started = time.process_time()
        look(finder, Wanted(paths[:4], paths[4:12], items))
        whole = time.process_time() - started
    return [
        Row("scoring over decode + detect + embed", whole / bare, "times", portraits, 1.2, at_most=True),
        Row("scoring: time per portrait", 1000 * whole / portraits, "ms", portraits),
    ]


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
