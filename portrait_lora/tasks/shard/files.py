"""The files of a fleet's people: where they lie, who holds them, and their records."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from portrait_lora import holding, log, manifest, strict_json
from portrait_lora.errors import ArtifactError
from portrait_lora.tasks.shard.plan import require_person
from portrait_lora.tasks.shard.records import PersonRecord

PEOPLE: Final = "people"
SHARDS: Final = "shards"
LOCKS: Final = "locks"
_log = log.get(__name__)


def folder(home: Path, person: str) -> Path:
    """The likeness folder of a person."""
    return home / PEOPLE / require_person(person)


def record_file(home: Path, person: str) -> Path:
    """Where the record of a person lies."""
    return home / SHARDS / f"{require_person(person)}.json"


def lock_file(home: Path, person: str) -> Path:
    """What is held by whoever works on a person."""
    return home / LOCKS / f"{require_person(person)}.person"


def read(home: Path, person: str) -> PersonRecord | None:
    """The record of a person; None before anything happened.  Raises `ArtifactError` when it is damaged."""
    file = record_file(home, person)
    if not file.is_file():
        return None
    record = PersonRecord.read(strict_json.load_object(file, "record of a person"), file)
    if record.person != person:
        raise ArtifactError("the record is of somebody else", where=file, got=record.person, needed=person)
    return record


def records(home: Path) -> dict[str, PersonRecord]:
    """Person -> record of everybody who has one, by name; a damaged one counts as none, with a warning."""
    people = sorted(path.stem for path in (home / SHARDS).glob("*.json"))
    return {person: record for person in people if (record := sound(home, person)) is not None}


def sound(home: Path, person: str) -> PersonRecord | None:
    """The record of a person, None for one that is damaged: what is done is known by their folder."""
    try:
        return read(home, person)
    except ArtifactError as error:
        _log.warning("%s", error)
        return None


def write(home: Path, record: PersonRecord) -> None:
    """Write a record, whole or not at all; only for who holds the person."""
    manifest.write_json_atomic(record_file(home, record.person), record.model_dump(mode="json"))


def hold(home: Path, person: str) -> holding.Hold | None:
    """Hold a person until the hold is released or the process ends; None while somebody else does.

    Where the file system knows no locks, nobody is kept out (`Hold.is_locked`).
    """
    file = lock_file(home, person)
    manifest.make_folder(file.parent)
    os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    return holding.hold(file, alone=True)


def forget(home: Path, person: str) -> None:
    """Remove record and lock of a person.  Only for who holds them; nothing there is fine."""
    for file in (record_file(home, person), lock_file(home, person)):
        file.unlink(missing_ok=True)
