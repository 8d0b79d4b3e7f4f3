"""A lock against two runs at once in one folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from portrait_lora import manifest
from portrait_lora.errors import InputError


@contextmanager
def only_run(folder: Path, holder: bool = True) -> Iterator[None]:
    """Lock the folder for this process; the system releases it when the process dies.

    Reentrant in the same thread.  Of several processes of one run only one is the `holder`.  Raises
    `InputError` when another run has locked it.
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
            remedy="Wait until it ends, or use another name for this one: -s run=NAME",
        ) from error
    try:
        yield
    finally:
        lock.release()
