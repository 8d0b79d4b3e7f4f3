"""Two runs at once in one folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from portrait_lora import manifest
from portrait_lora.errors import InputError


@contextmanager
def only_run(folder: Path, holder: bool = True) -> Iterator[None]:
    """Hold the folder for this process; the system lets go of it when the process dies.

    May be entered again by the thread that holds it.  Of several processes of one run only one is the
    `holder`.  Raises `InputError` when another run holds it.
    """
    if not holder:
        yield
        return
    manifest.make_folder(folder.parent)
    lock = FileLock(folder.parent.resolve() / f".{folder.name}.lock", mode=0o600, is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(
            "another run is training into this folder",
            where=folder,
            remedy="Wait until it ends, or name this one differently: -s run=NAME",
        ) from error
    try:
        yield
    finally:
        lock.release()
