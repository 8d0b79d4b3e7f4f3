"""Take a set of unseen people through the whole journey once; every evaluation reads the results.

python -m scripts.evaluate.cohort --people 20

A person is one `portrait-lora demo` in a process of its own.  Results are keyed by base, pack and recipe, so
they are reused until one of those changes, and an interrupted cohort goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portrait_lora import config, manifest
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.families.catalog import resolve_base
from portrait_lora.generation.series import series_path

FIRST_SEED = 2000
"""People of the cohort: apart from training (1,000,000 on), calibration and the default demo."""


@dataclass(frozen=True, slots=True)
class Member:
    """One person's finished journey."""

    seed: int
    folder: Path
    summary: dict[str, Any]


def cohort_folder(work: Path, overrides: Sequence[str] = ()) -> Path:
    """The folder of all members trained with today's base, pack and recipe."""
    resolved = config.load(None, overrides)
    key = manifest.digest(
        {
            "base": resolve_base(resolved.base).digest,
            "pack": resolve_pack(resolved.face_pack).digest,
            "config": resolved.model_dump(mode="json"),
            "noise": "each person's own",
        }
    )
    return work / "cohort" / key[:12]


def own_series(seed: int, work: Path, name: str = "headshots") -> Path:
    """A packaged series with the person's seed in place of its own.

    With one seed for all, sixteen noises stood for all noise, and what they do badly looked like a fault of
    the adapters: no number of people takes that out.
    """
    text = series_path(name).read_text(encoding="utf-8")
    own, count = re.subn(r"(?m)^seed: .*$", f"seed: {seed}", text)
    assert count == 1, name
    path = manifest.make_folder(work / "series" / str(seed)) / f"{name}.yaml"
    manifest.write_text_atomic(path, own)
    return path.resolve()


def train_member(seed: int, folder: Path, overrides: Sequence[str], threads: int | None) -> Member:
    """Run or reuse one person.  Raises `RuntimeError` with the program's message when it fails."""
    summary = folder / "reports" / "run.json"
    if not summary.is_file():
        command = [sys.executable, "-m", "portrait_lora.cli", "--quiet", "demo", "--out", str(folder)]
        every = [f"generate.series={own_series(seed, folder.parent)}", *overrides]
        command += ["--person-seed", str(seed), *(part for o in every for part in ("-s", o))]
        threaded = {"OMP_NUM_THREADS": str(threads)} if threads else {}
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | threaded)
        if done.returncode:
            raise RuntimeError(f"person {seed}: {done.stderr.strip()}")
    return Member(seed, folder, json.loads(summary.read_text(encoding="utf-8")))


def train_cohort(
    people: int,
    *,
    first_seed: int = FIRST_SEED,
    work: Path = Path("work"),
    overrides: Sequence[str] = (),
    workers: int = 1,
) -> list[Member]:
    """`people` members with consecutive seeds.  With several workers each uses one thread."""
    folder = cohort_folder(work, overrides)
    seeds = range(first_seed, first_seed + people)
    members: list[Member] = []
    with ThreadPoolExecutor(workers) as pool:
        threads = 1 if workers > 1 else None
        jobs = [pool.submit(train_member, s, folder / f"person-{s}", overrides, threads) for s in seeds]
        for job in jobs:
            member = job.result()
            members.append(member)
            likeness = member.summary["likeness"]
            print(
                f"person {member.seed}: similarity {likeness['adapter_mean']:.3f} "
                f"(base {likeness['base_mean']:.3f}, ceiling {likeness['ceiling']:.3f}), "
                f"share {likeness['share_of_ceiling']:.2f}, "
                f"{member.summary['seconds']['total']:.0f} s",
                flush=True,
            )
    return members


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="another cohort: people 100 seeds further on")
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("-s", "--set", action="append", default=[], dest="overrides")
    args = parser.parse_args()
    train_cohort(
        args.people,
        first_seed=FIRST_SEED + 100 * args.seed,
        work=args.work,
        overrides=args.overrides,
        workers=args.workers,
    )


if __name__ == "__main__":
    main()
