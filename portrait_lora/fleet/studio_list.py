"""The list of people of a studio home, `HOME/studio.json`: so that the studio shows those of a fleet."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, cast

from portrait_lora import manifest, strict_json

FILE: Final = "studio.json"
VERSION: Final = 1
OWNER: Final = "owner"


def add(home: Path, names: Mapping[str, str]) -> None:
    """List those of `names` (folder name -> name) who are not yet, and rename who is called otherwise now."""
    rows = _rows(home)
    fields = {"owner": OWNER, "kind": "photographs", "created": round(time.time(), 3)}
    new = {person: fields | rows.get(person, {}) | {"name": name} for person, name in names.items()}
    if any(rows.get(person) != row for person, row in new.items()):
        _write(home, new, ())


def drop(home: Path, person: str) -> None:
    """Take a person off the list."""
    if person in _rows(home):
        _write(home, {}, (person,))


def _write(home: Path, new: Mapping[str, dict[str, object]], gone: Collection[str]) -> None:
    with manifest.locked(home / FILE):
        rows = {person: row for person, row in (_rows(home) | dict(new)).items() if person not in gone}
        manifest.write_json_atomic(home / FILE, {"version": VERSION, "people": rows})


def _rows(home: Path) -> dict[str, dict[str, object]]:
    if not (home / FILE).is_file():
        return {}
    value = strict_json.load_object(home / FILE, "list of people").get("people")
    return cast(dict[str, dict[str, object]], value) if isinstance(value, dict) else {}
