"""Installed packages: versions, damaged files, versions tested together."""

from __future__ import annotations

import csv
import os
import re
import stat
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Final

_PINNED: Final = re.compile(r"^([A-Za-z0-9_.-]+)==([^\s;#]+)")


def normalised(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return name.lower().replace("_", "-").replace(".", "-")


def versions() -> dict[str, str]:
    """Every distribution by its normalised name; of two with one name, the one that is imported."""
    by_name: dict[str, str] = {}
    for one in metadata.distributions():
        if one.name:
            by_name.setdefault(normalised(one.name), one.version)
    return by_name


def damaged(names: Iterable[str]) -> dict[str, str]:
    """Packages with an installed file that is missing or has another size: name → the first such file."""
    problems: dict[str, str] = {}
    for name in names:
        try:
            one = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # said elsewhere
        if wrong := _wrong_file(one):
            problems[normalised(name)] = wrong
    return problems


def _wrong_file(one: metadata.Distribution) -> str:
    """The first file that differs from its size in RECORD; compiled Python is regenerated and ignored."""
    root = str(one.locate_file(""))  # once, not for each of thousands of files
    for file, _, size in csv.reader((one.read_text("RECORD") or "").splitlines()):
        if not size or file.endswith(".pyc"):
            continue
        try:
            state = os.stat(os.path.join(root, file))
        except OSError:
            return file
        if not stat.S_ISREG(state.st_mode) or state.st_size != int(size):
            return file
    return ""


def tested() -> Mapping[str, str]:
    """The versions that were tested together, by normalised name; empty when the list is missing."""
    here = Path(__file__).resolve()
    for path in (here.parents[1] / "constraints.txt", here.parents[2] / "constraints.txt"):
        if path.is_file():
            pinned = map(_PINNED.match, path.read_text(encoding="utf-8").splitlines())
            return {normalised(m[1]): m[2] for m in pinned if m}
    return {}
