"""The studio's small database beside the queue: idempotency keys, uploads, webhooks."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from portrait_lora import manifest
from portrait_lora.errors import system_errors

NAME: Final = "studio.sqlite"
_WAIT_SECONDS: Final = 20.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS idempotency (
  owner TEXT NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL, created REAL NOT NULL,
  status INTEGER, headers TEXT, body BLOB, PRIMARY KEY (owner, key)
);
CREATE TABLE IF NOT EXISTS uploads (
  id TEXT PRIMARY KEY, owner TEXT NOT NULL, person TEXT NOT NULL, name TEXT NOT NULL,
  size INTEGER NOT NULL, sha256 TEXT NOT NULL, created REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS webhooks (
  id TEXT PRIMARY KEY, owner TEXT NOT NULL, url TEXT NOT NULL, events TEXT NOT NULL, likeness TEXT NOT NULL,
  secret TEXT NOT NULL, created REAL NOT NULL, disabled TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS deliveries (
  id TEXT PRIMARY KEY, webhook TEXT NOT NULL, job TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL,
  created REAL NOT NULL, planned REAL NOT NULL, due REAL NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL,
  status INTEGER, error TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (state, due);
CREATE INDEX IF NOT EXISTS deliveries_of ON deliveries (webhook, created);
CREATE TABLE IF NOT EXISTS cursors (
  job TEXT PRIMARY KEY, number INTEGER NOT NULL, over INTEGER NOT NULL, at REAL NOT NULL
);
"""


class Store:
    """One connection per use, so that it is safe from any thread and process.  For its owner alone (0600)."""

    def __init__(self, home: Path):
        """Open the database in the folder `home`, and make it when it is not there."""
        self.home = home
        self.path = home / NAME
        manifest.make_folder(home)
        # only a new one: closing one in use would let go of SQLite's locks
        with system_errors(self.path), contextlib.suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        connection = self._open()
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(_SCHEMA)
        finally:
            connection.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for reading."""
        connection = self._open()
        try:
            yield connection
        finally:
            connection.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction that nobody else writes beside; an error inside undoes it."""
        connection = self._open()
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        finally:
            connection.close()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_WAIT_SECONDS, isolation_level=None)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection


def short_id(letter: str) -> str:
    """A letter and 16 random characters of base32, as ids of jobs are."""
    return letter + base64.b32encode(secrets.token_bytes(10)).decode().lower()
