"""A fleet for tests without a model: the recipe counts steps, saves every fifth, and ends as a file says.

As a program it is the child process of a runner, in which that recipe takes the place of the real one.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from portrait_lora import config, likeness, log, manifest, recipe
from portrait_lora.errors import InputError, Interrupted, PhotosError, PortraitError
from portrait_lora.fleet.home import FleetHome, open_home
from portrait_lora.results import LikenessFigures, PhotoCounts, RunResult, StageSeconds, TrainingFigures
from portrait_lora.tasks.shard import plan

STEPS: Final = 20
EVERY: Final = 5
CHILD: Final = (sys.executable, "-P", "-m", "tests.fleet.made_up")


def make_home(
    path: Path, people: Sequence[str], behaviour: Mapping[str, Any] | None = None, **of_plan: Any
) -> FleetHome:
    """A home with these people; `behaviour` of each: `steps`, `step_s`, `share`, `ends` (by start)."""
    for person in people:
        photos = path / "people" / person / "photos"
        photos.mkdir(parents=True)
        (photos / "a.txt").write_text(person)
        (photos.parent / "behaviour.json").write_text(json.dumps((behaviour or {}).get(person, {})))
    usual = {"roster": "people.csv", "roster_sha256": "", "people": dict.fromkeys(people, ()), "threads": 1}
    plan.write(path, plan.FleetPlan(**(usual | of_plan)))
    return open_home(path)


def adapter_of(folder: Path, overrides: Sequence[str] = (), steps: int = STEPS) -> bytes:
    """The bytes that training ends in: of photos, seed and steps, however often it was interrupted."""
    seed = config.load(None, overrides).seed
    photos = [path.read_bytes() for path in sorted((folder / "photos").iterdir())]
    state = hashlib.sha256(repr((photos, seed)).encode()).hexdigest()
    for step in range(steps):
        state = hashlib.sha256(f"{state}{step}".encode()).hexdigest()
    return state.encode()


def run_together(
    folders: Sequence[Path],
    *,
    overrides: Sequence[str] = (),
    own: Mapping[Path, Sequence[str]] | None = None,
    on_stage: recipe.OnStage | None = None,
) -> list[RunResult | PortraitError]:
    """In place of `recipe.run_together`."""
    ended: list[RunResult | PortraitError] = []
    for folder in folders:
        try:
            ended.append(_run(folder, (own or {}).get(folder, ()), on_stage or (lambda folder, stage: None)))
        except Interrupted:
            raise
        except PortraitError as error:
            ended.append(error)
    return ended


def _run(folder: Path, settings: Sequence[str], on_stage: Callable[[Path, str], None]) -> RunResult:
    file = folder / "behaviour.json"
    wanted: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    steps = int(wanted.get("steps", STEPS))
    with (folder / "starts").open("a") as stream:
        stream.write("x")
    number = len((folder / "starts").read_text())
    for stage in likeness.STAGES:
        log.event("progress", stage=stage)
        if stage == wanted.get("stage", "train"):
            _end(str(wanted.get("ends", {}).get(str(number), "")), folder)
        if stage == "train":
            _train(folder, settings, steps, float(wanted.get("step_s", 0.0)))
        on_stage(folder, stage)
    return _result(steps, float(wanted.get("share", 0.9)), float(wanted.get("verified", 1.0)))


def _end(how: str, folder: Path) -> None:
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "badly":
        raise InputError("a bad end", where=folder)
    if how == "oddly":
        raise RuntimeError("nobody expected this")
    if how == "photos":
        raise PhotosError("too few photos", where=folder, got=3, needed=5)
    if how == "full":
        raise PortraitError("the disk is full", where=folder) from OSError(28, "No space left on device")
    if how == "stopped":
        raise Interrupted("training stopped")


def _train(folder: Path, settings: Sequence[str], steps: int, step_s: float) -> None:
    seed = config.load(None, settings).seed
    saved = folder / "adapters" / "main" / "checkpoints"
    begun = max((int(p.name[5:]) for p in saved.glob("step-*")), default=0)
    if (file := saved.parent / "seed").exists() and file.read_text() != str(seed):
        begun = 0
        for path in saved.glob("step-*"):
            (path / "manifest.json").unlink()
            path.rmdir()
    saved.mkdir(parents=True, exist_ok=True)
    manifest.write_text_atomic(file, str(seed))  # it may be killed at any moment
    with log.progress("train", steps) as advance:
        advance(begun)
        for step in range(begun + 1, steps + 1):
            time.sleep(step_s)
            if step % EVERY == 0:
                (saved / f"step-{step:06d}").mkdir()
                (saved / f"step-{step:06d}" / "manifest.json").touch()
            with (folder / "steps").open("a") as stream:
                stream.write(f"{step}\n")
            advance(1, loss=1 / step)
    manifest.write_bytes_atomic(saved.parent / "adapter.safetensors", adapter_of(folder, settings, steps))


def _result(steps: int, share: float, verified: float) -> RunResult:
    figures = LikenessFigures(
        embedder="b", adapter_mean=0.7, ci95=(0.6, 0.8), ceiling=0.8, share_of_ceiling=share,
        face_found_rate=1.0, verified_rate=verified, threshold=0.6, copy_score=0.0,
    )  # fmt: skip
    seconds = StageSeconds(**dict.fromkeys(likeness.STAGES, 0.5), total=3.0)
    return RunResult(
        seconds=seconds,
        skipped=(),
        photos=PhotoCounts(given=1, accepted=1, rejected=(), held_out=0),
        training=TrainingFigures(base="b", steps=steps, samples=steps, final_loss=0.1, selected_step=steps),
        likeness=figures,
        portraits=8,
        device="cpu",
        peak_memory_mb=1,
        versions={},
    )


if __name__ == "__main__":
    from portrait_lora.jobs import child

    recipe.run_together = run_together
    child.main(sys.argv[1:])
