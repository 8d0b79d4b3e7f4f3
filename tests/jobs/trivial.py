"""A kind of job for tests: counts to `steps`, one file per step, and can end in every way."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

from pydantic import Field

from portrait_lora import log, manifest
from portrait_lora.errors import InputError
from portrait_lora.jobs.arguments import Arguments
from portrait_lora.jobs.kinds import KINDS, Kind


class Trivial(Arguments):
    """How many steps, how long each, and how it ends."""

    steps: Annotated[int, Field(ge=0, le=100_000)] = 3
    step_s: Annotated[float, Field(ge=0, le=60)] = 0.0
    ends: str = "well"


def work(folder: Path, arguments: Trivial) -> object:
    """Go on from the file of the last step."""
    file = folder / "step"
    if arguments.ends == "deaf":
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    begun = int(file.read_text()) if file.exists() else 0
    with log.progress("trivial", arguments.steps) as advance:
        advance(begun)
        for step in range(begun, arguments.steps):
            time.sleep(arguments.step_s)
            manifest.write_text_atomic(file, str(step + 1))  # it may be killed here
            advance(1, loss=1 / (step + 1))
    if arguments.ends == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if arguments.ends == "silent":
        print("last words", file=sys.stderr, flush=True)
        os._exit(7)
    if arguments.ends == "badly":
        raise InputError("a bad end", where=folder, got=1, needed=2, remedy="Try another.")
    if arguments.ends == "oddly":
        raise RuntimeError("nobody expected this")
    log.get("trivial").info("counted to %d", arguments.steps)
    return {"steps": arguments.steps, "begun": begun}


TRIVIAL = Kind("trivial", "count", Trivial, work, "folder")
ASIDE = Kind("aside", "count beside", Trivial, work, "folder", on_device=False)


def register() -> None:
    """Make the kind known to this process."""
    KINDS["trivial"], KINDS["aside"] = TRIVIAL, ASIDE


if __name__ == "__main__":
    from portrait_lora.jobs import child

    register()
    child.main(sys.argv[1:])
