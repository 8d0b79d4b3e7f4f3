"""What a folder holds, to be compared byte for byte: files, folders, links and modes, without time stamps."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from portrait_lora import manifest

LEFT_OUT: Final[Mapping[str, frozenset[str]]] = {
    "stages.json": frozenset(["seconds", "seconds_per_portrait", "resumed_from"]),
    "run.json": frozenset(["seconds", "skipped", "peak_memory_mb"]),
    "forgotten.json": frozenset(["on", "resumed"]),
    "exports.json": frozenset(["id"]),
    "outside.json": frozenset(["id"]),
}
"""File -> keys whose values tell of time, of how often a run was interrupted, or the folder's random name."""
_OF_SERIES: Final = re.compile(r"(reports/)?series-[^/]*\.(json|html)")
"""Seconds by picture, and the page that shows their mean where it is known."""
_EACH: Final = re.compile(r" · \d+(\.\d+)? s each")


def contents(root: Path) -> dict[str, str]:
    """Relative path → kind, mode and digest of everything below `root` but empty lock files."""
    states: dict[str, str] = {}
    for path in sorted(root.rglob("*")):
        state = path.lstat()
        mode = stat.filemode(state.st_mode)
        if stat.S_ISLNK(state.st_mode):
            states[path.relative_to(root).as_posix()] = f"{mode} {os.readlink(path)}"
        elif stat.S_ISDIR(state.st_mode):
            states[path.relative_to(root).as_posix()] = mode
        elif path.suffix != ".lock" or state.st_size:
            states[path.relative_to(root).as_posix()] = f"{mode} {_digest(path)}"
    return states


def different(actual: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """The paths that only one of the two has, or that differ."""
    return sorted(n for n in {*actual, *expected} if actual.get(n) != expected.get(n))


def _digest(path: Path) -> str:
    if path.name in LEFT_OUT:
        return manifest.digest(_timeless(json.loads(path.read_bytes()), LEFT_OUT[path.name]))
    if _OF_SERIES.fullmatch(path.name):
        text = path.read_text(encoding="utf-8")
        return manifest.digest(sorted(json.loads(text)) if path.suffix == ".json" else _EACH.sub("", text))
    return manifest.sha256_file(path)


def _timeless(value: object, without: frozenset[str]) -> object:
    """A JSON value without these keys, and without the digests of files that tell of time."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if k not in without}
        return {k: "" if _OF_SERIES.fullmatch(k) else _timeless(v, without) for k, v in kept.items()}
    return [_timeless(v, without) for v in value] if isinstance(value, list) else value
