"""The schedule of a fleet over invented devices that are taken away: how far above the least time it ends.

python -m scripts.bench.fleet_simulation              10 to 10,000 people, up to 1,000 devices
python -m scripts.bench.fleet_simulation --seconds 95 with that mean time per person, as measured

The schedule is the one that `fleet run` uses; only devices and time are invented.  Every device is taken
away at random moments and comes back later, which loses the steps since the last checkpoint.  How long
somebody takes follows from 10 to 20 photos and is known to the schedule to within a tenth.  In a last row one
in fifty fails once, one in two hundred twice, and one in thirty does not pass and is trained again.  It has
no target: a second training cannot begin before the first has ended, which the least time ignores.

The least time is that in which devices, while they are there, could do nothing but the work that is needed,
without a pause, a start or a step done twice, and no less than the longest person takes.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from portrait_lora.fleet.schedule import Schedule, Standing
from portrait_lora.tasks.shard.records import PersonState, Shard
from scripts.rows import Row, arguments, finish

CHECKPOINTS = 4
TRAINED = 0.6
"""Share of a person's time that is training; the rest is kept stage by stage, here as one checkpoint each."""
MEAN_SECONDS = 1800.0


@dataclass(frozen=True)
class World:
    """What happens to devices: `hours` until one is taken away, on average, and `back_s` until it is there
    again; `start_s` is what going on costs after a loss: the first start is part of a person's time."""

    devices: int
    hours: float = 6.0
    back_s: float = 600.0
    start_s: float = 15.0


@dataclass
class Person:
    """The work that is left, in seconds, and how many trainings of it fail or are refused."""

    whole_s: float
    left_s: float
    failures: int = 0
    refused: int = 0
    standing: Standing = field(default_factory=lambda: Standing(PersonState.WAITING))


@dataclass
class Result:
    """`end_s` and the least time; `needed_s` is the work, `lost_s` what was done twice."""

    end_s: float
    least_s: float
    needed_s: float
    lost_s: float
    lost: int
    over: int

    @property
    def above(self) -> float:
        """How far above the least time it ended, as a share of it."""
        return self.end_s / self.least_s - 1


def simulate(
    people: int, world: World, seed: int, mean_s: float = MEAN_SECONDS, *, troubled: bool = False
) -> Result:
    """One fleet from its first placement to its last end; `troubled` people fail, or are trained twice."""
    rng = random.Random(seed)
    everybody = {f"p{n:05d}": _person(rng, mean_s, troubled) for n in range(people)}
    whole = [p.whole_s for p in everybody.values()]
    needed = sum(p.whole_s * (1 + p.refused) + p.failures * p.whole_s / 2 for p in everybody.values())
    weights = {name: p.whole_s * rng.uniform(0.9, 1.1) for name, p in everybody.items()}
    schedule = Schedule([Shard(people=(name,), weight=weight) for name, weight in weights.items()])
    return _Course(everybody, schedule, world, rng).go(needed, max(whole))


def _person(rng: random.Random, mean_s: float, troubled: bool) -> Person:
    whole = mean_s * rng.randint(10, 20) / 15 * rng.uniform(0.95, 1.05)
    if not troubled:
        return Person(whole, whole)
    luck = rng.random()
    failures = 2 if luck < 0.005 else 1 if luck < 0.025 else 0
    return Person(whole, whole, failures, refused=int(rng.random() < 1 / 30))


class _Course:
    """Events in time: a device is taken away, comes back, or ends its shard."""

    def __init__(self, people: dict[str, Person], schedule: Schedule, world: World, rng: random.Random):
        self.people, self.schedule, self.world, self.rng = people, schedule, world, rng
        self.free = list(range(world.devices))
        self.events: list[tuple[float, int, str, int, str]] = []
        self.count, self.lost, self.lost_s, self.end_s = 0, 0, 0.0, 0.0
        self.at_work: dict[int, tuple[str, float, int]] = {}
        self.gone: list[tuple[float, float]] = []

    def go(self, needed_s: float, longest_s: float) -> Result:
        for device in range(self.world.devices):
            self._put(self._until_taken(), "taken", device)
        self._place(0.0)
        while not self.schedule.is_over:
            now, number, kind, device, name = heapq.heappop(self.events)
            if kind == "taken":
                self._taken(now, device)
            elif kind == "back":
                self.free.append(device)
                self._put(now + self._until_taken(), "taken", device)
            elif self.at_work.get(device, ("", 0.0, -1))[2] == number:
                del self.at_work[device]
                self.free.append(device)
                self._ended(now, name)
            self._place(now)
        over = sum(p.standing.state.is_over for p in self.people.values())
        least = max(_least(needed_s, self.world.devices, self.gone), longest_s)
        return Result(self.end_s, least, needed_s, self.lost_s, self.lost, over)

    def _put(self, when: float, kind: str, device: int, name: str = "") -> int:
        self.count += 1
        heapq.heappush(self.events, (when, self.count, kind, device, name))
        return self.count

    def _until_taken(self) -> float:
        return self.rng.expovariate(1 / (self.world.hours * 3600))

    def _place(self, now: float) -> None:
        for shard in self.schedule.due(len(self.free), now):
            device, person = self.free.pop(), self.people[shard.name]
            work = person.left_s if not person.failures else person.whole_s / 2
            begins = now + (self.world.start_s if person.standing.starts else 0.0)
            number = self._put(begins + work, "ends", device, shard.name)
            self.at_work[device] = shard.name, begins, number
            person.standing = _with(person, PersonState.RUNNING, starts=person.standing.starts + 1)

    def _taken(self, now: float, device: int) -> None:
        back = now + self.world.back_s * self.rng.uniform(0.5, 1.5)
        self.gone.append((now, back))
        self._put(back, "back", device)
        if device not in self.at_work:
            self.free.remove(device)
            return
        name, began, _ = self.at_work.pop(device)
        person, done = self.people[name], max(now - began, 0.0)
        kept = 0.0 if person.failures else _kept(person, done)
        self.lost, self.lost_s = self.lost + 1, self.lost_s + done - kept
        person.left_s -= kept
        person.standing = _with(person, PersonState.WAITING)
        self.schedule.ended(name, {name: person.standing}, now, was_lost=True)

    def _ended(self, now: float, name: str) -> None:
        person, self.end_s = self.people[name], now
        failed = person.standing.failures
        if person.failures:
            person.failures -= 1
            state = PersonState.SET_ASIDE if failed + 1 >= 2 else PersonState.WAITING
            person.standing = Standing(state, person.standing.starts, failed + 1)
        elif person.refused:
            person.refused, person.left_s = person.refused - 1, person.whole_s
            person.standing = _with(person, PersonState.WAITING)
        else:
            person.standing = _with(person, PersonState.SUCCEEDED)
        self.schedule.ended(name, {name: person.standing}, now)


def _with(person: Person, state: PersonState, starts: int | None = None) -> Standing:
    before = person.standing
    return Standing(state, before.starts if starts is None else starts, before.failures)


def _kept(person: Person, done_s: float) -> float:
    """What is saved of the work that was done since the last start: whole checkpoints and stages."""
    step = person.whole_s * TRAINED / CHECKPOINTS
    before = person.whole_s - person.left_s
    return max((before + done_s) // step * step - before, 0.0)


def _least(needed_s: float, devices: int, gone: Sequence[tuple[float, float]]) -> float:
    """When devices that are away at these times could have done so much work, all of them busy always."""
    changes = sorted([(when, -1) for when, _ in gone] + [(back, 1) for _, back in gone])
    now, there, done = 0.0, devices, 0.0
    for when, change in changes:
        if done + there * (when - now) >= needed_s:
            break
        done, now, there = done + there * (when - now), when, there + change
    return now + (needed_s - done) / max(there, 1)


def rows_of(seed: int, mean_s: float) -> list[Row]:
    """The figures: above the least time, and cost per person from 10 to 10,000."""
    rows: list[Row] = []
    costs: list[float] = []
    for people, devices in ((10, 1), (50, 5), (200, 20), (1000, 100), (10_000, 1000)):
        done = simulate(people, World(devices), seed, mean_s)
        costs.append((done.needed_s + done.lost_s) / people / mean_s)
        name = f"{people} people, {devices} devices: end above the least time"
        rows.append(Row(name, 100 * done.above, "%", people, 10 if people >= 200 else None, at_most=True))
        rows.append(Row("  not over at the end", people - done.over, "people", people, 0, at_most=True))
        rows.append(Row("  done twice, of the work", 100 * done.lost_s / done.needed_s, "%", done.lost))
    often = simulate(10_000, World(1000, hours=2.0), seed, mean_s)
    name = "10000 people, 1000 devices, each taken away every 2 hours"
    rows.append(Row(name, 100 * often.above, "%", often.lost, 10, at_most=True))
    troubled = simulate(10_000, World(1000), seed, mean_s, troubled=True)
    name = "10000 people, 1000 devices, with failures and second tries"
    rows.append(Row(name, 100 * troubled.above, "%", 10_000))
    spread = max(costs[1:]) / min(costs[1:]) - 1
    rows.append(
        Row("device time per person, 50 to 10000: spread", 100 * spread, "%", len(costs), 10, at_most=True)
    )
    return rows


def main() -> int:
    """Print the table."""
    parser = arguments("the schedule of a fleet over invented devices")
    parser.add_argument("--seconds", type=float, default=MEAN_SECONDS, help="mean time per person")
    options = parser.parse_args()
    return finish(rows_of(options.seed, options.seconds), options.json)


if __name__ == "__main__":
    raise SystemExit(main())
