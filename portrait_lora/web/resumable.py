"""Files that come in pieces: begun with size and sha256, added to at an offset, whole only when both fit.

A page that was closed or a line that broke loses nothing: ask the upload for its offset, and go on there.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from portrait_lora import manifest
from portrait_lora.errors import InputError, system_errors
from portrait_lora.pictures.reader import MAX_FILE_BYTES
from portrait_lora.web.problems import Conflict, NotFound, TooLarge
from portrait_lora.web.store import Store, short_id

MAX_CHUNK: Final = 16 * 1024 * 1024
MAX_OPEN: Final = 100
_KEPT_SECONDS: Final = 86_400.0
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class WrongOffset(Conflict):
    """A piece that does not begin where the last one ended; `offset` is where that is."""

    def __init__(self, offset: int, got: int):
        self.offset = offset
        super().__init__(
            "this piece does not follow the last one", where="Upload-Offset", got=got, needed=str(offset),
            remedy="Go on from the offset that a GET of this upload shows.",
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Upload:
    """`offset` bytes of `size` are here; `created` in epoch seconds."""

    id: str
    owner: str
    person: str
    name: str
    size: int
    sha256: str
    created: float
    offset: int = 0


class Uploads:
    """The unfinished files of a studio, in `HOME/uploads`."""

    def __init__(self, store: Store):
        self._store, self._folder = store, store.home / "uploads"

    def begin(self, owner: str, person: str, name: str, size: int, sha256: str) -> Upload:
        """A new upload.  Raises `TooLarge`, and `InputError` for a wrong digest or too many at once."""
        if not 0 < size <= MAX_FILE_BYTES:
            raise TooLarge(
                "the file is too large" if size > 0 else "the file is empty",
                where="size", got=f"{size} bytes", needed=f"1 to {MAX_FILE_BYTES} bytes",
                remedy="Save a smaller JPEG of it." if size > 0 else "",
            )  # fmt: skip
        if not _SHA256.fullmatch(sha256):
            raise InputError("not a sha256", where="sha256", got=sha256[:80], needed="64 hex digits")
        now = time.time()
        self._sweep(now)
        upload = Upload(short_id("u"), owner, person, name, size, sha256, now)
        with self._store.writing() as db:
            count = db.execute("SELECT count(*) FROM uploads WHERE owner = ?", (owner,)).fetchone()[0]
            if count >= MAX_OPEN:
                raise InputError(
                    "too many unfinished uploads", got=count, needed=f"{MAX_OPEN} at most",
                    remedy="Finish or remove some; they end by themselves after a day.",
                )  # fmt: skip
            db.execute(
                "INSERT INTO uploads (id, owner, person, name, size, sha256, created)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (upload.id, owner, person, name, size, sha256, now),
            )
        manifest.make_folder(self._path(upload.id).parent)
        self._path(upload.id).touch(mode=0o600)
        return upload

    def get(self, owner: str, person: str, upload_id: str) -> Upload:
        """Raises `NotFound` for none, and for another user's or person's."""
        with self._store.reading() as db:
            row = db.execute(
                "SELECT * FROM uploads WHERE id = ? AND owner = ? AND person = ?", (upload_id, owner, person)
            ).fetchone()
        if row is None:
            raise NotFound("no such upload", where=upload_id, remedy="Begin a new one.")
        return self._upload(row)

    def list(self, owner: str, person: str) -> list[Upload]:
        """The unfinished uploads of a person, oldest first."""
        with self._store.reading() as db:
            rows = db.execute(
                "SELECT * FROM uploads WHERE owner = ? AND person = ? ORDER BY created, id", (owner, person)
            ).fetchall()
        return [self._upload(row) for row in rows]

    def add(self, upload: Upload, offset: int, data: bytes) -> Upload:
        """Write a piece behind the last one.  Raises `WrongOffset`, or `TooLarge`, and writes nothing then.

        A piece that is there already with these very bytes, whose answer was lost, is fine.
        """
        path = self._path(upload.id)
        with manifest.locked(path), system_errors(path):
            there = path.stat().st_size if path.is_file() else 0
            if offset + len(data) > upload.size:
                raise TooLarge(
                    "more than was announced", where=upload.id,
                    got=f"{offset + len(data)} bytes", needed=f"{upload.size} bytes",
                )  # fmt: skip
            if offset != there:
                if offset + len(data) <= there and _read(path, offset, len(data)) == data:
                    return self.get(upload.owner, upload.person, upload.id)
                raise WrongOffset(there, offset)
            with path.open("ab") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        return self.get(upload.owner, upload.person, upload.id)

    def whole(self, upload: Upload) -> Path:
        """The file, once all of it is here.  Raises `InputError` when bytes are missing or others came."""
        path = self._path(upload.id)
        if upload.offset != upload.size:
            raise WrongOffset(upload.offset, upload.size)
        h = hashlib.sha256()
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                h.update(block)
        if h.hexdigest() != upload.sha256:
            raise InputError(
                "the file arrived damaged", where=upload.name, got=h.hexdigest(), needed=upload.sha256,
                remedy="Remove this upload and begin a new one.",
            )  # fmt: skip
        return path

    def remove(self, upload: Upload) -> None:
        """The upload and what came of it."""
        with self._store.writing() as db:
            db.execute("DELETE FROM uploads WHERE id = ?", (upload.id,))
        shutil.rmtree(self._path(upload.id).parent, ignore_errors=True)

    def forget(self, person: str) -> None:
        """Everything unfinished of a person, whoever began it."""
        with self._store.reading() as db:
            rows = db.execute("SELECT * FROM uploads WHERE person = ?", (person,)).fetchall()
        for row in rows:
            self.remove(self._upload(row))

    def _sweep(self, now: float) -> None:
        """Uploads of yesterday end."""
        with self._store.reading() as db:
            rows = db.execute("SELECT * FROM uploads WHERE created < ?", (now - _KEPT_SECONDS,)).fetchall()
        for row in rows:
            self.remove(self._upload(row))

    def _upload(self, row: sqlite3.Row) -> Upload:
        path = self._path(row["id"])
        offset = path.stat().st_size if path.is_file() else 0
        return Upload(
            row["id"], row["owner"], row["person"], row["name"], row["size"], row["sha256"], row["created"],
            offset,
        )  # fmt: skip

    def _path(self, upload_id: str) -> Path:
        return self._folder / upload_id / "data"


def _read(path: Path, offset: int, count: int) -> bytes:
    with path.open("rb") as stream:
        stream.seek(offset)
        return stream.read(count)
