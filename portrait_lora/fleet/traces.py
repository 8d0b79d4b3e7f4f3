"""Traces of a person in the home of a fleet: by what they are known, where they are, how they are removed.

Known again are the folder name as a whole word and the sha256 of photos that nobody else has; a name alone
may be a colleague's too.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from portrait_lora import manifest, removal

_MOST_BYTES: Final = 256 << 20
_DATABASES: Final = (".sqlite", ".sqlite3", ".db")
_FORGOTTEN: Final = b"forgotten"
_PEOPLE: Final = "people"


def pattern(person: str, digests: Iterable[str]) -> re.Pattern[bytes]:
    """Matches the folder name where it is one, and the digests."""
    whole = rb"(?<![A-Za-z0-9_-])" + re.escape(person.encode()) + rb"(?![A-Za-z0-9_-])"
    return re.compile(b"|".join([whole, *(digest.encode() for digest in sorted(digests))]))


def left(home: Path, person: str, digests: Iterable[str], besides: Iterable[Path] = ()) -> list[Path]:
    """The files below `home` that know a person, by their path or by what is in them.

    In the folders of others only digests count: their captions and portraits may have the same word, and
    names of a few letters come up in any picture by chance.
    """
    skipped, known = set(besides), pattern(person, digests)
    digest = re.compile(b"|".join(map(str.encode, sorted(digests))) or rb"(?!)")
    below = [p for p in removal.files_below(home) if p not in skipped and not p.is_symlink()]
    return [path for path in below if _is_of(home, path, known, digest)]


def _is_of(home: Path, path: Path, known: re.Pattern[bytes], digest: re.Pattern[bytes]) -> bool:
    inner = path.relative_to(home)
    if known.search(f"/{inner.as_posix()}".encode(errors="replace")):
        return True
    with path.open("rb") as stream:
        data = stream.read(_MOST_BYTES)
    return (digest if inner.parts[0] == _PEOPLE else known).search(data) is not None


def remove_named(home: Path, person: str) -> int:
    """Remove what bears the person's name in the folders of the home, such as `kept/<person>/`; how many."""
    count = 0
    names = re.compile(rf"\.?{re.escape(person)}(\.[^/]*)?")
    for folder in [p for p in home.iterdir() if p.is_dir() and not p.is_symlink()]:
        for path in [p for p in folder.iterdir() if names.fullmatch(p.name)]:
            removal.remove_whole(path, owner=home)
            count += 1
    return count


def blank_lines(path: Path, known: re.Pattern[bytes]) -> None:
    """Write a log without the person: that something was done stays, for whom does not."""
    data = path.read_bytes()
    blank = known.sub(_FORGOTTEN, data)
    if blank != data:
        manifest.write_bytes_atomic(path, blank)


def clean_database(path: Path, known: re.Pattern[bytes]) -> int:
    """Delete the rows of any table that match, and let nothing of them stay in the file; how many."""
    count = 0
    with contextlib.closing(sqlite3.connect(path, timeout=30.0)) as db:
        db.execute("PRAGMA secure_delete = ON")
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in [name for name in tables if not name.startswith("sqlite_")]:
            quoted = '"' + table.replace('"', '""') + '"'
            columns = [row[1] for row in db.execute(f"PRAGMA table_info({quoted})")]
            cells = [f"CAST({_name(column)} AS BLOB)" for column in columns]
            for row in db.execute(f"SELECT {', '.join(cells)} FROM {quoted}").fetchall():
                if any(known.search(b'"' + cell + b'"') for cell in row if cell is not None):
                    same = " AND ".join(f"{cell} IS ?" for cell in cells)
                    count += db.execute(f"DELETE FROM {quoted} WHERE {same}", row).rowcount
        db.commit()
        if count:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return count


def databases(home: Path) -> list[Path]:
    """The SQLite files directly in the home."""
    return sorted(p for p in home.iterdir() if p.suffix in _DATABASES and p.is_file())


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'
