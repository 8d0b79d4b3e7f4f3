"""What the child process of a worker does: its order from one pipe, what happens into another."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from portrait_lora import errors, log
from portrait_lora.errors import InputError, Interrupted, PortraitError
from portrait_lora.fleet.patience import StoreError
from portrait_lora.fleet.places import usual_scratch, work_at
from portrait_lora.fleet.store import Workplace
from portrait_lora.jobs.child import Stop
from portrait_lora.jobs.recorder import plain
from portrait_lora.results import Value
from portrait_lora.tasks.shard.records import PersonRecord

Said = Literal["started", "progress", "record", "refused", "ended", "lost"]
EVERY_S: Final = 0.5
_log = log.get(__name__)


class Order(Value):
    """What a worker is to do: `home` is a folder or the address of a store.

    `scratch` is where copies go, empty for the usual place; `lease_s` as in claims.py.
    """

    home: str
    scratch: str
    people: tuple[str, ...]
    worker: str
    device: str
    lease_s: float = 120.0


class Speaker:
    """Lines of JSON on a pipe that may be closed any time; a sink for `log.send_events`."""

    def __init__(self, descriptor: int, stop: Stop):
        self._descriptor, self._stop = descriptor, stop
        self._guard, self._latest = threading.Lock(), 0.0

    def say(self, kind: Said, **data: object) -> None:
        """One line; nobody listening is no failure, the other pipe says so."""
        line = json.dumps({"kind": kind, **data}) + "\n"
        with self._guard, suppress(OSError):
            rest = line.encode()
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def __call__(self, kind: Literal["progress", "log", "metric"], data: Mapping[str, object]) -> None:
        """Pass progress on, of a bar now and then; hear a wish to stop where a stage or a bar begins."""
        if kind != "progress":
            return
        begins = "stage" in data or data.get("done") == 0
        if begins or data.get("done") == data.get("total") or time.monotonic() - self._latest > EVERY_S:
            self._latest = time.monotonic()
            self.say("progress", progress=plain(data))
        if begins and self._stop.requested and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt


def main() -> int:
    """Do what the order says; the exit code."""
    stop, out = Stop(), _own_output()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:  # also where whoever started it has them ignored, or held back as Ray does
        signal.signal(number, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    with suppress(OSError):  # when memory runs out, the system is to end this process
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    speaker = Speaker(out, stop)
    try:
        order = Order.read(json.loads(_line(0)), "order")
        threading.Thread(target=stop.watch, args=(0,), name="stop", daemon=True).start()
        log.configure(quiet=True)
        log.send_events(speaker)
        code = _do(order, speaker, stop)
    except KeyboardInterrupt:
        code = _interrupted(speaker)
    return code


def _do(order: Order, speaker: Speaker, stop: Stop) -> int:
    place = Workplace(order.home, Path(order.scratch) if order.scratch else usual_scratch())
    speaker.say("started", worker=order.worker)
    try:
        work_at(
            place,
            order.people,
            worker=order.worker,
            device=order.device,
            lease_s=order.lease_s,
            on_change=lambda record: speaker.say("record", record=_small(record)),
        )
    except (Interrupted, KeyboardInterrupt):
        return _interrupted(speaker)
    except StoreError as error:  # the work is kept here, and the store lacks it
        return _failed(speaker, "lost", error)
    except InputError as error:  # the worker is not one for this fleet
        return _failed(speaker, "refused", error)
    except PortraitError as error:
        return _failed(speaker, "lost", error)
    except Exception as error:
        if stop.requested:  # torn out of a library that turned Ctrl-C into something else
            return _interrupted(speaker)
        if isinstance(error, OSError) and (refused := errors.of_system(error)) is not None:
            return _failed(speaker, "lost", refused)
        traceback.print_exc()
        return _failed(speaker, "lost", PortraitError(f"unexpected error ({type(error).__name__}: {error})"))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    speaker.say("ended")
    return errors.EXIT_DONE


def _interrupted(speaker: Speaker) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    speaker.say("ended", reason="stopped, with its state saved")
    return errors.EXIT_INTERRUPTED


def _failed(speaker: Speaker, kind: Said, error: PortraitError) -> int:
    speaker.say(kind, reason=error.message())
    return error.exit_code


def _small(record: PersonRecord) -> object:
    return record.model_dump(mode="json")


def _own_output() -> int:
    """The pipe for events, out of the way of whatever libraries print."""
    pipe = os.dup(1)
    os.dup2(2, 1)
    return pipe


def _line(descriptor: int) -> str:
    """The first line of a pipe, and not a byte of what follows."""
    line = bytearray()
    while (byte := os.read(descriptor, 1)) not in (b"\n", b""):
        line += byte
    return line.decode()
