"""The work of a shard where its files are not: brought here, done, and taken back as it goes on."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from portrait_lora import log, manifest
from portrait_lora.errors import Interrupted, PortraitError
from portrait_lora.fleet import claims
from portrait_lora.fleet.claims import Claim, Renewing
from portrait_lora.fleet.patience import StoreError
from portrait_lora.fleet.store import Forgotten, Workplace
from portrait_lora.tasks.shard import files
from portrait_lora.tasks.shard.records import PersonRecord, PersonState

EVERY_S: Final = 15.0
"""How often a worker looks for a new checkpoint to upload."""
OnChange = Callable[[PersonRecord], None]
_log = log.get(__name__)


def usual_scratch() -> Path:
    """Where workers of this machine keep copies of people while they work on them: of this user alone."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "portrait_lora" / "fleet"


def work_at(
    place: Workplace,
    people: Sequence[str],
    *,
    worker: str,
    device: str = "auto",
    on_change: OnChange | None = None,
    lease_s: float = claims.LEASE_S,
    every_s: float = EVERY_S,
) -> tuple[PersonRecord, ...]:
    """`tasks.shard.work` at the place of this worker; a store gets checkpoints as they come.

    A person whom another worker has is left alone.  When the store refuses at the end, `StoreError` is
    raised and the work stays here: the next worker on this machine takes it there.  Raises what `work` does.
    """
    from portrait_lora.tasks.shard.work import work  # torch and everything

    if place.is_shared:
        return work(place.home, people, worker=worker, device=device, on_change=on_change)
    manifest.make_folder(place.home).chmod(0o700)
    place.fetch_plan()
    place.drop_strangers()
    with _stoppable(), _claimed(place, people, worker, lease_s) as held:
        mine = [person for person in people if person in held and _fetch(place, person)]
        with Renewing(list(held.values()), _stop, lease_s=lease_s) as renewing:
            try:
                ended = _work(place, mine, worker, device, on_change, every_s)
            except (Interrupted, KeyboardInterrupt):
                if not renewing.lost:
                    _deliver(place, mine)
                    raise
                for person in mine:
                    place.drop(person)
                raise Interrupted("another worker has taken over", where=place.url) from None
            _deliver(place, mine)
    for person in mine:
        place.drop(person)
    there = {record.person: record for record in ended}
    return tuple(there.get(p) or PersonRecord(person=p, digest="", state=PersonState.RUNNING) for p in people)


def _work(
    place: Workplace,
    people: Sequence[str],
    worker: str,
    device: str,
    on_change: OnChange | None,
    every_s: float,
) -> tuple[PersonRecord, ...]:
    from portrait_lora.tasks.shard.work import work

    if not people:
        return ()
    with Uploading(place, people, every_s=every_s) as uploading:

        def changed(record: PersonRecord) -> None:
            uploading.hurry()
            if on_change is not None:
                on_change(record)

        return work(place.home, people, worker=worker, device=device, on_change=changed)


@contextmanager
def _claimed(
    place: Workplace, people: Sequence[str], worker: str, lease_s: float
) -> Iterator[dict[str, Claim]]:
    held: dict[str, Claim] = {}
    try:
        for person in dict.fromkeys(people):
            one = claims.claim(place.objects, person, worker, lease_s=lease_s)
            if one is None:
                _log.info("%s: another worker works on this person", person)
            else:
                held[person] = one
        yield held
    finally:
        for one in held.values():
            try:
                one.release()
            except StoreError as error:  # it runs out by itself
                _log.warning("%s", error)


def _fetch(place: Workplace, person: str) -> bool:
    """Bring somebody's files; False, and nothing of them stays here, for one who was forgotten meanwhile."""
    try:
        place.fetch(person)
    except Forgotten as error:
        _log.info("%s", error)
        place.drop(person)
        return False
    return True


def _deliver(place: Workplace, people: Sequence[str]) -> None:
    """Take everybody's files to the store; all of them are tried before the first error is raised."""
    errors: list[PortraitError] = []
    for person in people:
        try:
            place.deliver(person)
        except Forgotten as error:
            _log.info("%s", error)
            place.drop(person)
        except PortraitError as error:
            errors.append(error)
    if errors:
        raise errors[0]


@contextmanager
def _stoppable() -> Iterator[None]:
    """`_stop` is heard even where whoever started this process had Ctrl-C ignored, as shells do with what
    they start in the background."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _stop() -> None:
    """Stop the work of this process as Ctrl-C does."""
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGINT)


class Uploading:
    """Takes what is new to the store while the work goes on, in a thread; a refusal is only a warning."""

    def __init__(self, place: Workplace, people: Sequence[str], *, every_s: float = EVERY_S):
        self._place, self._people, self._every_s = place, tuple(people), every_s
        self._over, self._due = threading.Event(), threading.Event()
        self._problem = ""
        self._seen: object = None
        self._thread = threading.Thread(target=self._run, name="uploads", daemon=True)

    def hurry(self) -> None:
        """Something was finished: look now."""
        self._due.set()

    def __enter__(self) -> Uploading:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._due.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            hurried = self._due.wait(self._every_s)
            self._due.clear()
            if self._over.is_set():
                return
            state = self._checkpoints()
            if hurried or state != self._seen:
                self._seen = state
                self._upload()

    def _upload(self) -> None:
        for person in self._people:
            if self._over.is_set():
                return
            try:
                self._place.deliver(person)
                self._problem = ""
            except PortraitError as error:
                if str(error) != self._problem:
                    _log.warning("%s", error)
                self._problem = str(error)

    def _checkpoints(self) -> object:
        """What is there of checkpoints, as far as can be seen without reading them."""
        folders = [files.folder(self._place.home, person) / "adapters" for person in self._people]
        return sorted(
            str(path) for folder in folders for path in folder.glob("*/checkpoints/step-*/manifest.json")
        )
