"""The child of a worker in tests: counts steps into a file instead of a training, and can end in every way.

What the person's folder says in `ends` happens; everything around the work is the real thing.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from portrait_lora import log, manifest
from portrait_lora.errors import InputError, Interrupted
from portrait_lora.tasks.shard import files
from portrait_lora.tasks.shard.records import PersonRecord, PersonState

STEPS = 40


def work(
    home: Path, people: Sequence[str], *, on_change: Any = None, **_: object
) -> tuple[PersonRecord, ...]:
    """Count to `STEPS` in `adapters/steps`, going on where it stopped; the record says how far it came."""
    return tuple(_one(home, person, on_change) for person in people)


def _one(home: Path, person: str, on_change: Any) -> PersonRecord:
    folder = files.folder(home, person)
    wish = folder / "ends"
    ends = wish.read_text() if wish.exists() else "well"
    if ends == "other":
        raise InputError(
            "this worker has other versions", got="portrait_lora 0.0", needed="portrait_lora 0.1"
        )
    hold = files.hold(home, person)
    if hold is None:
        return PersonRecord(person=person, digest="", state=PersonState.RUNNING)
    counted = folder / "adapters" / "steps"
    counted.parent.mkdir(exist_ok=True)
    step = int(counted.read_text()) if counted.exists() else 0
    with hold, (folder / "pids").open("a") as pids:
        pids.write(f"{os.getpid()} from {step} threads {os.environ['OMP_NUM_THREADS']}\n")
        pids.flush()
        _write(home, PersonRecord(person=person, digest="d", state=PersonState.RUNNING), on_change)
        with log.progress("steps", STEPS) as advance:
            try:
                while step < STEPS or ends == "never":
                    if step == 10 and ends == "killed" and len((folder / "pids").read_text().split("\n")) < 3:
                        os.kill(os.getpid(), signal.SIGKILL)
                    time.sleep(0.01)
                    step += 1
                    manifest.write_text_atomic(counted, str(step))
                    advance(1)
            except KeyboardInterrupt:  # perhaps in the middle of writing
                counted.write_text(str(step))
                (folder / "stopped").write_text(str(step))
                _write(home, PersonRecord(person=person, digest="d"), on_change)
                raise Interrupted("stopped") from None
        done = PersonRecord(person=person, digest="d", state=PersonState.SUCCEEDED, adapter_sha256=str(step))
        _write(home, done, on_change)
        return done


def _write(home: Path, record: PersonRecord, on_change: Any) -> None:
    files.write(home, record)
    if on_change is not None:
        on_change(record)


def command() -> tuple[str, ...]:
    return (sys.executable, "-m", "tests.fleet.trivial_child")


if __name__ == "__main__":
    from types import ModuleType

    from portrait_lora.fleet import child

    module = ModuleType("portrait_lora.tasks.shard.work")
    module.work = work  # pyright: ignore[reportAttributeAccessIssue]
    sys.modules[module.__name__] = module
    child.main()
