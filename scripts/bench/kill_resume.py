"""Training killed with `kill -9` at random moments, saving included, must end in the very same bytes.

python -m scripts.bench.kill_resume --kills 20
python -m scripts.bench.kill_resume --full                      200 kills, the figure of record
python -m scripts.bench.kill_resume --full --work DIR --minutes 5    in parts: the same command again goes on

Every child is forked from a process that has the libraries loaded, trains on the embedded base, saves every
second step and dies after a random time, or (every other one) while a checkpoint is being written; the next
one goes on.  A run that reaches its end is compared with one that nobody disturbed, weights, optimizer, state
and metrics, and a new run begins.
"""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from portrait_lora import manifest
from portrait_lora.config import TrainingConfig
from portrait_lora.families import open_family
from portrait_lora.families.catalog import resolve_base
from portrait_lora.records import CaptionedCrop
from portrait_lora.stages.configured import recipe_of
from portrait_lora.training import cache
from portrait_lora.training.run import train
from scripts.rows import Row, arguments, finish

STEPS = 12
SAVE_EVERY = 2
SIDE_PX = 64
SAVE_S = 0.03
"""A checkpoint takes about so long to write."""


@dataclass
class Tally:
    """How far it has come."""

    seed: int
    kills: int = 0
    mid_save: int = 0
    ends: int = 0
    same: int = 0


def make_crops(folder: Path, count: int, seed: int, side_px: int = SIDE_PX) -> list[CaptionedCrop]:
    """Smooth random pictures: what is on them does not matter here."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    crops: list[CaptionedCrop] = []
    for i in range(count):
        small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        path = folder / f"crop{i}.png"
        small.resize((side_px, side_px), Image.Resampling.BICUBIC).save(path)
        box, size = (0, 0, side_px, side_px), (side_px, side_px)
        crops.append(
            CaptionedCrop(path, path.name, f"{i:064d}", box, size, "frontal headshot of ohwx woman", "ohwx")
        )
    return crops


def in_child(
    work: Callable[[], object], kill_after_s: float | None = None, since: Callable[[], bool] | None = None
) -> bool:
    """Run `work` in a forked process, killed after a while; whether it got to its end.

    With `since` the while begins once that is true.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    deadline = None if since or kill_after_s is None else time.monotonic() + kill_after_s
    while kill_after_s is not None and (deadline is None or time.monotonic() < deadline):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return _ended(status)
        if deadline is None and since is not None and since():
            deadline = time.monotonic() + kill_after_s
        time.sleep(0.002)
    if kill_after_s is not None:
        os.kill(child, signal.SIGKILL)
    return _ended(os.waitpid(child, 0)[1])


def _ended(status: int) -> bool:
    if os.WIFSIGNALED(status):
        return False
    if os.WEXITSTATUS(status):
        raise RuntimeError("a run failed instead of going on")
    return True


def saving(run: Path) -> bool:
    """Whether a checkpoint is being written, or was when the run was killed."""
    return any((run / "checkpoints").glob(".writing-*"))


def _digest(run: Path) -> str:
    """Of all that the last checkpoint holds, and of the metrics."""
    last = run / "checkpoints" / f"step-{STEPS:06d}"
    return manifest.digest([manifest.digest_folder(last), manifest.sha256_file(run / "metrics.jsonl")])


def _kill_and_resume(work: Path, tally: Tally, kills: int, device: str, minutes: float) -> None:
    """Go on until `kills` are done and the last run has ended, or the time is up."""
    crops = make_crops(work / "crops", 4, tally.seed)
    family = open_family(resolve_base("embedded"), device)
    settings = TrainingConfig(rank=4, alpha=4.0, learning_rate=1e-3, batch_size=1)

    def run_into(folder: Path) -> None:
        train(
            family,
            crops,
            folder,
            recipe_of(settings, steps=STEPS, seed=tally.seed, mixed_precision="no"),
            checkpoint_steps=range(SAVE_EVERY, STEPS, SAVE_EVERY),
            cache_dir=work / "cache",
        )

    undisturbed, until = work / "undisturbed", time.monotonic() + 60 * minutes
    in_child(lambda: cache.encode(family, crops, work / "cache"))  # a GPU cannot be shared over a fork
    shutil.rmtree(undisturbed, ignore_errors=True)
    started = time.monotonic()
    in_child(lambda: run_into(undisturbed))
    whole_s = time.monotonic() - started
    expected = _digest(undisturbed)
    while (tally.kills < kills or tally.ends == 0 or _begun(work, tally)) and time.monotonic() < until:
        folder = work / f"run{tally.ends}"
        rng = random.Random(f"{tally.seed} {tally.kills} {tally.ends}")
        if tally.kills >= kills:
            ended = in_child(lambda folder=folder: run_into(folder))
        elif tally.kills % 2:
            ended = in_child(
                lambda folder=folder: run_into(folder),
                rng.uniform(0.0, SAVE_S),
                lambda folder=folder: saving(folder),
            )
        else:
            after_s = rng.uniform(0.05, whole_s)
            ended = in_child(lambda folder=folder: run_into(folder), after_s)
        if ended:
            tally.same += _digest(folder) == expected
            tally.ends += 1
            shutil.rmtree(folder)
        else:
            tally.kills += 1
            tally.mid_save += saving(folder)
        manifest.write_json_atomic(work / "tally.json", asdict(tally))


def _begun(work: Path, tally: Tally) -> bool:
    """Whether a run that was killed waits for its end."""
    return (work / f"run{tally.ends}").exists()


def rows(tally: Tally, kills: int) -> list[Row]:
    """The figures; the goals are met once all kills are done and every run has ended alike."""
    return [
        Row("runs that end in the same sha256", tally.same / max(tally.ends, 1), "share", tally.ends, 1.0),
        Row("kills", tally.kills, "", tally.kills, target=kills),
        Row("kills in the middle of a save", tally.mid_save, "", tally.kills, target=kills // 20),
    ]


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--kills", type=int, default=None, help="20, or 200 with --full")
    parser.add_argument("--work", type=Path, default=None, help="keep the state here, and go on from it")
    parser.add_argument("--minutes", type=float, default=1e6, help="stop after so long")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    args = parser.parse_args()
    kills = args.kills if args.kills is not None else 200 if args.full else 20
    logging.getLogger("portrait_lora").setLevel(logging.ERROR)
    torch.set_num_threads(1)  # threads do not survive a fork
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        tally_file = work / "tally.json"
        tally = Tally(args.seed)
        if tally_file.is_file():
            tally = Tally(**json.loads(tally_file.read_text(encoding="utf-8")))
            if tally.seed != args.seed:
                sys.exit(f"{work}: begun with --seed {tally.seed}")
        _kill_and_resume(work, tally, kills, args.device, args.minutes)
        sys.exit(finish(rows(tally, kills), args.json))


if __name__ == "__main__":
    main()
