"""The events of jobs: appended, read, and thinned so that a job of days keeps a bounded number of them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

from portrait_lora.jobs.job import Event, EventKind

MOST: Final = {"progress": 600, "log": 1000, "metric": 2000, "state": 400}
"""Most events of a kind of one job.  Progress and metrics lose every other one, the rest its oldest."""
MOST_AFTER: Final = {"progress": 100, "log": 300, "metric": 1000, "state": 100}
"""The same once it is over."""
MOST_DATA: Final = 64 * 1024
"""Longest JSON of one event that is no result; longer ones are cut."""
_EVERY: Final = 50
_SHAPE: Final = ("progress", "metric")
"""What shows a course: thinned evenly."""


def add(
    db: sqlite3.Connection, job: int, now: float, rows: Sequence[tuple[EventKind, Mapping[str, object]]]
) -> None:
    """Append events to the job of that row number; within a transaction."""
    last = int(next(iter(db.execute("SELECT coalesce(max(number), 0) FROM events WHERE job=?", [job])))[0])
    values = [(job, last + i, now, kind, _text(kind, data)) for i, (kind, data) in enumerate(rows, 1)]
    db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", values)
    if last // _EVERY != (last + len(rows)) // _EVERY:
        thin(db, job, most=MOST)


def thin(db: sqlite3.Connection, job: int, *, most: Mapping[str, int]) -> None:
    """Remove old events of a job beyond `most` of each kind; the latest always stays."""
    for kind, limit in most.items():
        counting = db.execute("SELECT count(*) FROM events WHERE job=? AND kind=?", [job, kind])
        count = int(next(iter(counting))[0])
        while count > limit:
            if kind in _SHAPE:
                db.execute(
                    "DELETE FROM events WHERE job=? AND number IN (SELECT number FROM (SELECT number, "
                    "row_number() OVER (ORDER BY number DESC) AS back FROM events WHERE job=? AND kind=?) "
                    "WHERE back % 2 = 0)",
                    [job, job, kind],
                )
                count -= count // 2
            else:
                db.execute(
                    "DELETE FROM events WHERE job=? AND number IN (SELECT number FROM events WHERE job=? "
                    "AND kind=? ORDER BY number LIMIT ?)",
                    [job, job, kind, count - limit],
                )
                count = limit


def read(db: sqlite3.Connection, job: int, job_id: str, after: int, limit: int) -> Sequence[Event]:
    """Events of a job with a number above `after`, oldest first."""
    question = "SELECT * FROM events WHERE job=? AND number>? ORDER BY number LIMIT ?"
    rows = db.execute(question, [job, after, max(limit, 0)])
    return [Event(job_id, r["number"], r["time"], r["kind"], json.loads(r["data"])) for r in rows]


def _text(kind: EventKind, data: Mapping[str, object]) -> str:
    text = json.dumps(data)
    if len(text) <= MOST_DATA or kind == "result":
        return text
    return json.dumps({"cut": True, "text": text[: MOST_DATA // 2]})
