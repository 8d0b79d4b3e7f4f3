"""One worker without a head, as job files start it: its own part of the people, then whoever is left over."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from portrait_lora import log
from portrait_lora.errors import InputError
from portrait_lora.fleet.schedule import Schedule, Standing
from portrait_lora.tasks.shard.records import PersonRecord, PersonState, Shard

DoShard = Callable[[Sequence[str]], Sequence[PersonRecord]]
LONGEST_WAIT_S: Final = 60.0
"""Longest that a worker waits for somebody whom another one works on."""
_log = log.get(__name__)


def part_of(people: Sequence[str], part: str) -> tuple[str, ...]:
    """The people of part `I/N`, I from 0 or as SLURM_ARRAY_TASK_ID counts; `InputError` for what is none.

    Every N-th, so that the parts of a roster that was sorted by anything are alike.
    """
    first, slash, count = part.partition("/")
    if not (slash and first.isdigit() and count.isdigit() and int(first) < int(count)):
        raise InputError("not a part", where="--shard", got=part, needed="I/N with I from 0 to N-1")
    return tuple(people[int(first) :: int(count)])


def work_through(
    people: Sequence[str],
    records: Mapping[str, PersonRecord],
    do: DoShard,
    *,
    together: int = 1,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> dict[str, PersonRecord]:
    """Do the work of these people, in this order, until each is over or is somebody else's; their records.

    What failed once is tried again at the end.  Whoever another worker holds is looked at again after a
    while, and left to it in the end.
    """
    ended = {person: records[person] for person in people if person in records}
    left = [person for person in people if person not in ended or not ended[person].state.is_over]
    groups = [tuple(left[i : i + together]) for i in range(0, len(left), together)]
    shards = [Shard(people=group, weight=len(groups) - i) for i, group in enumerate(groups)]
    schedule = Schedule(shards, {person: Standing.of(record) for person, record in ended.items()})
    while not schedule.is_over:
        chosen = schedule.due(1, now())
        if not chosen:
            pause = (schedule.next_at() or now()) - now()
            if pause > LONGEST_WAIT_S:
                break
            sleep(max(pause, 0.0))
            continue
        shard = chosen[0]
        after = {record.person: record for record in do(shard.people)}
        ended |= after
        schedule.ended(shard.name, {p: Standing.of(r) for p, r in after.items()}, now())
    for person in people:
        if person in ended and not ended[person].state.is_over:
            _log.info("%s: left to others (%s)", person, ended[person].reason or PersonState.RUNNING)
    return ended
