"""The runner: takes jobs from the queue, one at a time per device, each done by a child process.

A runner that is killed loses nothing: its children notice, save their state and stop, and the next runner of
the home queues their jobs again.  A home has one runner per device.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from typing import Final

from portrait_lora import holding, log
from portrait_lora.errors import InputError, PortraitError
from portrait_lora.jobs import slots
from portrait_lora.jobs.queue import Queue, require_device
from portrait_lora.jobs.slots import GRACE_S, Slot, take

AUTO: Final = "auto"
"""The device that the settings of each likeness choose: one job at a time on this machine."""
ASIDE: Final = "aside"
"""Where jobs run that need no device."""
_POLL_S: Final = 0.1
_PAUSE_S: Final = 1.0
_LOOK_S: Final = 0.3
"""Between two tries to take over a device; also how long another runner's try is waited for."""
_log = log.get(__name__)


class Runner:
    """Does the jobs of a home, in a thread of its own."""

    def __init__(
        self,
        queue: Queue,
        devices: Sequence[str] = (AUTO,),
        *,
        grace_s: float = GRACE_S,
        command: Sequence[str] | None = None,
    ):
        """`devices` as in the settings: auto, cpu, mps, cuda, cuda:N.  Raises `InputError` for another."""
        self.queue, self._command = queue, tuple(command or slots.CHILD)
        names = [*dict.fromkeys(map(require_device, devices))]
        if not names or ASIDE in names:
            raise InputError("no devices", where="device", got=", ".join(names), needed="one or more")
        self.devices = tuple(names)
        self._slots = [Slot(queue, name, on_device=True, grace_s=grace_s) for name in names]
        self._slots.append(Slot(queue, ASIDE, on_device=False, grace_s=grace_s))
        self._mine: list[holding.Hold] = []
        self._thread: threading.Thread | None = None
        self._stopping, self._ended = threading.Event(), threading.Event()
        self._idle_rounds = 0
        self._left: set[str] = set()
        """Devices of runners that are gone, whose jobs were not queued again yet."""
        self._look_at = 0.0
        self.problem = ""
        """Why nothing goes on at the moment (the disk is full); empty when all is well."""

    def start(self) -> None:
        """Begin in a thread.  Raises `InputError` when another runner does the jobs of one of the devices."""
        for slot in self._slots:
            held = self._held(slot.device, patient=slot.on_device)
            if held is not None:
                self._mine.append(held)
            elif slot.on_device:
                self._let_go()
                raise InputError(
                    "another runner does the jobs of this device",
                    where=self.queue.home,
                    got=slot.device,
                    remedy="Stop it, or choose another device.",
                )
            else:  # the runner of another device does those as well
                self._slots = [one for one in self._slots if one is not slot]
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._thread.start()

    def _held(self, device: str, *, patient: bool) -> holding.Hold | None:
        """The lock of the runner; one that takes over what was left on this device holds it for a moment."""
        end = time.monotonic() + _LOOK_S
        while (held := take(self.queue.home, device, "runner")) is None:
            if not patient or time.monotonic() >= end:
                return None
            time.sleep(_LOOK_S / 10)
        return held

    def stop(self, seconds: float | None = None) -> bool:
        """Stop within a step of what runs, its state saved; whether all has ended after so many seconds.

        What has not ends by itself, and is queued again by the next runner as all of it is.
        """
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(seconds)
        return self._thread is None or not self._thread.is_alive()

    def run_forever(self, *, until_idle: bool = False) -> None:
        """Work until Ctrl-C, or `until_idle`: until nothing is left that could run here."""
        self.start()
        try:
            while not self._ended.wait(0.1):
                if until_idle and self._idle_rounds > 1:
                    break
        finally:
            self.stop()

    def _run(self) -> None:
        try:
            with contextlib.suppress(PortraitError):  # a full disk: the rounds say so
                self._left = self._unserved()
                self.queue.prune()
            while not (self._stopping.is_set() and all(slot.work is None for slot in self._slots)):
                try:
                    self._take_over()
                    busy = [self._round(slot) for slot in self._slots] + [bool(self._left)]
                    self._idle_rounds = 0 if any(busy) else self._idle_rounds + 1
                    self.problem, pause = "", _POLL_S
                except Exception as error:  # the disk may have room again, the file be free
                    if str(error) != self.problem:
                        _log.warning("jobs wait: %s", error)
                    self.problem, pause = str(error) or type(error).__name__, _PAUSE_S
                self._stopping.wait(pause) if not self._stopping.is_set() else time.sleep(pause)
        finally:
            self._let_go()
            self._ended.set()

    def _round(self, slot: Slot) -> bool:
        """Look after one device; whether it has something to do."""
        slot.look(stopping=self._stopping.is_set())
        if slot.work is not None or self._stopping.is_set():
            return slot.work is not None
        return not slot.lock() or slot.start(self._command)

    def _unserved(self) -> set[str]:
        """Devices of other runners that have jobs begun."""
        question = "SELECT DISTINCT ran_on FROM jobs WHERE state IN ('running', 'interrupted')"
        return {row["ran_on"] for row in self.queue.store.rows(question)} - {s.device for s in self._slots}

    def _take_over(self) -> None:
        """Queue again what was left on devices that nobody serves any more.

        A child of a runner that was killed holds its device until its state is saved: it is waited for.
        """
        if not self._left or time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _LOOK_S
        for device in sorted(self._left):
            runner = take(self.queue.home, device, "runner")
            if runner is None:  # it is served after all
                self._left.discard(device)
                continue
            with runner:
                slot = Slot(self.queue, device, on_device=True)
                if slot.lock():
                    self._left.discard(device)
                slot.unlock()

    def _let_go(self) -> None:
        for slot in self._slots:
            slot.unlock()
        for held in self._mine:
            held.release()
        self._mine = []
