"""What a folder holds, to be compared byte for byte: files, folders, links and modes, without time stamps."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Final

from portrait_lora import manifest

TIMED: Final = frozenset(
    (
        "seconds", "seconds_per_portrait", "on", "date", "fetched", "peak_memory_mb",
        "resumed", "resumed_from", "skipped",
    )
)  # fmt: skip
"""Keys of JSON files whose values tell of time, or of how often a run was interrupted."""
RANDOM: Final = "id"
"""Key of the random name of a likeness folder, in `exports.json` and in the user's record of exports."""
_NAMED: Final = ("exports.json", "outside.json")


def contents(root: Path) -> dict[str, str]:
    """Relative path → kind, mode and digest of everything below `root` but empty lock files."""
    found: dict[str, str] = {}
    for path in sorted(root.rglob("*")):
        state = path.lstat()
        mode = stat.filemode(state.st_mode)
        if stat.S_ISLNK(state.st_mode):
            found[path.relative_to(root).as_posix()] = f"{mode} {os.readlink(path)}"
        elif stat.S_ISDIR(state.st_mode):
            found[path.relative_to(root).as_posix()] = mode
        elif path.suffix != ".lock" or state.st_size:
            found[path.relative_to(root).as_posix()] = f"{mode} {_digest(path)}"
    return found


def different(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    """The paths that only one of the two has, or that differ."""
    return sorted(n for n in {*found, *expected} if found.get(n) != expected.get(n))


def _digest(path: Path) -> str:
    if path.suffix == ".json":
        try:
            value: object = json.loads(path.read_bytes())
        except ValueError:
            return manifest.sha256_file(path)
        if re.fullmatch(r"series-.*\.json", path.name) and isinstance(value, dict):
            value = sorted(value)  # seconds by picture
        return manifest.digest(_timeless(value, TIMED | {RANDOM} if path.name in _NAMED else TIMED))
    if path.suffix == ".html":
        return manifest.digest(re.sub(r"\d+(\.\d+)? s\b", "", path.read_text(encoding="utf-8")))
    return manifest.sha256_file(path)


def _timeless(value: object, without: frozenset[str]) -> object:
    if isinstance(value, dict):
        return {k: _timeless(v, without) for k, v in value.items() if k not in without}
    return [_timeless(v, without) for v in value] if isinstance(value, list) else value
