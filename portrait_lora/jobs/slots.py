"""One device of a runner: its lock, and the child process that works on it now."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from portrait_lora import holding, manifest
from portrait_lora.errors import EXIT_FAILED, EXIT_INTERRUPTED, InputError
from portrait_lora.jobs.job import Job, JobState, reason
from portrait_lora.jobs.queue import Queue

CHILD: Final = (sys.executable, "-P", "-m", "portrait_lora.jobs.child")
GRACE_S: Final = 600.0
"""How long a child may take for its step and for saving before it is interrupted at once."""
LAST_GRACE_S: Final = 60.0
_TAIL: Final = 2000
_GONE: Final = "the process of this job was ended from outside"


@dataclass(slots=True)
class Work:
    """A job and the process that does it; `errors` is its stderr, a file without a name."""

    job: Job
    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    stop_at: float | None = None
    signals: list[int] = field(default_factory=list)


class Slot:
    """A device, or the place beside it for jobs that need none."""

    def __init__(self, queue: Queue, device: str, *, on_device: bool, grace_s: float = GRACE_S):
        self.queue, self.device, self.on_device, self.grace_s = queue, device, on_device, grace_s
        self.work: Work | None = None
        self._lock: holding.Hold | None = None

    def lock(self) -> bool:
        """Whether this runner holds the device; a child of one that was killed may hold it for a while."""
        if self._lock is None:
            self._lock = take(self.queue.home, self.device)
            if self._lock is not None:
                self.queue.recover(self.device)
                self.queue.queue_interrupted(self.device)
        return self._lock is not None

    def unlock(self) -> None:
        """Let go of the device; a child that still works keeps it."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def start(self, command: Sequence[str]) -> bool:
        """Start the next job that may run here, if there is one."""
        assert self._lock is not None and self._lock.descriptor is not None
        job = self.queue.claim(self.device, on_device=self.on_device)
        if job is None:
            return False
        tail = tempfile.TemporaryFile()  # noqa: SIM115  # read once the child has ended
        lock = self._lock.descriptor
        words = [*command, str(self.queue.home), job.id, str(job.attempts), str(lock)]
        try:
            process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=tail, pass_fds=(lock,),
                start_new_session=True,
                env=environment(self.device if self.on_device else "auto", job.threads),
            )  # fmt: skip
        except OSError as error:
            refused = reason("its process could not be started", got=str(error), remedy="Resume it.")
            self.queue.finish(job, JobState.FAILED, exit_code=EXIT_FAILED, error=refused)
            return True
        self.work = Work(job, process, tail)
        self.queue.note_pid(job, process.pid)
        return True

    def look(self, *, stopping: bool) -> None:
        """Settle a job that has ended; ask one that was cancelled to stop, or any when `stopping`."""
        work = self.work
        if work is None:
            return
        if work.process.poll() is not None:
            self._settle(work)
            self.work = None
            return
        now = self.queue.get(work.job.id)
        mine = now.state is JobState.RUNNING and now.attempts == work.job.attempts
        if not mine:  # written down, and about to exit
            _ask_to_stop(work, LAST_GRACE_S)
        elif stopping or now.cancel_requested:
            _ask_to_stop(work, self.grace_s)

    def _settle(self, work: Work) -> None:
        """Write how a child ended that did not do so itself."""
        code = work.process.returncode
        if code < 0:
            _end_group(work.process.pid)
        error, state = None, JobState.FAILED
        if work.stop_at is not None and code in (EXIT_INTERRUPTED, *(-n for n in (2, 15, *work.signals))):
            state = JobState.INTERRUPTED
            error = reason("stopped", got="the last checkpoint is kept", exit_code=EXIT_INTERRUPTED)
        elif code in (-signal.SIGINT, -signal.SIGTERM):
            state, error = JobState.INTERRUPTED, reason(_GONE, got=f"signal {-code}")
        elif code == -signal.SIGKILL:
            remedy = "Close other programs or choose smaller settings, then resume the job: it goes on."
            error = reason(f"{_GONE}, most likely for want of memory", got="signal 9", remedy=remedy)
        elif code:
            got = f"exit code {code}" if code > 0 else f"signal {-code} ({signal.Signals(-code).name})"
            last = _tail(work.errors)
            error = reason("its process ended without a word", got=f"{got}; {last}" if last else got)
        else:
            error = reason(
                "its process could not write how it ended", remedy="Resume it: what is done stays."
            )
        self.queue.finish(work.job, state, exit_code=code if code >= 0 else 128 - code, error=error)
        work.errors.close()


def take(home: Path, device: str, part: str = "device") -> holding.Hold | None:
    """Hold a device of a home, or (part `runner`) be its only runner; None while somebody else does.

    Raises `InputError` where the file system has no locks.
    """
    folder = manifest.make_folder(home / "locks")
    file = folder / f"{device.replace(':', '-')}.{part}"
    os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    held = holding.hold(file, alone=True)
    if held is not None and not held.is_locked:
        held.release()
        raise InputError("this file system has no locks", where=home, needed="a home on a local disk")
    return held


def environment(device: str, threads: int = 0) -> dict[str, str] | None:
    """The environment that shows a child only its device, and limits its threads; None where there is nothing
    to change.

    `cpu:0` and `cpu:1` are two workers on the processor.
    """
    name, _, number = device.partition(":")
    own = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    if name == "cpu":
        own["CUDA_VISIBLE_DEVICES"] = ""
    elif name == "cuda" and number.isdigit():
        visible = [one for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one]
        index = int(number)
        own["CUDA_VISIBLE_DEVICES"] = visible[index] if index < len(visible) else number
    return os.environ | own if own else None


def _ask_to_stop(work: Work, grace_s: float) -> None:
    """First the orderly stop, long after it an interruption at once, and then the end."""
    now = time.monotonic()
    if work.stop_at is None:
        work.stop_at = now
        stdin = work.process.stdin
        try:
            if stdin is not None:
                stdin.write(b"c")
                stdin.flush()
        except OSError:  # it has ended meanwhile
            pass
        return
    late = now - work.stop_at
    due = [(grace_s, signal.SIGTERM), (grace_s + LAST_GRACE_S, signal.SIGKILL)]
    for after, number in due:
        if late >= after and number not in work.signals:
            work.signals.append(number)
            os.kill(work.process.pid, number)


def _end_group(group: int) -> None:
    """What a killed child had started itself would keep its device."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _tail(stream: IO[bytes]) -> str:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(size - _TAIL, 0))
    return " ".join(stream.read().decode(errors="replace").split())[-500:]
