"""The events of a running job on their way into the queue: gathered here, written by a thread of their own.

The work itself never waits for the disk.  Of a bar only the latest state is kept between two writes; a disk
that is full loses the oldest log lines, never the work.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from typing import Final, Literal

from portrait_lora.errors import PortraitError
from portrait_lora.jobs.job import EventKind, Job
from portrait_lora.jobs.queue import Queue

EVERY_S: Final = 0.5
_MOST_PENDING: Final = 2000


class Recorder:
    """A sink for `log.send_events`.  `on_lost` is called once when the job is not this process's any more."""

    def __init__(self, queue: Queue, job: Job, on_lost: Callable[[], None], *, every_s: float = EVERY_S):
        self._queue, self._job, self._on_lost, self._every_s = queue, job, on_lost, every_s
        self._rows: list[tuple[EventKind, Mapping[str, object]]] = []
        self._bars: dict[str, Mapping[str, object]] = {}
        self._progress: dict[str, object] = {}
        self._guard, self._over, self._writing = threading.Lock(), threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._run, name="job events", daemon=True)
        self._thread.start()

    def __call__(self, kind: Literal["progress", "log", "metric"], data: Mapping[str, object]) -> None:
        """Take an event."""
        value = plain(data)
        assert isinstance(value, dict)
        with self._guard:
            if kind == "progress" and "label" in value:
                self._bars[str(value["label"])] = value
                stage = {key: self._progress[key] for key in ("stage",) if key in self._progress}
                self._progress = stage | value
                return
            self._take_bars()  # what came before it stands before it
            self._rows.append((kind, value))
            if kind == "progress":
                self._progress = dict(value)

    def write(self) -> None:
        """Write what has gathered.  A refusal keeps it for the next time."""
        with self._writing:
            with self._guard:
                self._take_bars()
                rows, self._rows = self._rows, []
                progress = dict(self._progress)
            if not rows:
                return
            try:
                mine = self._queue.record(self._job, rows, progress)
            except PortraitError:
                with self._guard:
                    self._rows = [*rows, *self._rows][-_MOST_PENDING:]
                return
            if not mine:
                self._over.set()
                self._on_lost()

    def close(self) -> None:
        """Write the rest and end."""
        self._over.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        self.write()

    def _take_bars(self) -> None:
        self._rows.extend(("progress", bar) for bar in self._bars.values())
        self._bars = {}

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            self.write()


def plain(value: object) -> object:
    """Values as JSON takes them: NaN and infinities are None, what is no JSON value is its text."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)
