"""What a job is: its kind, its state, and the events that it leaves behind; one JSON form of each."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final, Literal, Self

from portrait_lora.errors import EXIT_FAILED, PortraitError

EventKind = Literal["state", "progress", "log", "metric", "result"]


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    """Stopped with its state saved, but not on anybody's wish: queued again when the next runner starts."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens unless somebody resumes it."""
        return self in OVER


OVER: Final = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


@dataclass(frozen=True, slots=True)
class Job:
    """One job as it stands in the queue; times are seconds since the epoch, None for what has not happened.

    `folder` is absolute.  `arguments` are those of its kind.  A higher `priority` goes first, then a lower
    `place`.  `device` is the one it has to run on (empty: any), `ran_on` the one that it was started on last.
    `attempts` counts its starts, `crashes` those that ended without a word since it was last resumed by hand.
    `result` is the kind's JSON; `error` has what, where, got, needed, remedy, message and exit_code.
    `progress` holds the latest stage, label, done, total and fields such as loss.
    `batch` is shared by jobs that belong together; `threads` of the processor are what it may use, 0 any.
    `device_seconds` is the time on the device over all of its starts, `changed` counts changes of all jobs.
    """

    id: str
    kind: str
    folder: str
    arguments: Mapping[str, object]
    state: JobState
    priority: int = 0
    place: int = 0
    device: str = ""
    ran_on: str = ""
    owner: str = ""
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    attempts: int = 0
    crashes: int = 0
    pid: int | None = None
    exit_code: int | None = None
    result: object = None
    error: Mapping[str, object] | None = None
    cancel_requested: bool = False
    progress: Mapping[str, object] | None = None
    batch: str = ""
    threads: int = 0
    device_seconds: float = 0.0
    changed: int = 0

    @property
    def seconds(self) -> float | None:
        """How long its last start lasted; never negative, whatever the clock did."""
        if self.started is None or self.ended is None:
            return None
        return max(self.ended - self.started, 0.0)

    def json_value(self) -> dict[str, object]:
        """Plain JSON values, all fields."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def of_row(cls, row: Mapping[str, object]) -> Self:
        """The job of a row of the table, whose JSON columns are text."""
        values = {f.name: row[f.name] for f in fields(cls)}
        for name in ("arguments", "result", "error", "progress"):
            text = values[name]
            values[name] = json.loads(str(text)) if text is not None else None
        values["state"] = JobState(str(values["state"]))
        values["cancel_requested"] = bool(values["cancel_requested"])
        return cls(**values)  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job; `number` counts up within it, with gaps where old ones were thinned.

    `data` by kind: state {"state", and "reason"}; progress {"stage"} or {"label", "done", "total", "left_s",
    fields}; log {"level", "text"}; metric {"name", values}; result {"result"} or {"error"}.
    """

    job_id: str
    number: int
    time: float
    kind: EventKind
    data: Mapping[str, object]

    def json_value(self) -> dict[str, object]:
        """Plain JSON values."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def new_id() -> str:
    """`j` and 16 letters or digits: 80 random bits."""
    return "j" + base64.b32encode(secrets.token_bytes(10)).decode().lower()


def error_value(error: PortraitError) -> dict[str, object]:
    """An error as it is kept with a job, in the words of `--json`."""
    return {
        "what": error.what, "where": error.where, "got": error.got, "needed": error.needed,
        "remedy": error.remedy, "message": error.message(), "exit_code": error.exit_code,
    }  # fmt: skip


def reason(what: str, *, got: str = "", remedy: str = "", exit_code: int = EXIT_FAILED) -> dict[str, object]:
    """The same of a job that could not speak for itself any more."""
    error = PortraitError(what, got=got, remedy=remedy)
    return error_value(error) | {"exit_code": exit_code}
