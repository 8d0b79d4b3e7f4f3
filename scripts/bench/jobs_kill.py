"""The queue of jobs under random cancels and kills of its runner: none lost, none done twice.

python -m scripts.bench.jobs_kill --quick             60 jobs, 6 kills
python -m scripts.bench.jobs_kill --full              500 jobs, 20 kills, the figure of record

The jobs are of a kind that only this script knows: count up in a file and, at the end, sign.  Each holds a
lock while it works, so that a second process on the same job is noticed, and goes on from its file as a stage
goes on from its artifacts.  Jobs come in bursts with random priorities, half of them submitted twice under
one key; one in six is cancelled at a random moment and half of those are resumed; every fourth kill takes the
children along, as a power cut would.
"""

from __future__ import annotations

import fcntl
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from portrait_lora import log, manifest
from portrait_lora.jobs import child, store
from portrait_lora.jobs.arguments import Arguments
from portrait_lora.jobs.job import Job, JobState
from portrait_lora.jobs.kinds import KINDS, Kind
from portrait_lora.jobs.queue import Queue
from portrait_lora.jobs.runner import Runner
from scripts.rows import Row, arguments, finish

DEVICES = ("d0", "d1", "d2")
THIS = (sys.executable, "-m", "scripts.bench.jobs_kill")
PATIENCE_S = 3600.0


class Count(Arguments):
    """How far to count, and how long a step takes."""

    steps: Annotated[int, Field(ge=1)]
    step_s: float


def work(folder: Path, counted: Count) -> object:
    """Count on from where an earlier start stopped, and sign once."""
    with open(folder / "lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _sign(folder / "beside", "another process works on this job")
            raise
        file = folder / "step"
        begun = int(file.read_text()) if file.exists() else 0
        with log.progress("count", counted.steps) as advance:
            advance(begun)
            for step in range(begun, counted.steps):
                time.sleep(counted.step_s)
                manifest.write_text_atomic(file, str(step + 1))
                _sign(folder / "steps", str(step + 1))
                advance(1)
        if not (folder / "done").exists():
            _sign(folder / "done", "done")
    return {"begun": begun}


def _sign(file: Path, text: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


@dataclass
class Trial:
    """What was asked of the queue, and how it went."""

    jobs: list[str] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)
    resumed: set[str] = field(default_factory=set)
    kills: int = 0
    whole_kills: int = 0
    again_s: list[float] = field(default_factory=list)


class Campaign:
    """One run of the script: its queue, its runner in another process, and the dice."""

    def __init__(self, root: Path, seed: int):
        self.root, self.random, self.trial = root, random.Random(seed), Trial()
        self.queue = Queue(root / "home")
        self.runner = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*THIS, "serve", str(self.queue.home)], stderr=subprocess.DEVNULL)

    def submit(self) -> None:
        """One more job, maybe twice under its key."""
        number = len(self.trial.jobs)
        folder = self.root / f"person-{number:04d}"
        folder.mkdir()
        counting = {"steps": self.random.randint(1, 12), "step_s": self.random.choice([0.0, 0.05, 0.1])}
        priority, key = self.random.randint(-2, 2), f"k{number}"
        ids = {
            self.queue.submit("count", folder, counting, priority=priority, key=key).id
            for _ in range(self.random.randint(1, 2))
        }
        assert len(ids) == 1, "a key gave two jobs"
        self.trial.jobs += ids

    def cancel(self) -> None:
        """A random job that is not over, whatever it is doing."""
        open_jobs = self.queue.list(states=["queued", "running", "interrupted"], limit=1000)
        if open_jobs:
            chosen = self.random.choice(open_jobs)
            self.queue.cancel(chosen.id)
            self.trial.cancelled.add(chosen.id)

    def resume(self) -> None:
        """A random one that was cancelled."""
        over = self.queue.list(states=["cancelled"], limit=1000)
        if over:
            chosen = self.random.choice(over)
            self.queue.resume(chosen.id)
            self.trial.resumed.add(chosen.id)

    def kill(self) -> None:
        """`kill -9` of the runner, every fourth time of its children too; another one starts at once."""
        end = time.monotonic() + 20
        while self.queue.counts()["queued"] and time.monotonic() < end:
            if self.queue.counts()["running"]:
                break
            time.sleep(0.02)
        time.sleep(self.random.uniform(0.0, 2.0))
        running = self.queue.list(states=["running"])
        os.kill(self.runner.pid, signal.SIGKILL)
        if self.trial.kills % 4 == 3:
            self.trial.whole_kills += 1
            for job in running:
                if job.pid is not None and _is_child(job.pid):
                    os.kill(job.pid, signal.SIGKILL)
        self.runner.wait()
        self.trial.kills += 1
        started, attempts = time.monotonic(), _attempts(self.queue)
        self.runner = self._start()
        while _attempts(self.queue) == attempts and self.queue.counts()["queued"]:
            time.sleep(0.02)
        self.trial.again_s.append(time.monotonic() - started)

    def go(self, jobs: int, kills: int) -> None:
        """Submit, cancel, resume and kill in random order, and wait until nothing is left to do."""
        dice = ["submit"] * jobs + ["cancel"] * (jobs // 6) + ["resume"] * (jobs // 12) + ["kill"] * kills
        self.random.shuffle(dice)
        end = time.monotonic() + PATIENCE_S
        for what in dice:
            getattr(self, what)()
            while self.queue.counts()["queued"] > 12 and time.monotonic() < end:  # work goes on meanwhile
                time.sleep(0.05)
            if what == "kill":
                print(f"kill {self.trial.kills}: {self.queue.counts()}", flush=True)
        while _open(self.queue) and time.monotonic() < end:
            time.sleep(0.2)
        self.runner.send_signal(signal.SIGTERM)
        self.runner.wait(60)


def _is_child(pid: int) -> bool:
    """Whether the process is a child of this script's runner, and not another one of that number."""
    try:
        return b"scripts.bench.jobs_kill" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _attempts(queue: Queue) -> int:
    return int(queue.store.rows("SELECT sum(attempts) AS n FROM jobs")[0]["n"] or 0)


def _open(queue: Queue) -> int:
    counts = queue.counts()
    return sum(counts[state] for state in ("queued", "running", "interrupted"))


def judge(campaign: Campaign) -> tuple[list[Row], list[str]]:
    """The figures, and a line for each job that is not as it should be."""
    queue, trial = campaign.queue, campaign.trial
    queue.store.clean()
    jobs = {job.id: job for job in queue.list(limit=100_000)}
    odd: list[str] = []
    lost = doubled = 0
    for number, job_id in enumerate(trial.jobs):
        folder, job = campaign.root / f"person-{number:04d}", jobs.get(job_id)
        wrong = _lost(job, folder, trial)
        lost += bool(wrong)
        twice = _doubled(job, folder, queue)
        doubled += bool(twice)
        odd += [f"{job_id}: {word}" for word in (wrong, twice) if word]
    doubled += len(jobs) - len(trial.jobs)
    states = Counter(str(job.state) for job in jobs.values())
    events = int(queue.store.rows("SELECT count(*) AS n FROM events")[0]["n"])
    again = sorted(trial.again_s)
    n = len(trial.jobs)
    return [
        Row("jobs lost", lost, "jobs", n, 0.0, at_most=True),
        Row("jobs done twice, or by two processes at once", doubled, "jobs", n, 0.0, at_most=True),
        Row("kills of the runner", trial.kills, "", trial.kills),
        Row("of these with its children", trial.whole_kills, "", trial.kills),
        Row("cancelled, at a random moment", len(trial.cancelled), "jobs", n),
        Row("of these resumed", len(trial.resumed), "jobs", len(trial.cancelled)),
        Row("succeeded in the end", states["succeeded"], "jobs", n),
        Row("starts in all", sum(job.attempts for job in jobs.values()), "", n),
        Row("kill until the next start, median", again[len(again) // 2], "s", len(again)),
        Row("events kept", events, "", n),
        Row("size of the queue's file", (queue.home / store.FILE).stat().st_size / 1e6, "MB", n),
    ], odd


def _lost(job: Job | None, folder: Path, trial: Trial) -> str:
    """Why a job counts as lost; empty when it ended as it was meant to."""
    if job is None:
        return "gone from the queue"
    done = (folder / "done").exists()
    if job.state is JobState.SUCCEEDED:
        steps = (folder / "step").read_text()
        return "" if done and int(steps) == job.arguments["steps"] else "succeeded, and was not done"
    if job.state is JobState.CANCELLED and job.id in trial.cancelled:
        return ""
    return f"ended as {job.state}: {(job.error or {}).get('message', '')}"


def _doubled(job: Job | None, folder: Path, queue: Queue) -> str:
    """Why a job counts as done twice; empty when it was done once at most."""
    if (folder / "beside").exists():
        return "two processes at once"
    if (folder / "done").exists() and (folder / "done").read_text().count("\n") != 1:
        return "signed twice"
    steps = (folder / "steps").read_text().split() if (folder / "steps").exists() else []
    if sorted(map(int, set(steps))) != list(range(1, len(set(steps)) + 1)):
        return "a step was left out"
    ends = (
        [e for e in queue.events(job.id, limit=10_000) if e.data.get("state") == "succeeded"] if job else []
    )
    return "succeeded twice" if sum(e.kind == "state" for e in ends) > 1 else ""


def main(argv: Sequence[str] | None = None) -> None:
    """The script, its runner (`serve HOME`), or the process of one job (`child …`)."""
    KINDS["count"] = Kind("count", "count", Count, work, "folder")
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["child"]:
        child.main(words[1:])
        return
    if words[:1] == ["serve"]:
        Runner(Queue(words[1]), DEVICES, command=(*THIS, "child")).run_forever()
        return
    parser = arguments(__doc__ or "")
    parser.add_argument("--jobs", type=int, default=None, help="60, or 500 with --full")
    parser.add_argument("--kills", type=int, default=None, help="6, or 20 with --full")
    args = parser.parse_args(words)
    jobs = args.jobs or (500 if args.full else 60)
    kills = args.kills or (20 if args.full else 6)
    logging.getLogger("portrait_lora").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as temporary:
        campaign = Campaign(Path(temporary), args.seed)
        try:
            campaign.go(jobs, kills)
        finally:
            if campaign.runner.poll() is None:
                campaign.runner.kill()
        rows, odd = judge(campaign)
        print("\n".join(odd))
    sys.exit(finish(rows, args.json))


if __name__ == "__main__":
    main()
