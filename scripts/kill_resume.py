"""Training killed with `kill -9` at random moments, saving included, must end in the very same bytes.

python -m scripts.kill_resume --kills 20
python -m scripts.kill_resume --full          200 kills, the figure of record

Every child is forked from a process that has the libraries loaded, trains on the embedded base, saves every
second step and dies after a random time; the next one goes on.  A run that reaches its end is compared with
one that nobody disturbed, and a new run begins.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from portrait_lora import manifest
from portrait_lora.families import open_family
from portrait_lora.families.catalog import resolve_base
from portrait_lora.records import CaptionedCrop
from portrait_lora.training import cache
from portrait_lora.training.loop import train
from scripts.rows import Row, arguments, finish

STEPS = 12
SAVE_EVERY = 2
SIDE_PX = 128


def make_crops(folder: Path, count: int, seed: int) -> list[CaptionedCrop]:
    """Smooth random pictures: what is on them does not matter here."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    crops: list[CaptionedCrop] = []
    for i in range(count):
        small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        path = folder / f"crop{i}.png"
        small.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC).save(path)
        box, size = (0, 0, SIDE_PX, SIDE_PX), (SIDE_PX, SIDE_PX)
        crops.append(
            CaptionedCrop(path, path.name, f"{i:064d}", box, size, "frontal headshot of ohwx woman", "ohwx")
        )
    return crops


def in_child(work: Callable[[], object], kill_after_s: float | None = None) -> bool:
    """Run `work` in a forked process, killed after a while; whether it got to its end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    if kill_after_s is not None:
        deadline = time.monotonic() + kill_after_s
        while time.monotonic() < deadline:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return _ended(status)
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
    return _ended(os.waitpid(child, 0)[1])


def _ended(status: int) -> bool:
    if os.WIFSIGNALED(status):
        return False
    if os.WEXITSTATUS(status):
        raise RuntimeError("a run failed instead of going on")
    return True


def _digest(run: Path) -> str:
    return manifest.sha256_file(run / "checkpoints" / f"step-{STEPS:06d}" / "adapter.safetensors")


def _kill_and_resume(work: Path, kills: int, seed: int) -> list[Row]:
    crops = make_crops(work / "crops", 4, seed)
    family = open_family(resolve_base("embedded"))
    cache.encode(family, crops, work / "cache")

    def run_into(folder: Path) -> None:
        train(
            family, crops, folder, rank=4, alpha=4.0, target_modules="attention", learning_rate=1e-3,
            batch_size=1, steps=STEPS, checkpoint_steps=range(SAVE_EVERY, STEPS, SAVE_EVERY), seed=seed,
            cache_dir=work / "cache",
        )  # fmt: skip

    started = time.monotonic()
    in_child(lambda: run_into(work / "undisturbed"))
    whole_s = time.monotonic() - started
    expected = _digest(work / "undisturbed")
    rng = random.Random(seed)
    killed = mid_save = same = ends = run = 0
    while killed < kills or ends == run:
        folder = work / f"run{run}"
        after_s = rng.uniform(0.05, whole_s) if killed < kills else None
        if in_child(lambda folder=folder: run_into(folder), after_s):
            ends, run = ends + 1, run + 1
            same += _digest(folder) == expected
            if killed >= kills:
                break
        else:
            killed += 1
            mid_save += any((folder / "checkpoints").glob(".writing-*"))
    return [
        Row("runs that end in the same sha256", same / ends, "share", ends, target=1.0),
        Row("kills", killed, "", killed, target=kills),
        Row("kills in the middle of a save", mid_save / max(killed, 1), "share", killed),
    ]


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--kills", type=int, default=None, help="20, or 200 with --full")
    given = parser.parse_args()
    kills = given.kills if given.kills is not None else 200 if given.full else 20
    logging.getLogger("portrait_lora").setLevel(logging.ERROR)
    torch.set_num_threads(1)  # threads do not survive a fork
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(finish(_kill_and_resume(Path(folder), kills, given.seed), given.json))


if __name__ == "__main__":
    main()
