"""A file beside the one that it is to become: whole before it takes that name.

Such a part is called `.NAME.XXXXXXXX.part` and is held while its writer lives.  What a killed writer left
goes when the same file is written again; the part of another writer who is still at work stays.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from portrait_lora import holding

_END: Final = ".part"
_MOST_OF_NAME: Final = 60


@contextmanager
def written(path: Path, data: bytes, mode: int) -> Iterator[Path]:
    """Yield a whole part for `path`, synced and of this mode: to be moved to its place.

    What is left of it at the end is removed.
    """
    sweep(path)
    descriptor, part, held = _begun(path)
    with held:
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(part, mode)
            yield part
        finally:
            part.unlink(missing_ok=True)  # our own, of a moment ago


def _begin(path: Path) -> str:
    return f".{path.name[:_MOST_OF_NAME]}."


def _begun(path: Path) -> tuple[int, Path, holding.Hold]:
    while True:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=_begin(path), suffix=_END)
        with suppress(FileNotFoundError):
            held = holding.hold(Path(name), alone=True)
            if held is not None and Path(name).exists():
                return descriptor, Path(name), held
        os.close(descriptor)  # between its making and its holding another writer took it for a leftover


def sweep(path: Path) -> None:
    """Remove parts of `path` whose writers were killed, as `written` does first.

    Where the system knows no locks nobody can tell, and they stay.
    """
    known = re.compile(rf"{re.escape(_begin(path))}[^.]{{8}}{re.escape(_END)}")
    with os.scandir(path.parent) as entries:
        leftovers = [e.path for e in entries if known.fullmatch(e.name) and e.is_file(follow_symlinks=False)]
    for name in leftovers:
        with suppress(OSError):  # gone by now, or not ours to open
            held = holding.hold(Path(name), alone=True)
            if held is None:
                continue
            with held:
                if held.is_locked:
                    os.unlink(name)
