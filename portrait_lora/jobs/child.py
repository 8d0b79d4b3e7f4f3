"""The process that does one job: `python -m portrait_lora.jobs.child HOME JOB ATTEMPT LOCK_FD`.

Its standard input is a pipe from the runner: a byte asks it to stop, and the end of the pipe says that the
runner is gone.  Either way it stops as on Ctrl-C, within a step and with its state saved.  It holds the lock
of its device as long as it lives, so that no other runner starts a second job beside it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from portrait_lora import errors, log, starting, terminal
from portrait_lora.errors import InputError, Interrupted, PortraitError
from portrait_lora.jobs import arguments, kinds
from portrait_lora.jobs.job import Job, JobState, error_value, reason
from portrait_lora.jobs.queue import Queue
from portrait_lora.jobs.recorder import Recorder, plain

EXIT_STALE: Final = 75
"""The job was not this process's to do; nothing was done."""
_TRIES: Final = 20
_log = log.get(__name__)


class Stop:
    """A wish to stop, from whatever thread: Ctrl-C in the main one."""

    def __init__(self) -> None:
        self.requested = False

    def request(self) -> None:
        """Stop this process in an orderly way; asking again changes nothing."""
        if not self.requested:
            self.requested = True
            main = threading.main_thread().ident
            assert main is not None
            signal.pthread_kill(main, signal.SIGINT)

    def watch(self, descriptor: int) -> None:
        """Stop at the first byte, or at the end of the pipe."""
        with contextlib.suppress(OSError):
            os.read(descriptor, 1)
        self.request()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the work ended."""

    state: JobState
    exit_code: int
    result: object = None
    error: Mapping[str, object] | None = None


def main(argv: Sequence[str]) -> None:
    """Do the job and exit as the command of its kind would."""
    home, job_id, attempt, lock = argv
    starting.quickly()
    stop = Stop()
    _own_signals()
    os.set_inheritable(int(lock), False)
    queue = Queue(home)
    job = queue.get(job_id)
    if job.state is not JobState.RUNNING or job.attempts != int(attempt):
        sys.exit(EXIT_STALE)
    _be_the_first_to_go()
    log.configure()
    recorder = Recorder(queue, job, stop.request)
    log.send_events(_stopping(recorder, stop), alone=True)
    outcome = _watched(job, stop, _pipe())
    for number in (signal.SIGINT, signal.SIGTERM):  # what is left is to write down how it ended
        signal.signal(number, signal.SIG_IGN)
    log.send_events(None)
    recorder.close()
    _write_down(queue, job, outcome)
    sys.exit(outcome.exit_code)


def _watched(job: Job, stop: Stop, pipe: int) -> Outcome:
    """Work while somebody looks out for a wish to stop."""
    try:
        threading.Thread(target=stop.watch, args=(pipe,), name="stop", daemon=True).start()
        return work(job, stop)
    except KeyboardInterrupt:
        return _interrupted()


def work(job: Job, stop: Stop) -> Outcome:
    """Do what the kind does; every end is an outcome."""
    try:
        kind = kinds.named(job.kind)
        parsed = arguments.read(kind.arguments, job.kind, job.arguments)
        _require_folder(kind, Path(job.folder))
        result = plain(kind.run(Path(job.folder), parsed))
        return Outcome(JobState.SUCCEEDED, kind.code(result), result)
    except (Interrupted, KeyboardInterrupt) as error:
        return _interrupted(error if isinstance(error, Interrupted) else None)
    except PortraitError as error:
        return Outcome(JobState.FAILED, error.exit_code, error=error_value(error))
    except Exception as error:
        if stop.requested:  # torn out of a library that turned Ctrl-C into something else
            return _interrupted()
        if isinstance(error, OSError) and (refused := errors.of_system(error)) is not None:
            return Outcome(JobState.FAILED, refused.exit_code, error=error_value(refused))
        _log.error("%s", "".join(traceback.format_exception(error)).rstrip())
        what = f"unexpected error ({type(error).__name__}: {error})"
        return Outcome(JobState.FAILED, errors.EXIT_FAILED, error=reason(what, remedy="Look at its log."))


def _interrupted(error: Interrupted | None = None) -> Outcome:
    usual = Interrupted("interrupted", got="finished work is saved", remedy="Resume the job to go on.")
    return Outcome(JobState.INTERRUPTED, errors.EXIT_INTERRUPTED, error=error_value(error or usual))


def _require_folder(kind: kinds.Kind, folder: Path) -> None:
    try:
        kinds.require_folder(kind, folder)
    except InputError as error:
        raise InputError(
            "the folder of this job was moved, removed or forgotten",
            where=folder,
            got=error.got or error.what,
            needed=error.needed,
            remedy="Put it back and resume the job, or add a new job for the new place.",
        ) from error


def _own_signals() -> None:
    """Ctrl-C and SIGTERM stop this process even where whoever started it had them ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def _pipe() -> int:
    """The runner's pipe, out of the way of programs that this process may start."""
    pipe = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return pipe


def _be_the_first_to_go() -> None:
    """When memory runs out, the system is to end this process and not the server."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def _stopping(recorder: Recorder, stop: Stop) -> log.Sink:
    """The recorder; where a stage or a bar begins, a wish to stop that came too late before is heard."""

    def sink(kind: Literal["progress", "log", "metric"], data: Mapping[str, object]) -> None:
        recorder(kind, data)
        begins = kind == "progress" and ("stage" in data or data.get("done") == 0)
        if begins and stop.requested and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt

    return sink


def _write_down(queue: Queue, job: Job, outcome: Outcome, pause_s: float = 0.5) -> None:
    """Write the outcome; where that is refused for long, the runner writes what the exit code says."""
    write: Callable[[], Job] = lambda: queue.finish(  # noqa: E731
        job, outcome.state, exit_code=outcome.exit_code, result=outcome.result, error=outcome.error
    )
    for _ in range(_TRIES):
        try:
            write()
            return
        except PortraitError as error:
            terminal.say(f"the outcome cannot be written: {error}", err=True)
            time.sleep(pause_s)


if __name__ == "__main__":
    main(sys.argv[1:])
