"""Linear algebra on one thread, for the many small products of a search.

On a busy machine the threads of a BLAS wait for each other longer than they compute: looking for a mark in a
picture of 1,024 px took 13 to 29 s of processor time instead of 0.7.  One thread also adds in one order, so
that a picture is marked with the same bytes however many there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock
from typing import Any, Final

from threadpoolctl import ThreadpoolController

_LOCK: Final = Lock()
_INSIDE: Final[list[Any]] = []
"""The limits now in force, the outermost first; only its end restores the number of threads."""


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    """The libraries that are loaded; to look for them takes longer than marking a picture."""
    return ThreadpoolController()


@contextmanager
def one_thread() -> Iterator[None]:
    """While any thread of this process is inside, BLAS uses one; then as many as before the first."""
    with _LOCK:
        _INSIDE.append(None if _INSIDE else _controller().limit(limits=1, user_api="blas"))
    try:
        yield
    finally:
        with _LOCK:
            limit = _INSIDE[0]
            _INSIDE.pop()
            if not _INSIDE:
                limit.restore_original_limits()
