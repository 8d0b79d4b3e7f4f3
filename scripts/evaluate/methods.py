"""Ways of training beside each other: the same unseen people, photos and seeds, judged by embedder B.

python -m scripts.evaluate.methods --people 10 --arm "today:" --arm "half:training.exposures_per_photo=75"
python -m scripts.evaluate.methods --people 10 --arm today: --arm "warm:training.warm_start=FILE"

An arm is a name and settings.  Everybody's photos are checked and prepared once; every arm trains, chooses,
draws and measures from there with settings of its own.  Differences are to the first arm, paired by person
and portrait, their intervals over people.  What is done is kept under `--work`, and a run that was stopped
goes on.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from portrait_lora import manifest, recipe
from portrait_lora.evaluation.drift import clustered_interval
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.families.catalog import resolve_base
from scripts.evaluate.cohort import own_series
from scripts.evaluate.studio.adapters import adapter_rows
from scripts.evaluate.studio.classifiers import FILE, WORK, load
from scripts.rows import Row, Table, arguments

FIRST_SEED: Final = 9100
"""People on whom nothing was tuned or chosen before."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of training: settings over the default."""

    name: str
    settings: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Arm:
        """`name:key=value,key=value`."""
        name, _, rest = text.partition(":")
        return cls(name, tuple(filter(None, rest.split(","))))

    @property
    def digest(self) -> str:
        """Of the settings, of the bytes of the files they name, and of each person having their own noise."""
        files = [Path(s.partition("=")[2]) for s in self.settings]
        return manifest.digest(
            ["own noise", sorted(self.settings), [manifest.sha256_file(f) for f in files if f.is_file()]]
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """One person in one arm: the summary of their run, similarity by portrait (no face counts 0), and the
    share of what the prompts ask for that the pack reads in the portraits."""

    seed: int
    folder: Path
    summary: dict[str, Any]
    similarities: tuple[float, ...]
    obeyed: float


def prepared(seed: int, work: Path) -> Path:
    """A person's folder, checked and prepared."""
    folder = work / "prepared" / f"person-{seed}"
    if not (folder / "prepared").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        recipe.open_demo(folder, seed)
        recipe.prepare(folder)
        (folder / "prepared").touch()
    return folder


def measured(arm: Arm, seed: int, work: Path) -> Measured:
    """Run or reuse one person of one arm.  Raises `RuntimeError` with the program's message."""
    folder = work / f"{arm.name}-{arm.digest[:8]}" / f"person-{seed}"
    summary = folder / "reports" / "run.json"
    if not summary.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(prepared(seed, work), folder)
        own = f"generate.series={own_series(seed, work)}"
        words = [part for s in (own, *arm.settings) for part in ("-s", s)]
        command = [sys.executable, "-m", "portrait_lora.cli", "--quiet", "run", str(folder), *words]
        done = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        if done.returncode:
            raise RuntimeError(f"{arm.name}, person {seed}: {done.stderr.strip()}")
    facts = json.loads(summary.read_text(encoding="utf-8"))
    drift = json.loads((folder / "reports" / "drift.json").read_text(encoding="utf-8"))
    scores = sorted(drift["scores"], key=lambda row: row["portrait"])
    similarities = tuple(float(row["similarity"] or 0.0) for row in scores)
    one = Measured(seed, folder, facts, similarities, float(drift["adherence"]))
    likeness = facts["likeness"]
    print(
        f"{arm.name} {seed}: {likeness['adapter_mean']:.3f}, share {likeness['share_of_ceiling']:.3f}, "
        f"verified {likeness['verified_rate']:.2f}, copies {likeness['copy_score']:.3f}, "
        f"train {facts['seconds']['train']:.0f} s",
        flush=True,
    )
    return one


def arm_rows(arm: Arm, people: Sequence[Measured]) -> list[Row]:
    """What one arm reaches."""
    likeness = [p.summary["likeness"] for p in people]
    n = len(people)

    def row(what: str, key: str, unit: str = "share") -> Row:
        values = [float(one[key]) for one in likeness]
        spread = clustered_interval(values, list(range(n))).ci95 if n > 1 else None
        return Row(f"{arm.name}: {what}", float(np.mean(values)), unit, n, ci95=spread)

    shares = [float(one["share_of_ceiling"]) for one in likeness]
    return [
        row("similarity by B", "adapter_mean", "cosine"),
        row("share of ceiling", "share_of_ceiling"),
        Row(f"{arm.name}: lowest share of ceiling", min(shares), "share", n),
        row("verified", "verified_rate"),
        row("face found", "face_found_rate"),
        row("copies", "copy_score"),
        Row(f"{arm.name}: obeyed", float(np.mean([p.obeyed for p in people])), "share", n),
    ]


def difference(arm: Arm, people: Sequence[Measured], first: Sequence[Measured]) -> Row:
    """Mean difference of the similarities of the same portraits, interval over people."""
    values, clusters = list[float](), list[int]()
    for mine, other in zip(people, first, strict=True):
        pairs = list(zip(mine.similarities, other.similarities, strict=True))
        values += [a - b for a, b in pairs]
        clusters += [mine.seed] * len(pairs)
    spread = clustered_interval(values, clusters)
    return Row(
        f"{arm.name}: similarity beside the first", spread.mean, "cosine", len(values), ci95=spread.ci95
    )


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--people", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--arm", action="append", default=[], help="name:key=value,key=value")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("work/methods"))
    parser.add_argument("--classifiers", type=Path, default=WORK / FILE)
    args = parser.parse_args()
    seeds = range(args.first_seed, args.first_seed + args.people)
    work = args.work / manifest.digest([resolve_base("embedded").digest, resolve_pack().digest])[:8]
    reader = load(args.classifiers) if args.classifiers.is_file() else None
    table, first = Table(args.json), list[Measured]()
    with ThreadPoolExecutor(args.workers) as pool:
        for arm in map(Arm.of, args.arm or ["today:"]):
            people = list(pool.map(lambda seed, arm=arm: measured(arm, seed, work), seeds))
            table.add(arm_rows(arm, people))
            table.add([difference(arm, people, first)] if first else [])
            if reader is not None:
                table.add(adapter_rows([p.folder for p in people], reader))
            first = first or people
    sys.exit(table.code())


if __name__ == "__main__":
    main()
