"""Checks of path arguments, made before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from portrait_lora.errors import InputError


def need_file(path: Path | None, what: str, needed: str = "") -> None:
    """Raise `InputError` when `path` is not an existing file; None is accepted."""
    if path is not None and not path.is_file():
        got = "a folder" if path.is_dir() else ""
        raise InputError(f"no such {what}", where=path, got=got, needed=needed)


def need_files(paths: Iterable[Path], what: str) -> None:
    """Raise `InputError` for the first path that is not an existing file."""
    for path in paths:
        need_file(path, what)


def need_folder(path: Path | None, what: str, needed: str = "") -> None:
    """Raise `InputError` when `path` is not an existing folder; None is accepted."""
    if path is not None and not path.is_dir():
        got = "a file" if path.exists() else "no such folder"
        raise InputError(f"no {what}", where=path, got=got, needed=needed)


def need_likeness(folder: Path) -> None:
    """Raise `InputError` when `folder` is not a likeness folder, with the command that creates one."""
    from portrait_lora.likeness import require_photos

    require_photos(folder)
