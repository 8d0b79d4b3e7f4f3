"""Favourites: the portraits that somebody likes, kept in the studio's home, by name within their folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final, cast

from portrait_lora import manifest, strict_json
from portrait_lora.errors import ArtifactError, InputError

_FOLDER: Final = "favourites"
MOST: Final = 10_000


def read(home: Path, person_id: str) -> frozenset[str]:
    """File names relative to the likeness folder; none where the record is missing or damaged."""
    try:
        value = strict_json.load_object(_file(home, person_id), "favourites", file_names=True)
    except ArtifactError:
        return frozenset()
    names = value.get("favourites")
    return frozenset(map(str, cast(list[object], names))) if isinstance(names, list) else frozenset()


def mark(home: Path, person_id: str, file: str, liked: bool) -> frozenset[str]:
    """Add or take away one; the favourites afterwards.  Raises `InputError` beyond `MOST`."""
    manifest.make_folder(home / _FOLDER)
    path = _file(home, person_id)
    with manifest.locked(path):
        names = read(home, person_id)
        names = names | {file} if liked else names - {file}
        if len(names) > MOST:
            raise InputError("too many favourites", got=len(names), needed=f"at most {MOST}")
        manifest.write_json_atomic(path, {"version": 1, "favourites": sorted(names)})
    return names


def drop(home: Path, person_id: str) -> None:
    """Forget the favourites of a person who is forgotten."""
    for path in _files(home, person_id):
        path.unlink(missing_ok=True)


def _files(home: Path, person_id: str) -> Iterable[Path]:
    return (_file(home, person_id), home / _FOLDER / f".{person_id}.json.lock")


def _file(home: Path, person_id: str) -> Path:
    return home / _FOLDER / f"{person_id}.json"
