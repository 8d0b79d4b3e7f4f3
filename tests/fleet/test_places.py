"""A worker with a store: files come, checkpoints go as they are made, and of two only one works."""

from __future__ import annotations

import itertools
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from portrait_lora.errors import Interrupted
from portrait_lora.fleet import claims
from portrait_lora.fleet.patience import Patience, StoreError
from portrait_lora.fleet.places import work_at
from portrait_lora.fleet.store import Workplace
from portrait_lora.tasks.shard import files, plan
from portrait_lora.tasks.shard.records import PersonRecord, PersonState

_numbers = itertools.count()
QUICK = Patience((0.0, 0.0))
Work = Callable[..., tuple[PersonRecord, ...]]


@pytest.fixture
def head(tmp_path: Path) -> Workplace:
    place = Workplace(f"memory://places-{next(_numbers)}", tmp_path / "head", is_head=True, patience=QUICK)
    photos = files.folder(place.home, "ann") / "photos"
    photos.mkdir(parents=True)
    (photos / "1.jpg").write_text("one")
    plan.write(place.home, plan.FleetPlan(roster="r", roster_sha256="", people={"ann": ()}))
    place.deliver_plan()
    place.deliver("ann")
    return place


@pytest.fixture
def worker(head: Workplace, tmp_path: Path) -> Workplace:
    return Workplace(head.url, tmp_path / "scratch", patience=QUICK)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Work], None]]:
    """Puts something light in the place of the work of a shard."""

    def replace(function: Work) -> None:
        module: Any = ModuleType("portrait_lora.tasks.shard.work")
        module.work = function
        monkeypatch.setitem(sys.modules, module.__name__, module)

    yield replace


def done(home: Path, person: str) -> tuple[PersonRecord, ...]:
    record = PersonRecord(person=person, digest="d", state=PersonState.SUCCEEDED)
    files.write(home, record)
    return (record,)


def checkpoint(home: Path, step: int) -> None:
    folder = files.folder(home, "ann") / f"adapters/main/checkpoints/step-{step:06d}"
    folder.mkdir(parents=True)
    (folder / "adapter").write_text(str(step))
    (folder / "manifest.json").write_text('{"kind": "checkpoint", "inputs": {}, "files": {"adapter": "x"}}')


def steps(place: Workplace) -> list[int]:
    there = files.folder(place.home, "ann").glob("adapters/main/checkpoints/step-*/adapter")
    return sorted(int(path.read_text()) for path in there)


def test_nothing_stays_on_the_worker(
    head: Workplace, worker: Workplace, work: Callable[[Work], None]
) -> None:
    def whole(home: Path, people: Sequence[str], **_: object) -> tuple[PersonRecord, ...]:
        assert (files.folder(home, "ann") / "photos/1.jpg").read_text() == "one"
        assert home.stat().st_mode & 0o077 == 0
        checkpoint(home, 5)
        return done(home, people[0])

    work(whole)
    records = work_at(worker, ["ann"], worker="w")
    assert records[0].state is PersonState.SUCCEEDED
    head.fetch("ann")
    assert steps(head) == [5] and files.read(head.home, "ann") == records[0]
    left = [path for path in worker.home.rglob("*") if path.is_file() and "ann" in str(path)]
    assert not left and not head.objects.sizes("claims")


def test_checkpoints_go_as_they_come_and_the_next_worker_goes_on(
    head: Workplace, worker: Workplace, work: Callable[[Work], None], tmp_path: Path
) -> None:
    watching = Workplace(head.url, tmp_path / "watching", patience=QUICK)

    def killed(home: Path, people: Sequence[str], **_: object) -> tuple[PersonRecord, ...]:
        checkpoint(home, 5)
        deadline = time.monotonic() + 20
        while steps(watching) != [5]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
            watching.fetch("ann")
        raise MemoryError  # as good as gone: nothing of it is delivered after this

    work(killed)
    with pytest.raises(MemoryError):
        work_at(worker, ["ann"], worker="w", every_s=0.02)
    seen: list[list[int]] = []

    def goes_on(home: Path, people: Sequence[str], **_: object) -> tuple[PersonRecord, ...]:
        seen.append(steps(Workplace(str(home), home)))
        return done(home, "ann")

    work(goes_on)
    work_at(Workplace(head.url, tmp_path / "other", patience=QUICK), ["ann"], worker="v")
    assert seen == [[5]]


def test_a_store_that_refuses_at_the_end_keeps_the_work_here(
    head: Workplace, worker: Workplace, work: Callable[[Work], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = list[int]()

    def whole(home: Path, people: Sequence[str], **_: object) -> tuple[PersonRecord, ...]:
        calls.append(1)
        if not steps(worker):
            checkpoint(home, 7)
        return done(home, "ann")

    work(whole)
    with monkeypatch.context() as patch:

        def full(*_: object) -> bool:
            raise StoreError("the store has no more room for this fleet")

        patch.setattr(Workplace, "deliver", full)
        with pytest.raises(StoreError, match="no more room"):
            work_at(worker, ["ann"], worker="w")
    assert steps(worker) == [7] and not head.objects.sizes("claims")  # others may have the person
    work_at(worker, ["ann"], worker="w")
    head.fetch("ann")
    assert steps(head) == [7] and len(calls) == 2


def test_a_person_whom_another_has_is_left_alone(
    head: Workplace, worker: Workplace, work: Callable[[Work], None]
) -> None:
    work(lambda home, people, **_: pytest.fail("this worker has nobody"))
    held = claims.claim(head.objects, "ann", "other")
    assert held is not None
    over = threading.Event()

    def renew() -> None:
        while not over.wait(0.02):
            held.renew()

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        records = work_at(worker, ["ann"], worker="w", lease_s=4.0)
    finally:
        over.set()
        thread.join()
    assert records[0].state is PersonState.RUNNING and held.is_mine()


def test_one_who_was_taken_over_stops_and_delivers_nothing(
    head: Workplace, worker: Workplace, work: Callable[[Work], None]
) -> None:
    def cut_off(home: Path, people: Sequence[str], **_: object) -> tuple[PersonRecord, ...]:
        head.objects.write("claims/ann/000000000099.json", b'{"token": "another"}')
        checkpoint(home, 9)
        time.sleep(20)  # ended by the wish to stop
        return done(home, "ann")

    work(cut_off)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the background of a shell
    try:
        with pytest.raises(Interrupted, match="another worker"):
            work_at(worker, ["ann"], worker="w", lease_s=0.4, every_s=60)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    head.fetch("ann")
    assert steps(head) == [] and steps(worker) == []


def test_stopped_by_hand_everything_is_delivered(
    head: Workplace, worker: Workplace, work: Callable[[Work], None]
) -> None:
    def stopped(home: Path, people: Sequence[str], **_: object) -> tuple[PersonRecord, ...]:
        checkpoint(home, 3)
        raise Interrupted("stopped")

    work(stopped)
    with pytest.raises(Interrupted):
        work_at(worker, ["ann"], worker="w")
    head.fetch("ann")
    assert steps(head) == [3]


def test_one_who_is_forgotten_meanwhile_leaves_nothing(
    head: Workplace, worker: Workplace, work: Callable[[Work], None]
) -> None:
    def forgotten(home: Path, people: Sequence[str], **_: object) -> tuple[PersonRecord, ...]:
        checkpoint(home, 3)
        head.forget("ann")
        return done(home, "ann")

    work(forgotten)
    work_at(worker, ["ann"], worker="w", every_s=60)
    assert not list(worker.home.rglob("*ann*"))
    assert [name for name in head.objects.sizes("") if "ann" in name] == []
    work(lambda home, people, **_: pytest.fail("nobody is left"))
    work_at(worker, ["ann"], worker="w")
    assert [name for name in head.objects.sizes("") if "ann" in name] == []
