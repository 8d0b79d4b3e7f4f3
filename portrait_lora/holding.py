"""Who works in a folder: a lock on the folder itself, which the system lets go of when the process dies.

No lock file is left anywhere.  Runs share a folder; whoever removes what is in it holds it alone.  Where the
file system knows no such locks (some network drives, Windows), nobody is kept out.
"""

from __future__ import annotations

import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


class Hold:
    """A folder that is held until `release`, or until nothing refers to the hold any more."""

    def __init__(self, descriptor: int | None, *, is_locked: bool = False):
        self._descriptor = descriptor
        self.is_locked = is_locked
        """Whether the system keeps others out; False where it knows no such locks."""

    @property
    def descriptor(self) -> int | None:
        """The open file: a process that inherits it holds too.  None once it is released."""
        return self._descriptor

    def release(self) -> None:
        """Let go; doing it twice is fine."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __del__(self) -> None:
        self.release()


def hold(folder: Path, *, alone: bool) -> Hold | None:
    """Hold an existing folder (or file), at once or not at all; None when somebody else is in the way.

    Raises `OSError` when there is none.
    """
    if fcntl is None:
        return Hold(None)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:  # this file system has no locks
        return Hold(descriptor)
    return Hold(descriptor, is_locked=True)
