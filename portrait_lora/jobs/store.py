"""The queue's file: one SQLite database per studio home, opened, checked and written in one place.

WAL, every commit synced: what was accepted survives a power cut, and readers never wait for a writer.
`secure_delete` overwrites what is removed, so that `forget` leaves no name behind.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from portrait_lora import manifest
from portrait_lora.errors import ArtifactError, InputError, PortraitError

FILE: Final = "jobs.sqlite"
VERSION: Final = 2
_APPLICATION: Final = 0x504C4A51  # "PLJQ": a database of something else is not written into
_WAIT_S: Final = 30.0
_SCHEMA: Final = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    folder TEXT NOT NULL,
    arguments TEXT NOT NULL,
    state TEXT NOT NULL,
    priority INTEGER NOT NULL,
    place INTEGER NOT NULL,
    device TEXT NOT NULL,
    on_device INTEGER NOT NULL,
    ran_on TEXT NOT NULL DEFAULT '',
    owner TEXT NOT NULL,
    key TEXT,
    body TEXT NOT NULL,
    created REAL NOT NULL,
    started REAL,
    ended REAL,
    attempts INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    pid INTEGER,
    exit_code INTEGER,
    result TEXT,
    error TEXT,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    progress TEXT,
    UNIQUE (owner, key)
);
CREATE INDEX jobs_in_line ON jobs (state, priority DESC, place);
CREATE INDEX jobs_by_folder ON jobs (folder);
CREATE TABLE events (
    job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    time REAL NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (job, number)
) WITHOUT ROWID;
"""
_SECOND: Final = """
ALTER TABLE jobs ADD COLUMN batch TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN threads INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN device_seconds REAL NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;
CREATE TABLE counter (changes INTEGER NOT NULL);
INSERT INTO counter VALUES (0);
CREATE INDEX jobs_by_change ON jobs (batch, changed);
CREATE INDEX jobs_by_batch ON jobs (batch, state);
CREATE TRIGGER job_added AFTER INSERT ON jobs BEGIN
    UPDATE counter SET changes=changes + 1;
    UPDATE jobs SET changed=(SELECT changes FROM counter) WHERE number=NEW.number;
END;
CREATE TRIGGER job_changed AFTER UPDATE ON jobs WHEN NEW.changed=OLD.changed BEGIN
    UPDATE counter SET changes=changes + 1;
    UPDATE jobs SET changed=(SELECT changes FROM counter) WHERE number=NEW.number;
END;
"""
"""What the second version added; `changed` counts up over all jobs, by triggers, so that no change can
forget it, and never again after a removal."""
_FRESH: Final = (
    "Move it away, with the files that begin like it: the jobs in it are lost, "
    "the likeness folders and what they hold are not."
)


class Store:
    """The database of one home.  Safe from several threads and processes, also after a fork.

    Raises `ArtifactError` for a file that is damaged or of a later version, `InputError` for one of another
    program, `PortraitError` for a full disk and for a database that others hold for too long.
    """

    def __init__(self, home: Path):
        self.path = home / FILE
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        manifest.make_folder(home)
        with self.reading() as db:
            version = _version(db, self.path)
        if version < VERSION:
            with self.writing() as db:
                _bring_up(db, _version(db, self.path))  # unless somebody else was quicker

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for questions."""
        with self._lock, _clear_errors(self.path):
            yield self._open()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The connection in a transaction that nobody else writes in; undone when the body raises."""
        with self._lock, _clear_errors(self.path):
            db = self._open()
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def rows(self, question: str, values: Sequence[object] = ()) -> list[dict[str, Any]]:
        """The answer to one question."""
        with self.reading() as db:
            return [dict(row) for row in db.execute(question, values)]

    def clean(self) -> None:
        """Leave nothing of removed rows, in the file or in its log.

        Raises `PortraitError` while another program reads and does not end.
        """
        with self._lock, _clear_errors(self.path):
            db = self._open()
            db.execute("VACUUM")
            busy = next(iter(db.execute("PRAGMA wal_checkpoint(TRUNCATE)")))[0]
            if busy:
                raise PortraitError("the queue is in use", where=self.path, remedy="Try again.")

    def close(self) -> None:
        """Close this process's connection; the next use opens another."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None or self._process != os.getpid():
            self._connection, self._process = _connect(self.path), os.getpid()
        elif not self.path.exists():
            raise ArtifactError("the queue was removed while it was in use", where=self.path)
        return self._connection


def _connect(path: Path) -> sqlite3.Connection:
    try:  # for its owner alone from the first byte on; the log beside it takes the same mode
        # only a new one: closing a file lets go of every lock that this process has on it, SQLite's too
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise InputError("the queue cannot be opened", where=path, got=error.strerror or error) from error
    db = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
    db.row_factory = sqlite3.Row
    try:
        for pragma in ("foreign_keys=ON", "secure_delete=ON"):
            db.execute(f"PRAGMA {pragma}")
        _use_log(db)
        db.execute("PRAGMA synchronous=FULL")
    except BaseException:
        db.close()
        raise
    return db


def _use_log(db: sqlite3.Connection) -> None:
    """Write-ahead logging; SQLite does not wait by itself for others who switch to it just now."""
    end = time.monotonic() + _WAIT_S
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            is_busy = str(getattr(error, "sqlite_errorname", "")).startswith("SQLITE_BUSY")
            if not is_busy or time.monotonic() > end:
                raise
            time.sleep(0.01)


def _version(db: sqlite3.Connection, path: Path) -> int:
    """Of the file; 0 for a new one.  Raises for one that is not ours, or from a later version."""
    # the tables first: somebody else may be making them, and what they write comes all at once
    tables = next(iter(db.execute("SELECT count(*) FROM sqlite_master")))[0]
    application = next(iter(db.execute("PRAGMA application_id")))[0]
    version = int(next(iter(db.execute("PRAGMA user_version")))[0])
    if not tables and not application:
        return 0
    if application != _APPLICATION:
        raise InputError("this is the database of another program", where=path, remedy=_FRESH)
    if version > VERSION:
        raise ArtifactError(
            "the queue was written by a later version of this program",
            where=path,
            got=f"version {version}",
            needed=f"version {VERSION}",
            remedy="Update portrait-lora, or use another home.",
        )
    return version


def _bring_up(db: sqlite3.Connection, version: int) -> None:
    """Make the tables, or those changes that came after `version`."""
    for script in (_SCHEMA, _SECOND)[version:]:
        statement = ""
        for line in script.splitlines(keepends=True):  # a trigger has semicolons within
            statement += line
            if sqlite3.complete_statement(statement):
                db.execute(statement)
                statement = ""
    db.execute(f"PRAGMA application_id={_APPLICATION}")
    db.execute(f"PRAGMA user_version={VERSION}")


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    """What SQLite refuses, in the words of this program."""
    try:
        yield
    except sqlite3.Error as error:
        name = str(getattr(error, "sqlite_errorname", ""))
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or "no such" in str(error):
            raise ArtifactError("the queue is damaged", where=path, got=error, remedy=_FRESH) from error
        if name.startswith("SQLITE_FULL") or "ENOSPC" in name:
            raise PortraitError("the disk is full", where=path, remedy="Make room.") from error
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
            needed = "a folder and a file that this user may write"
            raise InputError("the queue cannot be written", where=path, got=error, needed=needed) from error
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            remedy = "Try again; if it stays so, look for a program that has this file open."
            raise PortraitError("others hold the queue", where=path, got=error, remedy=remedy) from error
        raise PortraitError("the queue cannot be used", where=path, got=f"{name} {error}") from error
