"""A piece of work in a forked child, which can be killed as by `kill -9` at a chosen moment."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

Work = Callable[[], int]
LIMIT_S: Final = 900.0
_MUTATIONS: Final = frozenset(
    ["os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"]
)
_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True, slots=True)
class Kill:
    """Before the `event`-th change of a file and `delay_s` later, or `after_s` from the start.

    Work that changes fewer files is killed when it is through and its process has yet to end.
    """

    event: int | None = None
    delay_s: float = 0.0
    after_s: float | None = None


class _Hook:
    """Counts the changes of files below `root`, and kills this process at the one that was chosen."""

    def __init__(self, root: Path, kill: Kill | None) -> None:
        self.root, self.kill, self.events = str(root), kill, 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.root and _changes(event, arguments, self.root):
            self.events += 1
            if self.kill is not None and self.events == self.kill.event:
                if self.kill.delay_s:  # SIGALRM's own action ends the process as abruptly
                    signal.signal(signal.SIGALRM, signal.SIG_DFL)
                    signal.setitimer(signal.ITIMER_REAL, self.kill.delay_s)
                else:
                    os.kill(os.getpid(), signal.SIGKILL)


def _changes(event: str, arguments: tuple[Any, ...], root: str) -> bool:
    if event == "open":
        flags = arguments[2] if isinstance(arguments[2], int) else 0
        if not flags & _WRITES:
            return False
    elif event not in _MUTATIONS:
        return False
    path = arguments[0]
    return isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(root)


def in_child(work: Work, root: Path, kill: Kill | None = None) -> tuple[int | None, int]:
    """Exit code of the work in a forked child (None when it was killed), and its changes below `root`.

    Raises `RuntimeError` for a child that hangs.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        _be_child(work, _Hook(root, kill), write)
    os.close(write)
    status = _wait(child, kill)
    with os.fdopen(read, "rb") as pipe:
        events = int(pipe.read() or 0)
    return (None if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)), events


def _be_child(work: Work, hook: _Hook, write: int) -> None:
    """Do the work and end this process."""
    code = 70
    try:
        _quiet()
        sys.addaudithook(hook)
        code = work()
    finally:
        hook.root = ""
        kill = hook.kill
        if kill is not None and kill.event is not None and kill.event > hook.events:
            os.kill(os.getpid(), signal.SIGKILL)
        os.write(write, str(hook.events).encode())
        os._exit(code)


def _wait(child: int, kill: Kill | None) -> int:
    started = time.monotonic()
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        spent = time.monotonic() - started
        if kill is not None and kill.after_s is not None and spent >= kill.after_s:
            os.kill(child, signal.SIGKILL)
            return os.waitpid(child, 0)[1]
        if spent > LIMIT_S:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise RuntimeError(f"a child hangs after {kill}")
        time.sleep(0.002)


def _quiet() -> None:
    """What the child prints goes nowhere; its complaints too, unless they are asked for."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    if "KILL_ANYWHERE_VERBOSE" not in os.environ:
        os.dup2(nowhere, 2)
