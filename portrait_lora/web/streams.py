"""Long answers at once: how many event streams and waiting requests one user may hold open."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from portrait_lora.web.problems import TooMany


class Held:
    """Counts what is open by user."""

    def __init__(self, most: int, what: str):
        self._most, self._what = most, what
        self._open: Counter[str] = Counter()
        self._lock = threading.Lock()

    def open(self, user: str) -> None:
        """Count one more.  Raises `TooMany`."""
        with self._lock:
            if self._open[user] >= self._most:
                error = TooMany(
                    f"too many {self._what} at once",
                    needed=f"{self._most} at most",
                    remedy="Close one first.",
                )
                error.retry_after_s = 1
                raise error
            self._open[user] += 1

    def close(self, user: str) -> None:
        """Count one less."""
        with self._lock:
            self._open[user] -= 1
            if self._open[user] <= 0:
                del self._open[user]

    @contextmanager
    def one(self, user: str) -> Iterator[None]:
        """One for the time of a block."""
        self.open(user)
        try:
            yield
        finally:
            self.close(user)
