"""A worker on a cluster: an actor that holds a device and lets one child process after another work on it.

The actor itself stays small and answers at once.  Heavy memory, threads and devices are the child's, and go
with it.  When the actor goes, because the head or the node's Ray did, the child reads the end of its pipe and
stops with its state saved.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any, Final

CHILD: Final = (sys.executable, "-P", "-m", "portrait_lora.fleet.child")
_TAIL: Final = 2000
_FINAL: Final = ("ended", "lost", "refused")
Event = tuple[int, dict[str, Any]]


class Worker:
    """Does one shard at a time.  Every method returns at once, but `poll`, which may wait a little."""

    def __init__(self, threads: int, command: Sequence[str] = CHILD):
        self._threads, self._command = threads, tuple(command)
        self._events: list[Event] = []
        self._number = 0
        self._news = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None

    def name(self) -> str:
        """Of the node and its device; of a worker on the processor the number of its process."""
        import ray

        address, device = ray.util.get_node_ip_address(), _visible()
        node = platform.node() if address.startswith("127.") else address
        return f"{node}/{f'cuda:{device}' if device else f'cpu:{os.getpid()}'}"

    def begin(self, order: dict[str, Any]) -> None:
        """Start the child that does a shard."""
        order = {**order, "worker": self.name(), "device": "cuda" if _visible() else "cpu"}
        errors = tempfile.TemporaryFile()  # noqa: SIM115  # read once the child has ended
        try:
            process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                start_new_session=True, env=self._environment(),
            )  # fmt: skip
            assert process.stdin is not None
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.flush()
        except OSError as error:
            self._add({"kind": "lost", "reason": f"its process could not be started: {error}"})
            return
        self._process = process
        threading.Thread(target=self._listen, args=(process, errors), daemon=True).start()

    def poll(self, after: int, wait_s: float) -> list[Event]:
        """Events with a number above `after`, oldest first; waits for the first of them at most so long."""
        with self._news:
            self._events = [event for event in self._events if event[0] > after]
            if not self._events:
                self._news.wait(wait_s)
            return list(self._events)

    def stop(self) -> None:
        """Ask the child to stop within a step."""
        process = self._process
        if process is not None and process.stdin is not None:
            with suppress(OSError, ValueError):
                process.stdin.write(b"c")
                process.stdin.flush()

    def _listen(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        """Turn the lines of a child into events; its end without a last word is an event too."""
        assert process.stdout is not None
        final = None
        for line in process.stdout:
            with suppress(ValueError):
                value = json.loads(line)
                if value.get("kind") in _FINAL:
                    final = value
                else:
                    self._add(value)
        code = process.wait()
        if code:
            with suppress(ProcessLookupError, PermissionError):  # what it had started itself keeps the device
                os.killpg(process.pid, signal.SIGKILL)
        self._process = None
        self._add(final or {"kind": "lost", "reason": _end(code, errors)})
        errors.close()

    def _add(self, value: dict[str, Any]) -> None:
        with self._news:
            self._number += 1
            if value.get("kind") == "progress":  # of several that nobody asked for the latest is enough
                self._events = [event for event in self._events if event[1].get("kind") != "progress"]
            self._events.append((self._number, value))
            self._news.notify_all()

    def _environment(self) -> dict[str, str]:
        own = {} if _visible() else {"CUDA_VISIBLE_DEVICES": ""}
        count = str(self._threads)
        return os.environ | own | {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count}


def _visible() -> str:
    """The GPU that Ray gives this worker; empty for none."""
    import ray

    return ",".join(str(number) for number in ray.get_gpu_ids())


def _end(code: int, errors: IO[bytes]) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(size - _TAIL, 0))
    tail = " ".join(errors.read().decode(errors="replace").split())[-500:]
    killed = code in (-signal.SIGKILL, 128 + signal.SIGKILL)
    what = "most likely for want of memory" if killed else tail or "without a word"
    return f"its process ended with exit code {code}: {what}"
