"""Selection and early stop against an oracle that knows the person, on people trained for it.

python -m scripts.evaluate.selection                       2 people
python -m scripts.evaluate.selection --full --workers 2    the figures of record: 30 people
python -m scripts.evaluate.selection --report              of those measured so far; trains nobody

Everybody is trained to 150 exposures per photo with 15 checkpoints, every second person at a multiple of the
recipe's learning rate, so that overfitted checkpoints are among them.  The early stop is what
`training.early_stop` would have done on the way to the default of 100 exposures: it asks the same question of
the same probes.  Finished people lie in `work/selection`, without their checkpoints.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from portrait_lora import config, manifest, recipe
from portrait_lora.evaluation.drift import counted
from portrait_lora.evaluation.similarity import PortraitItem, ReferenceSet, score_portraits, subject_face
from portrait_lora.faces.backends import Analyzer
from portrait_lora.families.rows import row_of
from portrait_lora.generation.prompts import load_series
from portrait_lora.likeness import open_likeness
from portrait_lora.records import Shot
from portrait_lora.results import SelectResult
from portrait_lora.stages.context import Context
from portrait_lora.stages.reports import checkpoint_of
from portrait_lora.synthetic import render, sample_people, sample_scenes
from portrait_lora.synthetic.photos import make_reference_set
from scripts.evaluate.cohort import cohort_folder
from scripts.evaluate.protocol import oracle
from scripts.rows import arguments, finish

FIRST_SEED: Final = 6000
"""Apart from the cohort (2000 on), the people of the photo check (3000 on) and the tuning person (1900)."""
QUICK, FULL = 2, 30
HOT: Final = 3.0
PER_SHOT: Final = 2
FRESH_PHOTOS: Final = 24
PHOTO_PX: Final = 192
RESULT: Final = "study.json"


def overrides_of(seed: int, hot: float) -> list[str]:
    """The recipe with many checkpoints; people with odd seeds learn `hot` times as fast."""
    rate = config.load(None).training.learning_rate * rate_of(seed, hot)
    return [
        f"training.exposures_per_photo={oracle.MOST_EXPOSURES}",
        f"training.checkpoints={oracle.CHECKPOINTS}",
        f"training.learning_rate={rate:g}",
        "training.identity_weight=0",  # what is chosen from are ordinary steps
    ]


def rate_of(seed: int, hot: float) -> float:
    """Of the recipe's learning rate."""
    return hot if seed % 2 else 1.0


def study(seed: int, folder: Path, hot: float) -> oracle.Study:
    """Train one person, look at every checkpoint, and write the result; an interrupted one goes on."""
    kind = make_reference_set(seed, folder / "photos").subject
    settings = [*overrides_of(seed, hot), f"subject.kind={kind}"]
    recipe.train(folder, overrides=settings)
    ctx = Context(open_likeness(folder, settings))
    probes = tuple(checkpoint_of(probe) for probe in ctx.journal.result(SelectResult).probes)
    fresh = fresh_photos(seed, ctx.reporter)
    truth = []
    for adapter in ctx.adapters:
        place = ctx.likeness.adapters / "oracle" / f"step-{adapter.step:06d}"
        portraits = ctx.draw(adapter, oracle_shots(ctx), place)
        items = [PortraitItem.of(p) for p in portraits]
        truth.append(tuple(counted(s) for s in score_portraits(items, fresh, ctx.reporter)))
    result = oracle.Study(seed, rate_of(seed, hot), probes, tuple(truth))
    manifest.write_json_atomic(folder / RESULT, result.to_json())
    shutil.rmtree(ctx.likeness.adapters)
    return result


def oracle_shots(ctx: Context) -> list[Shot]:
    """The series `drift` with seeds of its own; neighbours are one prompt, so halves share their prompts."""
    shots = load_series(
        "drift",
        trigger=ctx.trigger,
        subject=ctx.config.subject.kind,
        resolution_px=ctx.base.resolution_px,
        per_shot=PER_SHOT,
        form=row_of(ctx.base.family).text.form,
        closed=True,
    )
    return [replace(shot, seed=(shot.seed + 1_000_003) % 2**31) for shot in shots]


def fresh_photos(seed: int, finder: Analyzer) -> ReferenceSet:
    """Photos of the person that no run was trained on, seen by embedder B."""
    people = sample_people([seed]).take([0] * FRESH_PHOTOS)
    scenes = sample_scenes([90_000_000 + seed * 100 + i for i in range(FRESH_PHOTOS)], max_yaw_deg=50.0)
    pictures = render(people, scenes, PHOTO_PX).image_BCHW.permute(0, 2, 3, 1).numpy()
    faces = [subject_face(finder.find(np.ascontiguousarray(picture))) for picture in pictures]
    rows = [face.embedding for face in faces if face is not None]
    return ReferenceSet(np.stack(rows), tuple(map(str, range(len(rows)))), finder.embedder_id)


def measured(folder: Path) -> list[oracle.Study]:
    """The finished people of a folder."""
    files = sorted(folder.glob(f"person-*/{RESULT}"))
    return [oracle.Study.from_json(json.loads(file.read_text(encoding="utf-8"))) for file in files]


def train_all(folder: Path, seeds: range, hot: float, workers: int) -> None:
    """A process per person; with several at a time each has one thread.  Raises with a person's message."""
    threads = {"OMP_NUM_THREADS": "1"} if workers > 1 else {}

    def one(seed: int) -> None:
        place = folder / f"person-{seed}"
        if (place / RESULT).is_file():
            return
        command = [sys.executable, "-m", "scripts.evaluate.selection", "--person", str(seed)]
        command += ["--folder", str(place), "--hot", str(hot)]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | threads)
        if done.returncode:
            raise RuntimeError(f"person {seed}: {done.stderr.strip()[-2000:]}")
        print(f"person {seed} done", flush=True)

    with ThreadPoolExecutor(workers) as pool:
        for job in [pool.submit(one, seed) for seed in seeds]:
            job.result()


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--people", type=int, help="how many, instead of 2 or 30")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--hot", type=float, default=HOT, help="learning rate of every second person")
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--report", action="store_true", help="only those measured so far")
    parser.add_argument("--person", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.person is not None:
        study(args.person, args.folder, args.hot)
        return
    folder = args.work / "selection" / f"{cohort_folder(args.work).name}-{args.hot:g}"
    first = FIRST_SEED + 100 * args.seed
    if not args.report:
        people = args.people or (FULL if args.full else QUICK)
        train_all(folder, range(first, first + people), args.hot, args.workers)
    studies = [s for s in measured(folder) if first <= s.seed < first + 100]
    if not studies:
        sys.exit(f"nobody has been measured in {folder}")
    sys.exit(finish(oracle.rows(studies), args.json))


if __name__ == "__main__":
    main()
