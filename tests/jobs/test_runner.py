"""Jobs in child processes: every way in which one ends, and a runner that is killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from portrait_lora.errors import InputError
from portrait_lora.jobs import slots
from portrait_lora.jobs.job import Job
from portrait_lora.jobs.queue import Queue
from portrait_lora.jobs.runner import Runner

ROOT = Path(__file__).parents[2]
CHILD = (sys.executable, "-m", "tests.jobs.trivial")
ENDLESS = {"steps": 100_000, "step_s": 0.02}
PATIENCE_S = 120.0


@contextmanager
def running(queue: Queue, *devices: str) -> Iterator[Runner]:
    runner = Runner(queue, devices or ("cpu",), command=CHILD)
    runner.start()
    try:
        yield runner
    finally:
        assert runner.stop(PATIENCE_S)


def until(what: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def counts(folder: Path) -> int:
    file = folder / "step"
    return int(file.read_text() or 0) if file.exists() else 0


def over(queue: Queue, job: Job) -> Job:
    return queue.wait(job.id, PATIENCE_S)


@pytest.fixture
def ignored_interrupts() -> Iterator[None]:
    """As in the background of a shell without job control."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


def test_every_end_of_a_job(queue: Queue, tmp_path: Path) -> None:
    ends = ("well", "badly", "oddly", "killed", "silent")
    places = {end: tmp_path / end for end in (*ends, "moved")}
    for place in places.values():
        place.mkdir()
    first = queue.submit("trivial", tmp_path, {"steps": 2})
    assert queue.claim("cuda:7") == queue.get(first.id)  # its runner and its process were killed together
    jobs = {end: queue.submit("trivial", places[end], {"ends": end}) for end in ends}
    jobs["moved"] = queue.submit("trivial", places["moved"])
    places["moved"].rename(tmp_path / "elsewhere")
    with running(queue, "cpu", "cuda:3"):
        done = {end: over(queue, job) for end, job in jobs.items()}
        lost = over(queue, first)
    assert (lost.state, lost.attempts, lost.crashes) == ("succeeded", 2, 1)
    well = done["well"]
    assert (well.state, well.exit_code, well.result) == ("succeeded", 0, {"steps": 3, "begun": 0})
    assert well.attempts == 1 and well.pid is None and well.ran_on in ("cpu", "cuda:3")
    progress = dict(well.progress or {})
    assert (progress["label"], progress["done"], progress["total"]) == ("trivial", 3, 3)
    assert progress["loss"] == pytest.approx(1 / 3)
    happened = queue.events(well.id)
    assert [e.data["state"] for e in happened if e.kind == "state"] == ["queued", "running", "succeeded"]
    assert [e.data["text"] for e in happened if e.kind == "log"] == ["counted to 3"]
    assert happened[-1].kind == "result" and happened[-1].data["result"] == well.result
    errors = {end: dict(job.error or {}) for end, job in done.items() if end != "well"}
    assert {job.state for end, job in done.items() if end != "well"} == {"failed"}
    assert errors["badly"]["what"] == "a bad end" and errors["badly"]["remedy"] == "Try another."
    assert done["badly"].exit_code == 2 and done["oddly"].exit_code == 1
    assert "RuntimeError: nobody expected this" in str(errors["oddly"]["what"])
    assert any("Traceback" in str(e.data.get("text")) for e in queue.events(jobs["oddly"].id))
    assert "want of memory" in str(errors["killed"]["what"]) and done["killed"].exit_code == 137
    assert "exit code 7; last words" in str(errors["silent"]["got"])
    assert "moved, removed or forgotten" in str(errors["moved"]["what"]) and done["moved"].exit_code == 2


def test_a_device_is_taken_over_once_the_child_of_a_dead_runner_lets_go_of_it(
    queue: Queue, tmp_path: Path
) -> None:
    places = [tmp_path / name for name in ("left", "other")]
    for place in places:
        place.mkdir()
    left = queue.submit("trivial", places[0], {"steps": 1})
    assert queue.claim("cuda:7") == queue.get(left.id)
    saving = slots.take(queue.home, "cuda:7")
    assert saving is not None
    other = queue.submit("trivial", places[1], {"steps": 1})
    with running(queue):
        assert over(queue, other).state == "succeeded"
        assert queue.get(left.id).attempts == 1, "its process may still write"
        saving.release()
        assert (over(queue, left).state, queue.get(left.id).attempts) == ("succeeded", 2)


def test_cancelled_within_a_step_and_resumed_where_it_was(
    queue: Queue, folder: Path, ignored_interrupts: None
) -> None:
    job = queue.submit("trivial", folder, ENDLESS)
    waiting = queue.submit("trivial", folder, {"steps": 0})
    beside = queue.submit("aside", folder.parent, {"steps": 1})
    with running(queue):
        until(lambda: counts(folder) > 2 and over(queue, beside).state == "succeeded")
        assert queue.get(waiting.id).state == "queued"
        queue.cancel(job.id)
        stopped = over(queue, job)
        assert (stopped.state, stopped.exit_code) == ("cancelled", 130)
        assert over(queue, waiting).state == "succeeded"
        reached = counts(folder)
        assert queue.resume(job.id).state == "queued"
        until(lambda: counts(folder) > reached)
    stopped = queue.get(job.id)  # the runner stopped: nobody asked for this job to be cancelled
    assert stopped.state == "interrupted" and counts(folder) > reached
    (folder / "step").write_text("99999")
    with running(queue):
        done = over(queue, job)
    assert done.state == "succeeded" and done.result == {"steps": 100_000, "begun": 99_999}
    assert done.attempts == 3 and done.crashes == 0


def test_a_killed_runner_and_the_next_one(queue: Queue, folder: Path) -> None:
    job = queue.submit("trivial", folder, ENDLESS)
    code = f"from tests.jobs.test_runner import serve; serve({str(queue.home)!r})"
    first = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    until(lambda: counts(folder) > 2)
    refused = Runner(queue, ("cuda:9", "cpu"), command=CHILD)
    with pytest.raises(InputError, match="another runner"):
        refused.start()
    free = slots.take(queue.home, "cuda:9", "runner")  # let go of, though it came first
    assert free is not None
    free.release()
    child = queue.get(job.id).pid
    first.kill()
    first.wait()
    with running(queue):  # at once: the child may still be stopping
        until(lambda: queue.get(job.id).attempts == 2)
        assert child is not None and not Path(f"/proc/{child}/exe").exists()
        reached = counts(folder)
        until(lambda: counts(folder) > reached)
        queue.cancel(job.id)
        assert over(queue, job).state == "cancelled"
    reasons = [e.data.get("reason") for e in queue.events(job.id) if e.kind == "state"]
    assert "goes on after an interruption" in reasons and queue.get(job.id).crashes == 0


def serve(home: str) -> None:
    """A runner in a process of its own."""
    Runner(Queue(home), ("cpu",), command=CHILD).run_forever()


def test_a_full_disk_holds_the_jobs_up_and_loses_none(
    queue: Queue, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queue.submit("trivial", folder, {"ends": "silent", "steps": 0})
    monkeypatch.setattr("portrait_lora.jobs.runner._PAUSE_S", 0.05)
    with queue.store.reading() as db:
        db.execute("PRAGMA max_page_count=1")
        db.execute("PRAGMA query_only=ON")
    with running(queue) as runner:
        until(lambda: "cannot be written" in runner.problem)
        assert queue.get(job.id).state == "queued"
        with queue.store.reading() as db:
            db.execute("PRAGMA query_only=OFF")
            db.execute("PRAGMA max_page_count=100000")
        assert over(queue, job).state == "failed"
        until(lambda: not runner.problem)


def test_a_child_sees_its_device_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def visible(device: str) -> str | None:
        shown = slots.environment(device)
        return None if shown is None else shown["CUDA_VISIBLE_DEVICES"]

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [visible(d) for d in ("auto", "cuda", "mps", "cuda:2")] == [None, None, None, "2"]
    assert visible("cpu") == visible("cpu:1") == ""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert [visible(d) for d in ("cuda:1", "cuda:5")] == ["6", "5"]


def test_a_child_that_nothing_stops_is_killed_after_long(
    queue: Queue, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "LAST_GRACE_S", 0.1)
    job = queue.submit("trivial", folder, {"steps": 1, "step_s": 60, "ends": "deaf"})
    runner = Runner(queue, ("cpu",), command=CHILD, grace_s=0.1)
    runner.start()
    until(lambda: queue.get(job.id).progress)
    queue.cancel(job.id)
    assert over(queue, job).state == "cancelled" and runner.stop(PATIENCE_S)
    assert os.path.exists(folder)
