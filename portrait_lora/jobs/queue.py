"""The queue of jobs, in plain SQLite: durable, ordered by hand, safe from several processes and threads.

Plain `sqlite3` rather than a task queue such as huey: those hand a function to a worker and keep its result
for a while.  What is needed here is what they leave out: an order that people change, cancelling with the
state saved, a job that survives `kill -9` of its worker and never runs twice at once, events to look back on,
and rows that can be forgotten without a trace.  With that written anyway, their part is forty lines of SQL.

Order is by counters, never by the clock, which may go backwards.
"""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from portrait_lora import manifest
from portrait_lora.errors import InputError
from portrait_lora.jobs import events as history
from portrait_lora.jobs import kinds
from portrait_lora.jobs.job import Event, Job, JobState, new_id
from portrait_lora.jobs.starts import IN_LINE, Starts, last_place, one, queue_again, row_of

PRIORITIES: Final = (-100, 100)
_DEVICE: Final = re.compile(r"^[a-z0-9][a-z0-9:._-]{0,31}$")
_MOST_WAITED_S: Final = 0.5


class Queue(Starts):
    """The jobs of one studio home."""

    def submit(
        self,
        kind: str,
        folder: Path | str,
        arguments: Mapping[str, Any] | None = None,
        *,
        priority: int = 0,
        device: str = "",
        owner: str = "",
        key: str = "",
        batch: str = "",
        threads: int = 0,
    ) -> Job:
        """Put a job at the end of the line of its priority.

        The same `key` of the same owner gives the job that it gave before; `InputError` when kind, folder,
        arguments, priority or device are not the same, and for those that cannot be.
        """
        place = Path(folder).resolve()
        text = manifest.canonical(arguments or {})
        body = manifest.digest([kind, str(place), text, priority, device])
        with self.store.writing() as db:
            if key and (row := one(db, "owner=? AND key=?", owner, key)):
                if row["body"] != body:
                    raise InputError(
                        "this key belongs to another job", where=key, got=row["id"],
                        needed="the same kind, folder and arguments, or a new key",
                    )  # fmt: skip
                return Job.of_row(row)
            _require_sound(kind, place, arguments or {}, priority, device)
            values = {
                "id": new_id(), "kind": kind, "folder": str(place), "arguments": text, "device": device,
                "state": JobState.QUEUED.value, "priority": priority, "place": last_place(db) + 1,
                "on_device": kinds.named(kind).on_device, "owner": owner, "key": key or None, "body": body,
                "created": self._now(), "batch": batch, "threads": threads,
            }  # fmt: skip
            names = ", ".join(values)
            db.execute(
                f"INSERT INTO jobs ({names}) VALUES ({', '.join('?' * len(values))})", [*values.values()]
            )
            return self._note(db, str(values["id"]), JobState.QUEUED)

    def get(self, job_id: str) -> Job:
        """One job.  Raises `InputError` for an unknown id."""
        with self.store.reading() as db:
            return Job.of_row(row_of(db, job_id))

    def list(
        self,
        *,
        states: Collection[JobState | str] = (),
        folder: Path | str | None = None,
        owner: str | None = None,
        batch: str | None = None,
        after: str = "",
        limit: int = 50,
    ) -> list[Job]:
        """Jobs, the newest first; `after` is the last id of the page before."""
        wheres, values = ["1"], list[object]()
        if states:
            chosen = [str(JobState(state)) for state in states]
            wheres.append(f"state IN ({', '.join('?' * len(chosen))})")
            values += chosen
        if folder is not None:
            wheres.append("folder=?")
            values.append(str(Path(folder).resolve()))
        if owner is not None:
            wheres.append("owner=?")
            values.append(owner)
        if batch is not None:
            wheres.append("batch=?")
            values.append(batch)
        if after:
            wheres.append("number < (SELECT number FROM jobs WHERE id=?)")
            values.append(self.get(after).id)
        question = f"SELECT * FROM jobs WHERE {' AND '.join(wheres)} ORDER BY number DESC LIMIT ?"
        return [Job.of_row(row) for row in self.store.rows(question, [*values, max(limit, 0)])]

    def changes(self, after: int, *, batch: str = "", limit: int = 1000) -> Sequence[Job]:
        """Jobs of a batch that changed behind this cursor, as they stand now; the cursor is `Job.changed`.

        Of several changes between two calls the last is seen.
        """
        question = "SELECT * FROM jobs WHERE batch=? AND changed>? ORDER BY changed LIMIT ?"
        return [Job.of_row(row) for row in self.store.rows(question, [batch, after, max(limit, 0)])]

    def waiting(self, limit: int = 1000) -> Sequence[Job]:
        """The queued jobs in the order in which they would start."""
        question = f"SELECT * FROM jobs WHERE state='queued' ORDER BY {IN_LINE} LIMIT ?"
        return [Job.of_row(row) for row in self.store.rows(question, [limit])]

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        rows = self.store.rows("SELECT state, count(*) AS n FROM jobs GROUP BY state")
        numbers = {row["state"]: int(row["n"]) for row in rows}
        return {state.value: numbers.get(state.value, 0) for state in JobState}

    def events(self, job_id: str, after: int = 0, limit: int = 500) -> Sequence[Event]:
        """What happened to a job after event number `after`, oldest first."""
        with self.store.reading() as db:
            number = row_of(db, job_id)["number"]
            return history.read(db, number, job_id, after, limit)

    def cancel(self, job_id: str) -> Job:
        """Ask a job to stop: a waiting one is cancelled at once, a running one within a step, state saved.

        A job that is over stays as it is.
        """
        with self.store.writing() as db:
            row = row_of(db, job_id)
            if row["state"] in (JobState.QUEUED, JobState.INTERRUPTED):
                return self._over(db, row, JobState.CANCELLED, exit_code=None)
            if row["state"] == JobState.RUNNING and not row["cancel_requested"]:
                db.execute("UPDATE jobs SET cancel_requested=1 WHERE id=?", [job_id])
                return self._note(db, job_id, JobState.RUNNING, "cancel requested")
            return Job.of_row(row)

    def resume(self, job_id: str) -> Job:
        """Put a job that was cancelled, failed or interrupted into the line again: it goes on where it was.

        Raises `InputError` for one that succeeded, whose folder went away, or that is being cancelled.
        """
        with self.store.writing() as db:
            row = row_of(db, job_id)
            state = JobState(row["state"])
            if state is JobState.QUEUED or (state is JobState.RUNNING and not row["cancel_requested"]):
                return Job.of_row(row)
            if state in (JobState.SUCCEEDED, JobState.RUNNING):
                got = "being cancelled" if state is JobState.RUNNING else state
                raise InputError("this job cannot be resumed", where=job_id, got=got)
            kinds.require_folder(kinds.named(row["kind"]), Path(row["folder"]))
            queue_again(db, job_id)
            db.execute("UPDATE jobs SET crashes=0, place=? WHERE id=?", [last_place(db) + 1, job_id])
            return self._note(db, job_id, JobState.QUEUED, "resumed")

    def move(self, job_id: str, *, before: str = "") -> Job:
        """Put a waiting job before another one, with that one's priority; without one: last of its own.

        Raises `InputError` when one of the two is not waiting.
        """
        with self.store.writing() as db:
            row = _waiting(db, job_id)
            other = _waiting(db, before) if before else None
            priority = row["priority"] if other is None else other["priority"]
            question = "SELECT id FROM jobs WHERE state='queued' AND priority=? AND id<>? ORDER BY place"
            line = [one["id"] for one in db.execute(question, [priority, job_id])]
            if before != job_id:
                line.insert(line.index(before) if other is not None else len(line), job_id)
                first = last_place(db) + 1
                places = [(first + i, priority, one) for i, one in enumerate(line)]
                db.executemany("UPDATE jobs SET place=?, priority=? WHERE id=?", places)
            return Job.of_row(row_of(db, job_id))

    def set_priority(self, job_id: str, priority: int) -> Job:
        """Higher goes first.  Raises `InputError` for a job that is not waiting."""
        _require_priority(priority)
        with self.store.writing() as db:
            _waiting(db, job_id)
            db.execute("UPDATE jobs SET priority=? WHERE id=?", [priority, job_id])
            return Job.of_row(row_of(db, job_id))

    def wait(self, job_id: str, seconds: float) -> Job:
        """The job as soon as it is over, or as it stands after so many seconds."""
        end, pause = time.monotonic() + seconds, 0.02
        while not (job := self.get(job_id)).state.is_over and (left := end - time.monotonic()) > 0:
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, _MOST_WAITED_S)
        return job

    def forget(self, folder: Path | str) -> int:
        """Remove every job of a likeness folder, or that names it, with its events; how many there were.

        Nothing of them stays in the file.  Raises `InputError` while one of them is running.
        """
        place = str(Path(folder).resolve())
        written = json.dumps(place)[1:-1]
        with self.store.writing() as db:
            # as a whole: /people/bo is the beginning of /people/bo-ray
            names = re.compile(rf"{re.escape(written)}(?![\w-]|\.\w)")
            db.create_function("names", 1, lambda text: names.search(text or "") is not None)
            named = [f"names({column})" for column in ("arguments", "result", "error")]
            question = f"SELECT number, id, state FROM jobs WHERE folder=? OR {' OR '.join(named)}"
            rows = list(db.execute(question, [place]))
            question = "SELECT DISTINCT job FROM events WHERE names(data)"
            also = {row["job"] for row in db.execute(question)}
            rows += [r for n in also for r in db.execute("SELECT * FROM jobs WHERE number=?", [n])]
            for row in rows:
                if row["state"] == JobState.RUNNING:
                    remedy = f"Stop it first: portrait-lora jobs cancel {row['id']}"
                    raise InputError(
                        "a job of this person is running", where=place, got=row["id"], remedy=remedy
                    )
            numbers = {row["number"] for row in rows}
            db.executemany("DELETE FROM jobs WHERE number=?", [[n] for n in numbers])
        self.store.clean()  # without any, too: an earlier call may have been stopped before it
        return len(numbers)


def _require_sound(kind: str, folder: Path, arguments: Mapping[str, Any], priority: int, device: str) -> None:
    kinds.validated(kind, folder, arguments)
    _require_priority(priority)
    if device:
        require_device(device)
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:
        raise InputError("the folder's name is not text", where=folder, needed="UTF-8") from error


def require_device(name: str) -> str:
    """The name of a device, such as `auto`, `cpu` or `cuda:1`; `InputError` for what is none."""
    if not _DEVICE.match(name):
        raise InputError("not a device", where="device", got=name, needed="auto, cpu, mps, cuda or cuda:N")
    return name


def _require_priority(priority: int) -> None:
    low, high = PRIORITIES
    if not low <= priority <= high:
        raise InputError("not a priority", where="priority", got=priority, needed=f"{low} to {high}")


def _waiting(db: sqlite3.Connection, job_id: str) -> dict[str, Any]:
    row = row_of(db, job_id)
    if row["state"] != JobState.QUEUED:
        raise InputError("this job is not waiting", where=job_id, got=row["state"], needed=JobState.QUEUED)
    return row
