"""Every figure that the embedded default promises, measured anew.

python -m scripts.evaluate.embedded           one person, the one of the demo; few scenes
python -m scripts.evaluate.embedded --full    the figures of record (30 people, 2,000 scenes, 600 portraits)
python -m scripts.evaluate.embedded --full --part likeness --seed 3     the adapters of 30 other people alone

Every part is printed, and written to `--json`, as soon as it is measured; people and portraits are kept in
`work`.  Prompt obedience needs the classifiers of `python -m scripts.evaluate.studio.classifiers`; a quick
run without them leaves it out, and of the adapters it is then the face pack that reads what was obeyed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from portrait_lora import recipe
from portrait_lora.evaluation.drift import clustered_interval
from portrait_lora.faces import FaceAnalyzer
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.synthetic.photos import make_reference_set
from scripts.evaluate import face_pack as evaluate_face_pack
from scripts.evaluate.cohort import FIRST_SEED, Member, train_cohort
from scripts.evaluate.studio import obedience
from scripts.evaluate.studio.adapters import adapter_rows, read_rows
from scripts.evaluate.studio.attainable import attainable_rows
from scripts.evaluate.studio.classifiers import FILE, WORK, load
from scripts.rows import Row, Table, arguments


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    check_people: int
    cohort: int
    workers: int
    portraits: int


DEMO = 7
"""The person of the demo; the only one of a quick run."""
COPIED_OF_RENDERS = 0.013
"""Share of new renders of a person, prompted as the portraits are, that are taken for copies: what
`scripts.evaluate.protocol --part copies` finds."""
PARTS = ("commands", "check", "faces", "obedience", "likeness")
QUICK = Sizes(check_people=2, cohort=0, workers=2, portraits=obedience.QUICK)
FULL = Sizes(check_people=20, cohort=30, workers=2, portraits=obedience.FULL)


def command_rows(folder: Path) -> tuple[list[Row], Member]:
    """`--help` and the whole demo, each as a process of its own: seconds and peak memory; and its person."""
    program = [sys.executable, "-m", "portrait_lora.cli"]
    times = []
    for _ in range(5):
        started = time.monotonic()
        subprocess.run([*program, "--help"], capture_output=True, check=True)
        times.append(time.monotonic() - started)
    started = time.monotonic()
    done = subprocess.run(
        [*program, "--quiet", "demo", "--person-seed", str(DEMO), "--out", str(folder), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds = time.monotonic() - started
    summary = json.loads(done.stdout)
    peak = float(summary["peak_memory_mb"]) / 1024
    rows = [
        Row("help: median seconds", float(np.median(times)), "s", len(times), 0.3, at_most=True),
        Row("demo: seconds, photos included", seconds, "s", 1, 180.0, at_most=True),
        Row("demo: peak memory", peak, "GiB", 1, 3.0, at_most=True),
    ]
    return rows, Member(DEMO, folder, summary)


def check_rows(people: int, first_seed: int) -> list[Row]:
    """Planted bad photos rejected with their code, good ones kept."""
    planted = caught = good = lost = 0
    for seed in range(first_seed, first_seed + people):
        folder = Path(tempfile.mkdtemp(prefix="check-"))
        try:
            reference = make_reference_set(seed, folder / "photos")
            summary = recipe.check(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        rejected = {r.file: r.codes for r in summary.photos.rejected}
        wrong = [
            f"{f}: {code} was {rejected.get(f)}"
            for f, code in reference.planted.items()
            if code not in rejected.get(f, [])
        ]
        unjust = [f"{f}: good, was {c}" for f, c in rejected.items() if f not in reference.planted]
        for line in (*wrong, *unjust):
            print(f"  person {seed}, {line}", flush=True)
        planted += len(reference.planted)
        caught += len(reference.planted) - len(wrong)
        good += len(reference.truths) - len(reference.planted)
        lost += len(unjust)
    return [
        Row("check: planted photos rejected with their code", caught / planted, "share", planted, 1.0),
        Row("check: good photos rejected", lost / good, "share", good, 0.0, at_most=True),
    ]


def likeness_rows(members: list[Member]) -> list[Row]:
    """What the adapters of unseen people reach."""
    likenesses: list[dict[str, Any]] = [m.summary["likeness"] for m in members]
    shares = [s["share_of_ceiling"] for s in likenesses]
    gains = [s["adapter_mean"] - s["base_mean"] for s in likenesses]
    face_rate = float(np.mean([s["face_found_rate"] for s in likenesses]))
    copied = float(np.mean([s["copy_score"] for s in likenesses]))
    n = len(likenesses)
    spread = clustered_interval(shares, list(range(n))).ci95 if n > 1 else None
    return [
        Row("likeness: people above the base", float(np.mean([g > 0 for g in gains])), "share", n, 1.0),
        Row("likeness: mean share of ceiling", float(np.mean(shares)), "share", n, 0.9, ci95=spread),
        Row("likeness: lowest share of ceiling", min(shares), "share", n, 0.75),
        Row(
            "likeness: mean similarity, adapter",
            float(np.mean([s["adapter_mean"] for s in likenesses])),
            "cosine",
            n,
        ),
        Row(
            "likeness: mean similarity, base",
            float(np.mean([s["base_mean"] for s in likenesses])),
            "cosine",
            n,
        ),
        Row("likeness: mean ceiling", float(np.mean([s["ceiling"] for s in likenesses])), "cosine", n),
        Row("likeness: face found", face_rate, "share", n * 16, 0.9),
        Row(
            "likeness: verified",
            float(np.mean([s["verified_rate"] for s in likenesses])),
            "share",
            n * 16,
            0.95,
        ),
        Row("likeness: copy score", copied, "share", n * 16, COPIED_OF_RENDERS, at_most=True),
    ]


def face_rows(full: bool, seed: int) -> list[Row]:
    """The face pack's own figures."""
    sizes = evaluate_face_pack.FULL if full else evaluate_face_pack.QUICK
    return evaluate_face_pack.evaluate(resolve_pack(), sizes, seed)


def obedience_rows(portraits: int, seed: int, classifiers: Path, *, full: bool) -> list[Row]:
    """Whether the base draws what is prompted; nothing in a quick run without the classifiers."""
    if not full and not classifiers.is_file():
        print(
            f"prompt obedience left out: no {classifiers} (python -m scripts.evaluate.studio.classifiers)",
            flush=True,
        )
        return []
    return obedience.obedience_rows(portraits, seed, classifiers)


def cohort_rows(sizes: Sizes, seed: int, classifiers: Path) -> Iterator[list[Row]]:
    """What the adapters of the cohort reach, lot by lot."""
    cohort = train_cohort(sizes.cohort, first_seed=FIRST_SEED + 100 * seed, workers=sizes.workers)
    yield likeness_rows(cohort)
    yield attainable_rows([(m.seed, m.folder) for m in cohort])
    folders = [m.folder for m in cohort]
    yield read_rows(folders, FaceAnalyzer(resolve_pack(), "report"))
    if classifiers.is_file():
        yield adapter_rows(folders, load(classifiers))


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--classifiers", type=Path, default=WORK / FILE, help="of scripts.evaluate.studio.classifiers"
    )
    parser.add_argument("--part", action="append", choices=PARTS, help="this alone; may be repeated")
    args = parser.parse_args()
    sizes, parts = FULL if args.full else QUICK, args.part or PARTS
    if args.full and "obedience" in parts and not args.classifiers.is_file():
        parser.error(f"no {args.classifiers}; run python -m scripts.evaluate.studio.classifiers first")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    table = Table(args.json)
    demo: Member | None = None
    if "commands" in parts or ("likeness" in parts and not sizes.cohort):
        with tempfile.TemporaryDirectory() as folder:
            rows, demo = command_rows(Path(folder) / "demo")
        table.add(rows if "commands" in parts else [])
    if "check" in parts:
        table.add(check_rows(sizes.check_people, 3000 + 100 * args.seed))
    if "faces" in parts:
        table.add(face_rows(args.full, args.seed))
    if "obedience" in parts:
        table.add(obedience_rows(sizes.portraits, args.seed, args.classifiers, full=args.full))
    if "likeness" in parts and sizes.cohort:
        for rows in cohort_rows(sizes, args.seed, args.classifiers):
            table.add(rows)
    elif "likeness" in parts and demo is not None:
        table.add(likeness_rows([demo]))
    sys.exit(table.code())


if __name__ == "__main__":
    main()
