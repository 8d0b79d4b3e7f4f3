"""The schedule, driven by invented workers: whatever happens, nobody is lost, placed twice or left idle."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portrait_lora.fleet.schedule import FIRST_PAUSE_S, MOST_TROUBLE, Schedule, Standing
from portrait_lora.tasks.shard.records import PersonState, Shard

WAITING, SUCCEEDED, SET_ASIDE = PersonState.WAITING, PersonState.SUCCEEDED, PersonState.SET_ASIDE


def shards(**weights: float) -> list[Shard]:
    return [Shard(people=(name,), weight=weight) for name, weight in weights.items()]


def names(placed: list[Shard]) -> list[str]:
    return [shard.name for shard in placed]


def failed(starts: int = 1) -> Standing:
    return Standing(WAITING, starts, failures=1)


def test_the_longest_first_and_no_more_than_are_free() -> None:
    schedule = Schedule(shards(a=1, b=3, c=2))
    assert names(schedule.due(2, 0)) == ["b", "c"] and schedule.waiting == 1
    assert schedule.due(0, 0) == [] and names(schedule.due(5, 0)) == ["a"] and schedule.due(5, 0) == []
    schedule.ended("b", {"b": Standing(SUCCEEDED, 1)}, 1)
    assert len(schedule.running) == 2 and not schedule.is_over


def test_who_failed_once_takes_the_place_of_their_length_and_who_failed_twice_none() -> None:
    schedule = Schedule(shards(a=2, b=1, c=9))
    assert names(schedule.due(1, 0)) == ["c"]
    schedule.ended("c", {"c": failed()}, 1)
    assert names(schedule.due(2, 1)) == ["c", "a"]
    schedule.ended("c", {"c": Standing(SET_ASIDE, 2, failures=2)}, 2)
    assert names(schedule.due(9, 2)) == ["b"]


def test_whose_worker_was_lost_goes_on_at_once_and_in_their_place() -> None:
    schedule = Schedule(shards(a=9, b=1, c=2))
    schedule.due(1, 0)
    schedule.ended("a", {"a": Standing(WAITING, 1)}, 1, was_lost=True)
    assert names(schedule.due(2, 1)) == ["a", "c"]


def test_what_did_not_even_begin_pauses_for_longer_and_longer_and_is_left_for_now() -> None:
    schedule, now, pauses = Schedule(shards(a=1, b=1)), 0.0, list[float]()
    schedule.due(1, now)
    while not schedule.dropped:
        schedule.ended("a", {}, now, reason="no disk")
        when = schedule.next_at()
        if when is None:
            break
        assert "a" not in names(schedule.due(9, when - 0.1))
        assert names(schedule.due(9, when)) == ["a"]
        pauses, now = [*pauses, when - now], when
    assert pauses[0] == FIRST_PAUSE_S and pauses == sorted(pauses) and len(pauses) == MOST_TROUBLE - 1
    assert schedule.dropped == {"a": "no disk"} and names(list(schedule.shards)) == ["b"]


def test_a_fault_of_the_worker_pauses_and_headway_forgets_it() -> None:
    schedule = Schedule(shards(a=1))
    for start in range(1, 4):
        assert names(schedule.due(1, 1000.0 * start)) == ["a"]
        schedule.ended("a", {"a": Standing(WAITING, start, is_fault_of_worker=True)}, 1000.0 * start)
        assert schedule.due(1, 1000.0 * start) == []
    assert names(schedule.due(1, 9000)) == ["a"]
    schedule.ended("a", {"a": Standing(WAITING, 4)}, 9000)
    assert names(schedule.due(1, 9000)) == ["a"]
    schedule.ended("a", {"a": Standing(WAITING, 4)}, 9000)
    assert schedule.next_at() == 9000 + FIRST_PAUSE_S


def test_together_those_who_are_left_go_on_and_who_failed_goes_alone() -> None:
    schedule = Schedule([Shard(people=("a", "b", "c", "d"), weight=8)])
    schedule.due(1, 0)
    after = {"a": Standing(SUCCEEDED, 1), "b": Standing(WAITING, 1), "c": failed(), "d": Standing(WAITING, 1)}
    schedule.ended("a", after, 1)
    assert [(s.people, s.weight) for s in schedule.due(9, 1)] == [(("b", "d"), 4.0), (("c",), 2.0)]


def test_what_a_former_head_placed_is_adopted_and_not_placed_again() -> None:
    schedule = Schedule(shards(a=1, b=2), {"a": Standing(PersonState.RUNNING, 3)})
    assert schedule.adopt("a") and not schedule.adopt("nobody")
    assert names(schedule.due(9, 0)) == ["b"]
    schedule.ended("a", {"a": Standing(WAITING, 4)}, 1)
    assert names(schedule.due(9, 1)) == ["a"]


def test_an_end_that_nobody_waits_for_changes_nothing() -> None:
    schedule = Schedule(shards(a=1))
    schedule.ended("x", {"x": failed()}, 1)
    schedule.drop("y", "why")
    assert names(schedule.due(9, 1)) == ["a"] and not schedule.dropped
    schedule.drop("a", "cancelled")
    assert schedule.is_over and schedule.dropped == {"a": "cancelled"}
    schedule.ended("a", {"a": failed()}, 2)
    assert schedule.is_over


def test_nobody_is_in_two_shards() -> None:
    for people in (("a", "b"), ("c", "c")):
        with pytest.raises(ValueError, match="in two shards"):
            Schedule([Shard(people=("a",)), Shard(people=people)])


class World:
    """Workers that do what they are dealt, and the records they leave."""

    def __init__(self, people: int, together: int, weights: list[int]):
        self.names = [f"p{i}" for i in range(people)]
        groups = [self.names[i : i + together] for i in range(0, people, together)]
        self.standing = {name: Standing(WAITING) for name in self.names}
        self.schedule = Schedule(
            [Shard(people=tuple(g), weight=weights[i % len(weights)]) for i, g in enumerate(groups)]
        )
        self.now = 0.0
        self.placed: dict[str, Shard] = {}

    def place(self, free: int) -> list[Shard]:
        chosen = self.schedule.due(free, self.now)
        assert len(chosen) <= free
        for shard in chosen:
            busy = {p for s in self.placed.values() for p in s.people}
            assert busy.isdisjoint(shard.people), "somebody is placed twice"
            assert not any(self.standing[p].state.is_over for p in shard.people)
            self.placed[shard.name] = shard
        lengths = [shard.weight for shard in chosen]
        assert lengths == sorted(lengths, reverse=True), "a shorter one went first"
        return chosen

    def end(self, shard: Shard, fates: Mapping[str, str]) -> None:
        del self.placed[shard.name]
        was_lost = "lost" in fates.values()
        for person in shard.people:
            before, fate = self.standing[person], "lost" if was_lost else fates[person]
            starts = before.starts + (fate != "refused at the door")
            if fate == "well":
                after = Standing(SUCCEEDED, starts, before.failures)
            elif fate == "badly":
                failures = before.failures + 1
                after = Standing(SET_ASIDE if failures >= 2 else WAITING, starts, failures)
            else:
                after = Standing(WAITING, starts, before.failures, fate == "full disk")
            self.standing[person] = after
        after = {p: self.standing[p] for p in shard.people}
        self.schedule.ended(shard.name, after, self.now, was_lost=was_lost)

    def everybody(self) -> None:
        """Each person is over, left for now, or in exactly one shard."""
        known = [p for shard in self.schedule.shards for p in shard.people]
        assert len(known) == len(set(known))
        for person in self.names:
            over = self.standing[person].state.is_over
            places = [over, person in self.schedule.dropped, person in known]
            assert places.count(True) == 1, (person, places)


FATES = st.sampled_from(["well", "well", "badly", "lost", "interrupted", "full disk", "refused at the door"])


@settings(max_examples=150, deadline=None)
@given(
    st.data(),
    st.integers(1, 12),
    st.integers(1, 3),
    st.integers(1, 4),
    st.lists(st.integers(1, 9), min_size=1),
)
def test_whatever_happens_everybody_comes_to_an_end(
    data: st.DataObject, people: int, together: int, workers: int, weights: list[int]
) -> None:
    world = World(people, together, weights)
    for turn in range(2000):
        world.place(workers - len(world.placed))
        world.everybody()
        if world.schedule.is_over:
            break
        if not world.placed:
            when = world.schedule.next_at()
            assert when is not None and when > world.now, "it would wait for ever"
            world.now = when
            continue
        assert len(world.placed) == workers or not _ready(world), "a worker is idle while somebody waits"
        shard = data.draw(st.sampled_from([*world.placed.values()]))
        calm = turn > 60  # fate cannot be against them for ever
        world.end(shard, {p: "well" if calm else data.draw(FATES) for p in shard.people})
        world.now += data.draw(st.sampled_from([0.0, 1.0, 60.0]))
    assert world.schedule.is_over and not world.placed


def _ready(world: World) -> bool:
    """Whether anybody waits who is not in a pause."""
    paused = world.schedule.next_at()
    return world.schedule.waiting > 0 and paused is None
