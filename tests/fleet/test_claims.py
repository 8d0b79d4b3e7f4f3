"""Claims: of several workers with one person one works, and a lost one is followed by another."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import pytest

from portrait_lora.fleet import claims
from portrait_lora.fleet.claims import Claim, Renewing, claim
from portrait_lora.fleet.objects import Objects
from portrait_lora.fleet.patience import Patience, StoreError

_numbers = itertools.count()


@pytest.fixture
def objects() -> Objects:
    return Objects(f"memory://claims-{next(_numbers)}", Patience((0.0,)))


class Clock:
    """A worker's own clock; `meanwhile` happens at each pause."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None, start: float = 0.0):
        self.now_s, self.meanwhile = start, meanwhile

    def now(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.meanwhile()


def hold(objects: Objects, worker: str, clock: Clock | None = None) -> Claim | None:
    clock = clock or Clock()
    return claim(objects, "ann", worker, lease_s=80.0, now=clock.now, sleep=clock.sleep)


def test_one_of_two_works(objects: Objects) -> None:
    first = hold(objects, "one")
    assert first is not None
    clock = Clock(meanwhile=first.renew)
    assert hold(objects, "two", clock) is None
    assert clock.now_s < 80.0  # it need not wait for the whole lease
    first.release()
    assert hold(objects, "two") is not None


def test_at_the_same_moment_one_works(objects: Objects) -> None:
    barrier, held = threading.Barrier(8), list[Claim | None]()

    def worker(number: int) -> None:
        barrier.wait()
        held.append(hold(objects, str(number), Clock(meanwhile=renew)))

    def renew() -> None:
        for one in [one for one in held if one is not None]:
            one.renew()

    threads = [threading.Thread(target=worker, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one is not None for one in held) == 1


def test_a_lost_worker_is_followed_and_steps_back_when_it_returns(objects: Objects) -> None:
    lost = hold(objects, "lost")
    clock = Clock(start=-1e9)  # whatever its clock says
    following = hold(objects, "following", clock)
    assert lost is not None and following is not None and clock.now_s >= -1e9 + 80.0
    assert not lost.renew() and not lost.is_mine()
    lost.release()  # it is another's by now
    assert following.renew()
    following.release()
    assert not lost.renew()  # also when that one is through
    assert not objects.sizes("claims")


def test_numbers_may_begin_again(objects: Objects) -> None:
    before = hold(objects, "before")
    objects.wipe(claims.FOLDER)
    after = hold(objects, "after")
    assert before is not None and after is not None and not before.renew()
    before.release()
    assert after.renew()


def test_two_that_wait_for_a_lost_one(objects: Objects) -> None:
    hold(objects, "lost")
    others: list[Claim | None] = []

    def second_takes_over() -> None:
        if clock.now_s >= 80.0 and not others:
            others.append(hold(objects, "second"))

    clock = Clock(meanwhile=second_takes_over)
    assert hold(objects, "first", clock) is None
    assert others[0] is not None and others[0].is_mine()


def test_the_worker_hears_that_it_lost_a_person(objects: Objects) -> None:
    mine = hold(objects, "mine")
    assert mine is not None
    lost = threading.Event()
    with Renewing([mine], lost.set, lease_s=0.08) as renewing:
        assert not lost.wait(0.1)
        objects.wipe(claims.FOLDER)  # the person is forgotten
        assert lost.wait(10)
    assert renewing.lost


def test_a_store_that_is_away_for_a_while_loses_nobody(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = hold(objects, "mine")
    assert mine is not None
    away, back = threading.Event(), threading.Event()

    def is_mine(one: Claim) -> bool:
        if not away.is_set():
            away.set()
            raise StoreError("the store does not answer")
        back.set()
        return True

    monkeypatch.setattr(Claim, "is_mine", is_mine)
    with Renewing([mine], lambda: None, lease_s=0.08) as renewing:
        assert away.wait(10) and back.wait(10)
    assert not renewing.lost
