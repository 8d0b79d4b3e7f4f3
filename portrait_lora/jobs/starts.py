"""The start and the end of jobs in the queue's file: what the runner and its child processes do with it.

A change is one transaction.  Only a job's latest start, known by its number of attempts, may write events and
an outcome, and only once.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from portrait_lora.errors import InputError
from portrait_lora.jobs import events as history
from portrait_lora.jobs.job import EventKind, Job, JobState, reason
from portrait_lora.jobs.store import Store

MOST_CRASHES: Final = 5
"""Ends without a word (the machine went down) after which a job is not tried again by itself."""
MOST_DETAILED: Final = 500
"""Jobs that are over and keep what they logged."""
IN_LINE: Final = "priority DESC, place"
"""The order in which waiting jobs start."""


class Starts:
    """The jobs of one studio home, as those see them who do the work."""

    def __init__(self, home: Path | str, *, now: Callable[[], float] = time.time):
        """Opens `home/jobs.sqlite`, or makes it.  Raises what `Store` raises."""
        self.home = Path(home).absolute()
        self.store = Store(self.home)
        self._now = now

    def close(self) -> None:
        """Let go of the file."""
        self.store.close()

    def claim(self, device: str, *, on_device: bool = True) -> Job | None:
        """Start the next job that may run on this device, if any: of each folder one at a time.

        Those that need no device do not wait for one that does: a check may go beside a training.
        """
        with self.store.writing() as db:
            row = db.execute(
                "SELECT id FROM jobs WHERE state='queued' AND on_device=? AND device IN ('', ?) AND folder "
                f"NOT IN (SELECT folder FROM jobs WHERE state='running' AND on_device=?) "
                f"ORDER BY {IN_LINE} LIMIT 1",
                [on_device, device, on_device],
            ).fetchone()
            if row is None:
                return None
            db.execute(
                "UPDATE jobs SET state='running', ran_on=?, started=max(created, ?), ended=NULL, pid=NULL, "
                "attempts=attempts+1, exit_code=NULL, error=NULL, result=NULL, progress=NULL WHERE id=?",
                [device, self._now(), row["id"]],
            )
            return self._note(db, row["id"], JobState.RUNNING)

    def note_pid(self, job: Job, pid: int) -> None:
        """Write down the process that does the work."""
        with self.store.writing() as db:
            db.execute("UPDATE jobs SET pid=? WHERE id=? AND attempts=?", [pid, job.id, job.attempts])

    def record(
        self, job: Job, rows: Sequence[tuple[EventKind, Mapping[str, object]]], progress: Mapping[str, object]
    ) -> bool:
        """Append events of this start of a job; False when it is not running any more: then nothing is."""
        with self.store.writing() as db:
            row = running(db, job)
            if row is None:
                return False
            history.add(db, row["number"], self._now(), rows)
            if progress:
                db.execute("UPDATE jobs SET progress=? WHERE id=?", [json.dumps(progress), job.id])
            return True

    def finish(
        self,
        job: Job,
        state: JobState,
        *,
        exit_code: int | None,
        result: object = None,
        error: Mapping[str, object] | None = None,
        crashed: bool = False,
    ) -> Job:
        """Write the outcome of this start of a job, unless it has one already; the job as it then stands.

        Interrupted becomes cancelled where that was asked for.
        """
        with self.store.writing() as db:
            row = running(db, job)
            if row is None:
                return Job.of_row(row_of(db, job.id))
            if state is JobState.INTERRUPTED and row["cancel_requested"]:
                state = JobState.CANCELLED
            db.execute("UPDATE jobs SET crashes=crashes+? WHERE id=?", [crashed, job.id])
            return self._over(db, row, state, exit_code=exit_code, result=result, error=error)

    def recover(self, device: str) -> Sequence[Job]:
        """What ran on this device, whose runner and process are both gone, is interrupted, or cancelled."""
        rows = self.store.rows("SELECT * FROM jobs WHERE state='running' AND ran_on=?", [device])
        gone = reason("the process of this job went away without a word", remedy="Resume it to go on.")
        lost = [Job.of_row(row) for row in rows]
        return [self.finish(j, JobState.INTERRUPTED, exit_code=None, error=gone, crashed=True) for j in lost]

    def queue_interrupted(self, device: str) -> Sequence[Job]:
        """Queue what was interrupted on this device again, at its old place.

        What brought things down too often fails instead.
        """
        again, question = [], "SELECT * FROM jobs WHERE state='interrupted' AND ran_on=?"
        with self.store.writing() as db:
            for row in list(db.execute(question, [device])):
                if row["crashes"] >= MOST_CRASHES:
                    error = reason(
                        "the process of this job went away too often",
                        got=f"{row['crashes']} times",
                        remedy="Look at memory and disk of this machine, then resume it.",
                    )
                    self._over(db, row, JobState.FAILED, exit_code=1, error=error)
                    continue
                queue_again(db, row["id"])
                again.append(self._note(db, row["id"], JobState.QUEUED, "goes on after an interruption"))
        return again

    def prune(self, keep: int = MOST_DETAILED) -> None:
        """Of all but the latest `keep` jobs that are over, keep the states and the result alone."""
        with self.store.writing() as db:
            db.execute(
                "DELETE FROM events WHERE kind IN ('progress', 'log', 'metric') AND job IN (SELECT number "
                "FROM jobs WHERE state IN ('succeeded', 'failed', 'cancelled') ORDER BY number DESC "
                "LIMIT -1 OFFSET ?)",
                [keep],
            )

    def _over(
        self,
        db: sqlite3.Connection,
        row: Mapping[str, Any],
        state: JobState,
        *,
        exit_code: int | None,
        result: object = None,
        error: Mapping[str, object] | None = None,
    ) -> Job:
        ended = max(self._now(), row["started"] or row["created"])
        texts = [None if value is None else json.dumps(value) for value in (result, error)]
        db.execute(
            "UPDATE jobs SET state=?, ended=?, pid=NULL, exit_code=?, result=?, error=?, "
            "device_seconds=device_seconds+? WHERE id=?",
            [state.value, ended, exit_code, *texts, _on_device(row, ended), row["id"]],
        )
        job = self._note(db, row["id"], state, str((error or {}).get("message", "")))
        if state.is_over:
            value = {"result": result} if error is None else {"error": error}
            history.add(db, row["number"], self._now(), [("result", {"state": state.value, **value})])
            history.thin(db, row["number"], most=history.MOST_AFTER)
        return job

    def _note(self, db: sqlite3.Connection, job_id: str, state: JobState, why: str = "") -> Job:
        row = row_of(db, job_id)
        data = {"state": state.value, **({"reason": why} if why else {})}
        history.add(db, row["number"], self._now(), [("state", data)])
        return Job.of_row(row)


def _on_device(row: Mapping[str, Any], ended: float) -> float:
    """Seconds of the start that ends now; 0 for a job that did not run."""
    began = row["started"] if row["state"] == JobState.RUNNING and row["on_device"] else None
    return 0.0 if began is None else max(ended - float(began), 0.0)


def one(db: sqlite3.Connection, where: str, *values: object) -> dict[str, Any] | None:
    row = db.execute(f"SELECT * FROM jobs WHERE {where}", values).fetchone()
    return None if row is None else dict(row)


def row_of(db: sqlite3.Connection, job_id: str) -> dict[str, Any]:
    if row := one(db, "id=?", job_id):
        return row
    raise InputError("no such job", where=job_id, remedy="See: portrait-lora jobs list")


def running(db: sqlite3.Connection, job: Job) -> dict[str, Any] | None:
    """The row of this very start of a job; None when it is over, or was started anew."""
    return one(db, "id=? AND attempts=? AND state='running'", job.id, job.attempts)


def queue_again(db: sqlite3.Connection, job_id: str) -> None:
    db.execute(
        "UPDATE jobs SET state='queued', cancel_requested=0, error=NULL, exit_code=NULL, ended=NULL "
        "WHERE id=?",
        [job_id],
    )


def last_place(db: sqlite3.Connection) -> int:
    return int(next(iter(db.execute("SELECT coalesce(max(place), 0) FROM jobs")))[0])
