"""The script that kills runners: what is lost or done twice does not escape it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from portrait_lora.jobs.job import Job, JobState
from portrait_lora.jobs.kinds import KINDS
from portrait_lora.jobs.queue import Queue
from scripts.bench import jobs_kill
from scripts.bench.jobs_kill import Count, Trial


@pytest.fixture(autouse=True)
def _known_kind() -> Iterator[None]:
    KINDS["count"] = jobs_kill.Kind("count", "count", Count, jobs_kill.work, "folder")
    yield
    KINDS.pop("count", None)


def test_lost_and_doubled_jobs_are_seen(tmp_path: Path) -> None:
    queue, folder = Queue(tmp_path / "home"), tmp_path / "person"
    folder.mkdir()
    queue.submit("count", folder, {"steps": 2, "step_s": 0.0})
    job = queue.claim("d0")
    assert job is not None
    done = replace(job, state=JobState.SUCCEEDED)
    assert "was not done" in jobs_kill._lost(replace(done, arguments={"steps": 3}), _worked(folder), Trial())
    assert jobs_kill._lost(done, folder, Trial()) == "" == jobs_kill._doubled(done, folder, queue)
    assert jobs_kill.work(folder, Count(steps=2, step_s=0.0)) == {"begun": 2}  # again: signs only once
    assert jobs_kill._doubled(done, folder, queue) == ""
    assert jobs_kill._lost(None, folder, Trial()) == "gone from the queue"
    for state in (JobState.INTERRUPTED, JobState.FAILED, JobState.CANCELLED):
        assert f"ended as {state}" in jobs_kill._lost(replace(job, state=state), folder, Trial())
    cancelled = replace(job, state=JobState.CANCELLED)
    assert jobs_kill._lost(cancelled, folder, Trial(cancelled={job.id})) == ""
    _twice(folder, done, queue)


def _worked(folder: Path) -> Path:
    assert jobs_kill.work(folder, Count(steps=2, step_s=0.0)) == {"begun": 0}
    return folder


def _twice(folder: Path, done: Job, queue: Queue) -> None:
    (folder / "steps").write_text("1\n3\n")
    assert jobs_kill._doubled(done, folder, queue) == "a step was left out"
    (folder / "done").write_text("done\ndone\n")
    assert jobs_kill._doubled(done, folder, queue) == "signed twice"
    with open(folder / "lock", "a") as held:
        jobs_kill.fcntl.flock(held, jobs_kill.fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            jobs_kill.work(folder, Count(steps=2, step_s=0.0))
    assert jobs_kill._doubled(done, folder, queue) == "two processes at once"
