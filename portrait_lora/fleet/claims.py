"""Who works on a person, where no lock of a file system reaches: claims in the store, renewed as they work.

A claim has a number, and a number is written by one worker only.  Whoever holds a person renews the claim; a
worker that finds one which is not renewed for as long as `LEASE_S`, by its own clock, writes the next number
and so takes the person over.  The time of day plays no part, so a clock that is wrong does no harm.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from typing import Final

from portrait_lora import log
from portrait_lora.errors import PortraitError
from portrait_lora.fleet.objects import Numbered, Objects

FOLDER: Final = "claims"
LEASE_S: Final = 120.0
_LOOKS: Final = 8
"""How often a lease a worker renews its claim, and another looks whether it did."""
_log = log.get(__name__)


class Claim:
    """A person who is held by this worker until `release`, or until another took over."""

    def __init__(self, numbered: Numbered, number: int, worker: str, token: str):
        self._numbered, self._number, self._worker, self._token = numbered, number, worker, token
        self._beats = 0

    def renew(self) -> bool:
        """Say that the work goes on; False when another worker has taken over, or forgot the person."""
        if not self.is_mine():
            return False
        self._beats += 1
        self._numbered.put(self._number, self._value())
        return True

    def is_mine(self) -> bool:
        """Whether no other worker has taken over."""
        latest = self._numbered.latest()
        return latest is not None and latest[0] == self._number and latest[1].get("token") == self._token

    def release(self) -> None:
        """Let others have the person."""
        if self.is_mine():
            self._numbered.prune(self._number + 1)

    def _value(self) -> dict[str, object]:
        return {"worker": self._worker, "token": self._token, "beats": self._beats}


def claim(
    objects: Objects,
    person: str,
    worker: str,
    *,
    lease_s: float = LEASE_S,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Claim | None:
    """Hold a person; None while another worker does.

    Whether one that holds it still works is seen from its claim, which takes up to `lease_s`.
    """
    numbered, token = Numbered(objects, f"{FOLDER}/{person}"), secrets.token_hex(16)
    number, value, began = 0, {}, now()
    while True:
        latest = numbered.latest()
        if latest is not None and not value:
            number, value = latest
            _log.info("%s: is %s still at work on this person?", person, value.get("worker"))
        elif latest is not None and (latest[0] != number or latest[1] != value):
            return None
        if latest is None or now() - began >= lease_s:
            following = number + 1
            mine = Claim(numbered, following, worker, token)
            if numbered.add(following, mine._value()):  # pyright: ignore[reportPrivateUsage]
                return mine if mine.is_mine() else None
            return None
        sleep(lease_s / _LOOKS)


class Renewing:
    """Renews claims in a thread; `on_lost` is called once when one of them is another's."""

    def __init__(self, claims: list[Claim], on_lost: Callable[[], None], *, lease_s: float = LEASE_S):
        self._claims, self._on_lost, self._every_s = claims, on_lost, lease_s / _LOOKS
        self._over = threading.Event()
        self.lost = False
        self._thread = threading.Thread(target=self._run, name="claims", daemon=True)
        self._thread.start()

    def __enter__(self) -> Renewing:
        return self

    def __exit__(self, *_: object) -> None:
        """End; the claims stay held."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            try:
                if all(one.renew() for one in self._claims):
                    continue
            except PortraitError as error:  # the store may answer the next time
                _log.warning("%s", error)
                continue
            self.lost = True
            self._on_lost()
            return
