"""How often a client may ask: a bucket of tokens for each, refilled steadily."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Final

from portrait_lora.web.problems import TooMany

_MOST_CLIENTS: Final = 10_000


class Rate:
    """`at_once` requests, then `per_s` of them in a second, for each client."""

    def __init__(self, per_s: float, at_once: int, clock: Callable[[], float] = time.monotonic):
        self._per_s, self._at_once, self._clock = per_s, at_once, clock
        self._buckets: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, client: str) -> None:
        """Count one request.  Raises `TooMany`, which says when to come again."""
        now = self._clock()
        with self._lock:
            left, since = self._buckets.pop(client, (float(self._at_once), now))
            left = min(self._at_once, left + (now - since) * self._per_s)
            if len(self._buckets) >= _MOST_CLIENTS:  # the one that has been away longest
                self._buckets.pop(next(iter(self._buckets)))
            self._buckets[client] = (left - 1 if left >= 1 else left, now)
        if left < 1:
            error = TooMany("too many requests", remedy="Wait a moment, and try again.")
            error.retry_after_s = math.ceil((1 - left) / self._per_s)
            raise error

    def give_back(self, client: str) -> None:
        """What was counted last does not count: a sign-in that was right."""
        with self._lock:
            if client in self._buckets:
                left, since = self._buckets[client]
                self._buckets[client] = (min(self._at_once, left + 1), since)
