"""The pictures of a likeness folder by id: an index of names, made anew when an id is not in it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from portrait_lora.pictures import formats
from portrait_lora.web import ids
from portrait_lora.web.problems import NotFound

_MOST_FILES: Final = 100_000
_MOST_DEPTH: Final = 8


class Index:
    """Ids of the pictures below one folder; links and hidden files are no pictures."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._names: dict[str, str] = {}
        self._lock = threading.Lock()

    def file(self, id: str, below: str = "") -> Path:
        """The picture of this id, in the subfolder `below` if stated.  Raises `NotFound`."""
        with self._lock:
            if not self._is_there(id):
                self._names = {ids.digest_id(name): name for name in _pictures(self._folder)}
            name = self._names.get(id)
        if name is None or not self._is_there(id) or not name.startswith(f"{below}/" if below else ""):
            raise NotFound("no such picture", where=id)
        return self._folder / name

    def _is_there(self, id: str) -> bool:
        name = self._names.get(id)
        if name is None:
            return False
        path, parts = self._folder, name.split("/")
        for part in parts:
            path = path / part
            if path.is_symlink():
                return False
        return path.is_file()


def _pictures(folder: Path) -> Iterator[str]:
    seen = 0
    waiting = [("", 0)]
    while waiting:
        name, depth = waiting.pop()
        try:
            entries = list(os.scandir(folder / name if name else folder))
        except OSError:
            continue
        for entry in entries:
            inner = f"{name}/{entry.name}" if name else entry.name
            if entry.name.startswith(".") or entry.is_symlink():
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting += [(inner, depth + 1)] if depth < _MOST_DEPTH else []
            elif Path(entry.name).suffix.lower() in formats.PICTURE_SUFFIXES or name == "photos":
                seen += 1
                yield inner
                if seen >= _MOST_FILES:
                    return
