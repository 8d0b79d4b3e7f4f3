"""Ctrl-C and SIGTERM as a request to stop: the step in progress is finished first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from portrait_lora import log

_log = log.get(__name__)


class Stop(Exception):
    """Raised in the loop, after a step, once a stop was requested."""


class StopRequest:
    """`requested` becomes true at the first signal; a second one interrupts at once."""

    def __init__(self) -> None:
        self.requested = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        _log.warning("%s: finishing this step, then saving", signal.Signals(number).name)


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Context that collects SIGINT and SIGTERM; outside the main thread it has no effect."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    old = {s: signal.signal(s, request) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
