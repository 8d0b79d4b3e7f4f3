"""Backend `local`: the queue of jobs in the home of the fleet, one process per device of this machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from portrait_lora import log
from portrait_lora.errors import InputError
from portrait_lora.fleet.backend import CANCELLED, Change, ChangeKind
from portrait_lora.fleet.home import FleetHome
from portrait_lora.jobs.job import Job, JobState
from portrait_lora.jobs.queue import Queue
from portrait_lora.jobs.runner import Runner
from portrait_lora.tasks.shard.records import Shard

BATCH: Final = "fleet"
_PLACED: Final = (JobState.QUEUED, JobState.RUNNING)
_SIGNALS: Final = 128
_GRACE_S: Final = 120.0
_log = log.get(__name__)


class LocalBackend:
    """Shards as jobs of kind `shard`, each bound to the device that was free for it.

    A head that is killed takes nothing with it: its children save their state and stop within a step, and
    the next backend of this home finds their jobs in the queue.
    """

    name = "local"

    def __init__(self, home: FleetHome, devices: Sequence[str], *, command: Sequence[str] | None = None):
        """Raises `InputError` when something else does the jobs of these devices in this home."""
        self._home, self.devices = home, tuple(devices)
        self._queue = Queue(home.path)
        self._seen: dict[str, int] = {}
        """Job -> the start of it that was reported."""
        self._cancelled: set[str] = set()
        """Jobs that this backend itself has taken out of the line."""
        for job in self._jobs(JobState.QUEUED, JobState.INTERRUPTED):
            self._queue.cancel(job.id)  # what waits is placed anew, in the order of today
        self._cursor = self._newest()
        self._adopted = self._jobs(JobState.RUNNING)
        self._runner = Runner(self._queue, self.devices, command=command)
        self._runner.start()

    def free(self) -> int:
        """Devices that no shard is bound to."""
        return len(self._free_devices())

    def place(self, shard: Shard) -> None:
        """Queue a shard on a free device; one that is queued or running already is left as it is.

        Raises `InputError` for a person whose folder or settings cannot be read.
        """
        active = self._jobs(*_PLACED)
        if any(_shard_of(job) == shard.name for job in active):
            return
        free = self._free_devices(active)
        device = free[0] if free else self.devices[0]
        folders = [str(self._home.folder(person).resolve()) for person in shard.people]
        self._queue.submit(
            "shard",
            folders[0],
            {"people": folders, "worker": f"{platform.node()}/{device}", "device": device},
            device=device,
            batch=BATCH,
            threads=self._home.plan.threads,
        )

    def changes(self) -> Sequence[Change]:
        """What happened since the last call; first what a former head left running."""
        happened = [Change(ChangeKind.STARTED, _shard_of(job), job.ran_on) for job in self._adopted]
        self._seen |= {job.id: job.attempts for job in self._adopted}
        self._adopted = []
        for job in self._queue.changes(self._cursor, batch=BATCH):
            self._cursor = job.changed
            happened += self._changes_of(job)
            if job.state is JobState.QUEUED and job.device not in self.devices:
                self._take_out(job)  # it was bound to a worker that a former head had
        if self._runner.problem:
            _log.debug("jobs wait: %s", self._runner.problem)
        return happened

    def cancel(self, shard: str) -> None:
        """Stop a shard within a step, state saved."""
        for job in self._jobs(*_PLACED):
            if _shard_of(job) == shard:
                self._take_out(job)

    def close(self) -> None:
        """Stop all of them, and leave none in the line for whoever serves this home next."""
        for job in self._jobs(JobState.QUEUED):
            self._queue.cancel(job.id)
        if not self._runner.stop(_GRACE_S):
            _log.warning("A worker has not ended yet; its state is saved, and it ends by itself.")
        for job in self._jobs(JobState.QUEUED, JobState.INTERRUPTED):
            self._queue.cancel(job.id)
        self._queue.close()

    def _take_out(self, job: Job) -> None:
        self._cancelled.add(job.id)
        self._queue.cancel(job.id)

    def _changes_of(self, job: Job) -> list[Change]:
        name, worker = _shard_of(job), job.ran_on or job.device
        happened: list[Change] = []
        if job.attempts and self._seen.get(job.id) != job.attempts:
            self._seen[job.id] = job.attempts
            happened.append(Change(ChangeKind.STARTED, name, worker))
        if job.state is JobState.RUNNING:
            if job.progress:
                happened.append(Change(ChangeKind.PROGRESS, name, worker, dict(job.progress)))
        elif job.state is not JobState.QUEUED:
            happened.append(self._end_of(job, name, worker))
        return happened

    def _end_of(self, job: Job, name: str, worker: str) -> Change:
        why = str((job.error or {}).get("message", ""))
        if job.state is JobState.CANCELLED:
            by_hand = job.id not in self._cancelled
            return Change(ChangeKind.ENDED, name, worker, reason=CANCELLED if by_hand else "stopped")
        lost = job.state is JobState.FAILED and (job.exit_code is None or job.exit_code >= _SIGNALS)
        return Change(ChangeKind.LOST if lost else ChangeKind.ENDED, name, worker, reason=why)

    def _free_devices(self, active: Sequence[Job] | None = None) -> list[str]:
        bound = {job.device or job.ran_on for job in (self._jobs(*_PLACED) if active is None else active)}
        return [device for device in self.devices if device not in bound]

    def _jobs(self, *states: JobState) -> list[Job]:
        return self._queue.list(states=states, batch=BATCH, limit=10_000)

    def _newest(self) -> int:
        newest = self._queue.store.rows("SELECT max(changed) AS n FROM jobs")[0]["n"]
        return int(newest or 0)


def devices_of(workers: int, device: str) -> list[str]:
    """The devices of so many workers: `cpu:0` …, `cuda:0` …; `device` is a kind, auto for what is here.

    0 workers: every GPU, or one worker per four cores.  Raises `InputError` for what is not here.
    """
    from portrait_lora import device as devices

    kind = device if device == "cpu" else devices.choose(device).kind
    if kind != "cuda":
        count = workers or max(1, cores() // 4)
        return [f"{kind}:{number}" for number in range(count)]
    import torch

    have = torch.cuda.device_count()
    if workers > have:
        raise InputError("more workers than GPUs", where="--workers", got=workers, needed=f"at most {have}")
    return [f"cuda:{number}" for number in range(workers or have)]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _shard_of(job: Job) -> str:
    return Path(job.folder).name
