"""A training as a job whose runner is killed in the middle ends in the bytes of the command line."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from portrait_lora import manifest
from portrait_lora.jobs.queue import Queue
from portrait_lora.jobs.runner import Runner
from tests.conftest import REDUCED, Journey
from tests.jobs.test_runner import PATIENCE_S, ROOT, until

SERVE = "from portrait_lora.jobs import queue, runner; runner.Runner(queue.Queue({!r})).run_forever()"


@pytest.mark.journey
def test_the_adapter_of_a_job_that_was_killed_is_that_of_the_command(
    journey: Journey, queue: Queue, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(journey.folder, tmp_path / "me"))
    settings = [*REDUCED, "run=again"]
    job = queue.submit("train", folder, {"settings": settings})
    server = subprocess.Popen([sys.executable, "-c", SERVE.format(str(queue.home))], cwd=ROOT)
    until(lambda: _steps(queue, job.id) > 2)
    server.kill()
    server.wait()
    until(lambda: queue.get(job.id).state == "interrupted")
    saved = queue.get(job.id).error or {}
    assert "steps saved" in str(saved["got"]) and not str(saved["got"]).startswith("0 ")
    runner = Runner(queue)
    runner.start()
    try:
        until(lambda: "select" in _stages(queue, job.id))
        queue.cancel(job.id)
        done = queue.wait(job.id, PATIENCE_S)
    finally:
        assert runner.stop(PATIENCE_S)
    assert (done.state, done.exit_code, done.attempts, done.crashes) == ("cancelled", 130, 2, 0)
    steps = journey.summary["training"]["steps"]
    for name in ("adapter.safetensors", "optimizer.safetensors", "state.json"):
        digests = {
            manifest.sha256_file(folder / "adapters" / run / f"checkpoints/step-{steps:06d}" / name)
            for run in ("main", "again")
        }
        assert len(digests) == 1, name
    assert _stages(queue, job.id)[-4:] == ["check", "prepare", "train", "select"]
    saves = [e.data for e in queue.events(job.id, limit=10_000) if e.kind == "metric"]
    assert {"name": "checkpoint", "step": steps} in saves


def _stages(queue: Queue, job_id: str) -> list[object]:
    happened = queue.events(job_id, limit=10_000)
    return [e.data["stage"] for e in happened if e.kind == "progress" and "stage" in e.data]


def _steps(queue: Queue, job_id: str) -> float:
    progress = queue.get(job_id).progress or {}
    done = progress.get("done")
    return float(done) if progress.get("label") == "train" and isinstance(done, int | float) else 0.0
