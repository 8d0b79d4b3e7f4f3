"""A roster of made-up people for the measurements of the fleet, and one of them trained alone."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from portrait_lora import manifest, recipe
from portrait_lora.synthetic import photos

SETTINGS: Final = (
    "training.exposures_per_photo=10",
    "training.identity_weight=0",
    "training.checkpoints=3",
    "select.probes=2",
    "generate.per_shot=1",
    "generate.num_inference_steps=8",
)
"""A journey of about a minute of processor time."""
QUICK: Final = (
    "training.exposures_per_photo=6",
    "training.identity_weight=0",
    "training.checkpoints=3",
    "select.probes=1",
    "generate.per_shot=1",
    "generate.num_inference_steps=4",
)
SHORTEST: Final = (
    "training.exposures_per_photo=2",
    "training.identity_weight=0",
    "training.checkpoints=3",
    "select.probes=1",
    "generate.per_shot=1",
    "generate.num_inference_steps=4",
)
"""A journey of one shot and nine photos: what takes time is the work of a fleet, not the network."""
_ONE_SHOT: Final = """\
series: one
seed: 7
aspect: "1:1"
shots:
  - {name: classic, view: frontal, shot: headshot, expression: neutral, wardrobe: blue shirt}
"""
_FEW: Final = 9
CLI: Final = (sys.executable, "-m", "portrait_lora.cli")


@dataclass(frozen=True)
class Spent:
    """Seconds by the clock, and of the processor in the process and its children."""

    wall_s: float
    cpu_s: float


def roster(folder: Path, people: int, settings: tuple[str, ...] = SETTINGS) -> Path:
    """A roster of so many people of the studio, whose photos are taken unless they are there.

    Everybody is accepted: what is measured is the fleet, not the likeness of shortened trainings.
    """
    for number in range(people):
        place = folder / "source" / f"p{number:03d}"
        if (place / "photos").is_dir():
            continue
        if settings == SHORTEST:
            photos.make_reference_set(100 + number, place / "taking", good=_FEW, bad=())
            (place / "taking").rename(place / "photos")
        else:
            place.mkdir(parents=True, exist_ok=True)
            recipe.open_demo(place, 100 + number)
    lines = ["acceptance: {share_of_ceiling: null, verified_rate: null, copy_score: null}", "settings:"]
    lines += [f"  {key}: {value}" for key, value in (pair.split("=") for pair in settings)]
    if settings == SHORTEST:
        (folder / "one.yaml").write_text(_ONE_SHOT, encoding="utf-8")
        lines += ["series: one.yaml"]
    lines += ["people:"]
    lines += [f"  - {{name: p{n:03d}, photos: source/p{n:03d}/photos}}" for n in range(people)]
    path = folder / f"people-{people}.yaml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def alone(
    likeness: Path, place: Path, threads: int = 1, *, settings: Sequence[str] = ()
) -> tuple[str, Spent]:
    """A copy of an enrolled person trained by `portrait-lora run`: sha256 of the adapter, and what it took.

    One that was measured already is not trained again.
    """
    record, adapter = place / "spent.json", place / "adapters" / "main" / "adapter.safetensors"
    if record.is_file():
        wall, cpu = map(float, record.read_text().split())
        return manifest.sha256_file(adapter), Spent(wall, cpu)
    shutil.rmtree(place, ignore_errors=True)
    for name in ("photos", "likeness.yaml"):
        source = likeness / name
        place.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, place / name) if source.is_dir() else shutil.copy(source, place / name)
    more = [word for setting in settings for word in ("-s", setting)]
    spent = timed([*CLI, "run", str(place), "--json", *more], threads)
    record.write_text(f"{spent.wall_s} {spent.cpu_s}")
    return manifest.sha256_file(adapter), spent


def timed(command: list[str], threads: int = 1, *, codes: tuple[int, ...] = (0,)) -> Spent:
    """Run a command; `RuntimeError` when it fails.  Threads of the processor are limited."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, env=environment(threads), capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in codes:
        raise RuntimeError(f"{' '.join(command)}: {done.returncode}\n{done.stderr[-3000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(time.monotonic() - began, cpu)


def environment(threads: int) -> dict[str, str]:
    """That of a process with so many threads of the processor."""
    return os.environ | {"OMP_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": ""}
