"""How long trainings on the CPU use memory."""

from __future__ import annotations

import contextlib
import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
"""Of malloc.h."""


def keep_memory() -> None:
    """Tell glibc to reuse large blocks instead of returning them.

    On one thread a quarter less time for the small networks of the face pack, a twentieth for the base; on
    two threads the demo gained nothing, so the program itself does without.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            libc.mallopt(option, 2**31 - 1)
