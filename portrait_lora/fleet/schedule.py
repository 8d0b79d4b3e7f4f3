"""What is to be done next, how often and for whom: a state machine without clock, files or threads.

The longest first, as lists of independent work are best begun (Graham 1969: at most a third above the
shortest possible end, and far less with many people per device).  Who failed once, did not pass or lost their
worker takes the place of their length again: put last instead, they would end long after everybody else
(scripts/bench/fleet_simulation.py).  Who failed twice is not placed again: nobody waits for them.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from portrait_lora.tasks.shard.records import PersonRecord, PersonState, Shard

MOST_TROUBLE: Final = 8
"""Placements in a row that did not even begin, or failed by the worker's fault, before the fleet goes on
without a person: they stay waiting, and the next run tries again."""
FIRST_PAUSE_S: Final = 5.0
LONGEST_PAUSE_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a person stands after a placement: `starts` of the present work, `failures` that count."""

    state: PersonState
    starts: int = 0
    failures: int = 0
    is_fault_of_worker: bool = False

    @classmethod
    def of(cls, record: PersonRecord) -> Self:
        """From the record."""
        last = record.starts[-1] if record.starts else None
        return cls(
            record.state,
            len(record.starts),
            record.failures,
            last is not None and last.is_fault_of_worker,
        )


@dataclass(slots=True, eq=False)
class _Entry:
    """A shard that is not over; in line under its `ticket`, which is void once it is another one's turn."""

    shard: Shard
    trouble: int = 0
    """Placements in a row that led to nothing."""
    ticket: int = 0
    starts: dict[str, int] = field(default_factory=dict[str, int])
    """Starts of each person when it was placed."""


class Schedule:
    """Who waits, who runs, who is over.  `now` is any clock that only goes forward, in seconds."""

    def __init__(self, shards: Iterable[Shard], standings: Mapping[str, Standing] | None = None):
        """Raises `ValueError` for a person in two shards."""
        self._tickets = 0
        self._ready: list[tuple[float, int, str]] = []
        self._later: list[tuple[float, int, str]] = []
        self._entries: dict[str, _Entry] = {}
        self._running: dict[str, _Entry] = {}
        self._standings = dict(standings or {})
        self.dropped: dict[str, str] = {}
        """Person -> why the fleet goes on without them for now."""
        known: set[str] = set()
        for shard in shards:
            if twice := known & {*shard.people} or len({*shard.people}) < len(shard.people):
                raise ValueError(f"somebody of {shard.people} is in two shards: {twice}")
            known |= {*shard.people}
            self._line_up(_Entry(shard))

    @property
    def is_over(self) -> bool:
        """Nobody is waiting or running."""
        return not self._entries

    @property
    def shards(self) -> Sequence[Shard]:
        """All that are not over."""
        return [entry.shard for entry in self._entries.values()]

    @property
    def running(self) -> Sequence[Shard]:
        """What is placed now."""
        return [entry.shard for entry in self._running.values()]

    @property
    def waiting(self) -> int:
        """How many shards are not placed."""
        return len(self._entries) - len(self._running)

    def next_at(self) -> float | None:
        """When the first of those that pause may go on; None without any."""
        return min((when for when, ticket, name in self._later if self._holds(name, ticket)), default=None)

    def due(self, free: int, now: float) -> list[Shard]:
        """What to place on so many free workers, in this order; it counts as running from here on."""
        while self._later and self._later[0][0] <= now:
            _, ticket, name = heapq.heappop(self._later)
            if self._holds(name, ticket):
                self._line_up(self._entries[name])
        chosen: list[Shard] = []
        while self._ready and len(chosen) < free:
            _, ticket, name = heapq.heappop(self._ready)
            if self._holds(name, ticket):
                self.adopt(name)
                chosen.append(self._entries[name].shard)
        return chosen

    def adopt(self, name: str) -> bool:
        """The shard runs already, since a former head placed it; False when there is none of this name."""
        entry = self._entries.get(name)
        if entry is None:
            return False
        entry.starts = {person: self._starts(person) for person in entry.shard.people}
        entry.ticket = 0
        self._running[name] = entry
        return True

    def ended(
        self,
        name: str,
        standings: Mapping[str, Standing],
        now: float,
        *,
        was_lost: bool = False,
        reason: str = "",
    ) -> None:
        """A shard is not on its worker any more: `standings` of its people as their records say now.

        Who is over is done with; the others are lined up again.
        """
        entry = self._entries.pop(name, None)
        self._running.pop(name, None)
        if entry is None:
            return
        shard, left = entry.shard, list[str]()
        for person in shard.people:
            standing = standings.get(person, self._standings.get(person, Standing(PersonState.WAITING)))
            self._standings[person] = standing
            if not standing.state.is_over:
                left.append(person)
        in_vain = {p for p in left if self._was_in_vain(p, entry, was_lost)}
        for people in self._groups(shard, left):
            weight = shard.weight * len(people) / len(shard.people)
            again = _Entry(Shard(people=people, weight=weight))
            again.trouble = entry.trouble + 1 if not in_vain.isdisjoint(people) else 0
            if again.trouble >= MOST_TROUBLE:
                self.dropped |= dict.fromkeys(people, reason or "the work could not be begun anywhere")
            elif again.trouble:
                pause = min(FIRST_PAUSE_S * 2 ** (again.trouble - 1), LONGEST_PAUSE_S)
                heapq.heappush(self._later, (now + pause, self._take_ticket(again), again.shard.name))
            else:
                self._line_up(again)

    def drop(self, name: str, reason: str) -> None:
        """Go on without a shard for now: it was cancelled by hand, or cannot be placed at all."""
        self._running.pop(name, None)
        if (entry := self._entries.pop(name, None)) is not None:
            self.dropped |= dict.fromkeys(entry.shard.people, reason)

    def _was_in_vain(self, person: str, entry: _Entry, was_lost: bool) -> bool:
        """Whether the work did not begin, or failed by the worker's fault."""
        by_worker = self._standings[person].is_fault_of_worker and not was_lost
        return by_worker or self._starts(person) <= entry.starts.get(person, 0)

    def _groups(self, shard: Shard, left: Sequence[str]) -> list[tuple[str, ...]]:
        """Who goes on together: who has failed does so alone, lest the others fail with them."""
        well = tuple(p for p in left if not self._standings[p].failures)
        alone = [(p,) for p in left if self._standings[p].failures]
        return [*([well] if well else []), *alone]

    def _line_up(self, entry: _Entry) -> None:
        place = -entry.shard.weight, self._take_ticket(entry), entry.shard.name
        heapq.heappush(self._ready, place)

    def _take_ticket(self, entry: _Entry) -> int:
        self._entries[entry.shard.name] = entry
        self._tickets += 1
        entry.ticket = self._tickets
        return entry.ticket

    def _holds(self, name: str, ticket: int) -> bool:
        return name in self._entries and self._entries[name].ticket == ticket

    def _starts(self, person: str) -> int:
        standing = self._standings.get(person)
        return standing.starts if standing else 0
