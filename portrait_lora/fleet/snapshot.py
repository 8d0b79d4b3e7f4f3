"""The files of one person as they stand at a moment, while somebody works on them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from portrait_lora import manifest, removal, replacing
from portrait_lora.errors import ArtifactError
from portrait_lora.fleet.listing import Entry
from portrait_lora.tasks.shard import files

_JOURNAL: Final = "reports/stages.json"
Seen = tuple[int, int, int]


class Digests:
    """Digests of files, counted again only for those whose size, time or inode changed."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Seen, Entry]] = {}

    def of(self, home: Path, name: str) -> Entry | None:
        """One file; None when it went away meanwhile."""
        try:
            before = (home / name).stat()
            seen = (before.st_size, before.st_mtime_ns, before.st_ino)
            known = self._known.get(name)
            if known is not None and known[0] == seen:
                return known[1]
            sha256 = manifest.sha256_file(home / name)
            after = (home / name).stat()
        except FileNotFoundError:
            return None
        if (after.st_size, after.st_mtime_ns, after.st_ino) != seen:
            return self.of(home, name)  # written to while it was read
        entry = Entry(sha256=sha256, size=before.st_size, mtime_ns=before.st_mtime_ns)
        self._known[name] = seen, entry
        return entry


def take(home: Path, person: str, digests: Digests) -> dict[str, Entry]:
    """Path relative to `home` -> file of everything a person has there.

    Journals are read before what they speak of, and a folder with a manifest counts whole or not at all: the
    state is one that a kill could have left, which every stage knows how to go on from.
    """
    folder, record = files.folder(home, person), files.record_file(home, person)
    first = [path for path in (record, folder / _JOURNAL) if path.is_file()]
    entries: dict[str, Entry] = {}
    for path in [*first, *(one for one in _below(folder) if one not in first)]:
        name = path.relative_to(home).as_posix()
        if (entry := digests.of(home, name)) is not None:
            entries[name] = entry
    for name in [one for one in entries if one.endswith(f"/{manifest.NAME}")]:
        _drop_broken(home, name, entries)
    return entries


def _below(folder: Path) -> Iterator[Path]:
    """The files of a folder by name; not what is just being written, nor links or locks."""
    for path in removal.files_below(folder):
        inner = path.relative_to(folder).parts
        passing = any(part.startswith(replacing.PREFIX) for part in inner)
        hidden = inner[-1].startswith(".") and inner[-1].endswith((".lock", ".part"))
        if not passing and not hidden and inner[-1] != replacing.UNFINISHED and not path.is_symlink():
            yield path


def _drop_broken(home: Path, name: str, entries: dict[str, Entry]) -> None:
    """Leave out a folder that was removed or replaced while it was looked at."""
    folder = Path(name).parent
    try:
        sealed = manifest.read(home / folder)
    except ArtifactError:
        sealed = None
    if sealed is None:
        entries.pop(name, None)
        return
    inside = {(folder / inner).as_posix(): sha256 for inner, sha256 in sealed.files.items()}
    if all(one in entries for one in inside):
        return
    for one in (name, *inside):
        entries.pop(one, None)


def unchanged(path: Path, entry: Entry) -> bool:
    """Whether a file is still the one that was looked at, as far as can be seen without reading it."""
    try:
        state = os.stat(path)
    except FileNotFoundError:
        return False
    return (state.st_size, state.st_mtime_ns) == (entry.size, entry.mtime_ns)
