"""A piece of work in a child process that is killed, as by `kill -9`, at its n-th change on disk."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Whether the work was killed; it comes to its end when it changes less than `step` times."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    left = step

    def deadly(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    try:
        for name in ("replace", "rename", "link", "unlink", "rmdir", "mkdir"):
            setattr(os, name, deadly(getattr(os, name)))
        work()
    finally:
        os._exit(0)
