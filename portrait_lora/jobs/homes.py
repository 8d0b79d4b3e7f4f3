"""The studio homes whose queue may know a likeness folder, for `forget`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from portrait_lora import log
from portrait_lora.errors import PortraitError
from portrait_lora.jobs.queue import Queue
from portrait_lora.jobs.store import FILE

USUAL: Final = Path("studio")
_log = log.get(__name__)


def homes_of(folder: Path) -> list[Path]:
    """The home that a likeness folder lies in, and the usual one here; those that have a queue."""
    places = [*folder.resolve().parents, USUAL.resolve()]
    return [place for place in dict.fromkeys(places) if (place / FILE).is_file()]


def forget_jobs(folder: Path) -> int:
    """Remove the jobs of a person from the queues that may know them; how many there were.

    Raises `InputError` while one of them is running.  A queue that cannot be read is named in a warning.
    """
    removed = 0
    for home in homes_of(folder):
        try:
            queue = Queue(home)
        except PortraitError as error:
            _log.warning("Jobs of this person may be left in it: %s", error)
            continue
        removed += queue.forget(folder)
        queue.close()
    return removed
