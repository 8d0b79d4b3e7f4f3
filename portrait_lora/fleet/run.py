"""The head of a fleet: asks the schedule what is next, places it, and writes down what became of everybody.

It may be killed at any time.  Where everybody stands is in their records, what runs is known to the backend;
the next head reads both and goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from portrait_lora import config, likeness, log
from portrait_lora.errors import InputError, PortraitError
from portrait_lora.fleet.backend import CANCELLED, Backend, Change, ChangeKind
from portrait_lora.fleet.home import FleetEvent, FleetHome
from portrait_lora.fleet.schedule import Schedule, Standing
from portrait_lora.tasks.shard import endings, files, identity
from portrait_lora.tasks.shard.records import PersonRecord, PersonState, Shard

POLL_S: Final = 0.2
PROGRESS_S: Final = 10.0
"""Seconds between two lines of progress of one person in the history; more where many run at once."""
_PER_RUNNING_S: Final = 0.5
OnEvent = Callable[[FleetEvent], None]
_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run of a fleet ended: how many people are in each state, and who was left waiting, and why."""

    states: Mapping[str, int]
    left: Mapping[str, str]
    seconds: float

    @property
    def is_complete(self) -> bool:
        """Nobody was left waiting."""
        return not self.left

    def json_value(self) -> dict[str, object]:
        """Plain JSON values."""
        return {"states": dict(self.states), "left": dict(self.left), "seconds": round(self.seconds, 2)}


class Head:
    """One run of a fleet over one backend."""

    def __init__(
        self,
        home: FleetHome,
        backend: Backend,
        *,
        on_event: OnEvent | None = None,
        poll_s: float = POLL_S,
    ):
        self._home, self._backend, self._poll_s = home, backend, poll_s
        self._on_event = on_event
        self._records = home.records()
        self._schedule = Schedule(
            shards_of(home, self._records), {p: Standing.of(r) for p, r in self._records.items()}
        )
        self._members: dict[str, tuple[str, ...]] = {}
        self._told: dict[str, float] = {}
        self._stages: dict[str, object] = {}

    def run(self) -> Outcome:
        """Until nobody waits or runs; whatever ends it, the workers stop with their state saved."""
        began = time.monotonic()
        try:
            while True:
                for change in self._backend.changes():
                    self._take(change)
                if self._schedule.is_over:
                    break
                for shard in self._schedule.due(self._backend.free(), time.monotonic()):
                    self._place(shard)
                if not self._schedule.is_over:
                    time.sleep(self._poll_s)
        finally:
            self._backend.close()
        records = self._home.records()
        counts = {state.value: 0 for state in PersonState}
        for record in records.values():
            counts[record.state.value] += 1
        return Outcome(
            {state: count for state, count in counts.items() if count},
            dict(self._schedule.dropped),
            time.monotonic() - began,
        )

    def _place(self, shard: Shard) -> None:
        self._members[shard.name] = shard.people
        try:
            self._backend.place(shard)
        except InputError as error:
            self._set_aside(shard, error)
        except PortraitError as error:  # the disk may have room again
            _log.warning("%s", error)
            self._settle(shard.name, was_lost=False, reason=str(error))

    def _take(self, change: Change) -> None:
        """One change: into the history, and where it ends a shard, into the schedule."""
        name = change.shard
        people = self._members.get(name) or self._people_of(name)
        if change.kind is ChangeKind.STARTED:
            self._schedule.adopt(name)
            for person in people:
                self._note(person, "started", PersonState.RUNNING, change)
        elif change.kind is ChangeKind.PROGRESS:
            for person in people:
                self._note_progress(person, change)
        elif change.kind is ChangeKind.ENDED and change.reason == CANCELLED:
            self._schedule.drop(name, change.reason)
            self._note_states(people, change)
        else:
            self._settle(name, was_lost=change.kind is ChangeKind.LOST, reason=change.reason)
            self._note_states(people, change)

    def _settle(self, name: str, *, was_lost: bool = False, reason: str = "") -> None:
        people = self._members.get(name) or self._people_of(name)
        for person in people:
            self._records[person] = files.sound(self._home.path, person) or self._records[person]
        standings = {person: Standing.of(self._records[person]) for person in people}
        self._schedule.ended(name, standings, time.monotonic(), was_lost=was_lost, reason=reason)

    def _people_of(self, name: str) -> tuple[str, ...]:
        """Of a shard that a former head placed."""
        shard = next((shard for shard in self._schedule.shards if shard.name == name), None)
        people = shard.people if shard else tuple(p for p in (name,) if p in self._records)
        self._members[name] = people
        return people

    def _set_aside(self, shard: Shard, error: InputError) -> None:
        """A person who cannot even be placed: without photos, or with settings that cannot be read."""
        reason = endings.reason_of(error)
        for person in shard.people if len(shard.people) == 1 else ():
            has_photos = (self._home.folder(person) / "photos").is_dir()
            state = PersonState.SET_ASIDE if has_photos else PersonState.NEEDS_PHOTOS
            glance = identity.glance_of(self._home.path, self._home.plan, person)
            update = {"state": state, "reason": reason, "glance": glance}
            _write(self._home, self._records[person].model_copy(update=update))
            self._note(person, "state", state, Change(ChangeKind.ENDED, shard.name, reason=reason))
        self._settle(shard.name, reason=reason)

    def _note_states(self, people: Iterable[str], change: Change) -> None:
        kind = "lost" if change.kind is ChangeKind.LOST else "state"
        for person in people:
            record = self._records[person] = files.sound(self._home.path, person) or self._records[person]
            state = PersonState.WAITING if record.state is PersonState.RUNNING else record.state
            reason = record.reason or change.reason
            self._note(person, kind, state, Change(change.kind, change.shard, change.worker, reason=reason))

    def _note_progress(self, person: str, change: Change) -> None:
        """A stage that begins is noted at once; a bar now and then."""
        stage, now = change.progress.get("stage"), time.monotonic()
        pause = max(PROGRESS_S, _PER_RUNNING_S * len(self._schedule.running))
        if stage == self._stages.get(person) and now - self._told.get(person, -pause) < pause:
            return
        self._stages[person], self._told[person] = stage, now
        self._note(person, "progress", PersonState.RUNNING, change)

    def _note(self, person: str, kind: str, state: PersonState, change: Change) -> None:
        event = self._home.note(
            person, kind, state=state, worker=change.worker, reason=change.reason, progress=change.progress
        )
        if self._on_event is not None:
            self._on_event(event)


def run(home: FleetHome, open_backend: Callable[[], Backend], *, on_event: OnEvent | None = None) -> Outcome:
    """Do what is left to do of a fleet.  `InputError` while another head is at work on it."""
    with home.lead():
        return Head(home, open_backend(), on_event=on_event).run()


def shards_of(home: FleetHome, records: Mapping[str, PersonRecord]) -> list[Shard]:
    """The work that is left: of everybody who is not over, or whose photos or settings look different now.

    Those who train together are of one base and of about the same length; who has failed goes alone.
    """
    alone: list[Shard] = []
    by_base: dict[str, list[tuple[float, str]]] = {}
    for person, record in records.items():
        if not _has_work(home, record):
            continue
        weight, base = _weight_and_base(home, person)
        if base and home.plan.together > 1 and not record.failures:
            by_base.setdefault(base, []).append((weight, person))
        else:
            alone.append(Shard(people=(person,), weight=weight))
    return [
        *alone,
        *(shard for people in by_base.values() for shard in _in_groups(people, home.plan.together)),
    ]


def _in_groups(people: Sequence[tuple[float, str]], size: int) -> list[Shard]:
    line = sorted(people, key=lambda one: -one[0])
    groups = [line[i : i + size] for i in range(0, len(line), size)]
    return [
        Shard(people=tuple(person for _, person in group), weight=sum(weight for weight, _ in group))
        for group in groups
    ]


def _has_work(home: FleetHome, record: PersonRecord) -> bool:
    if record.state is PersonState.FORGOTTEN:
        return False
    if not record.state.is_over or record.state is PersonState.NEEDS_CONSENT:
        return True
    return record.glance != identity.glance_of(home.path, home.plan, record.person)


def _weight_and_base(home: FleetHome, person: str) -> tuple[float, str]:
    """The work expected: samples of training and steps of drawing, in samples; and the base."""
    folder = home.folder(person)
    try:
        photos = len(likeness.photo_files(folder / "photos"))
        file = folder / config.FILE_NAME
        chosen = config.load(file if file.is_file() else None, home.plan.overrides(person))
    except (OSError, PortraitError):  # the worker says what is wrong
        return 0.0, ""
    training = photos * chosen.training.exposures_per_photo
    drawing = chosen.generate.num_inference_steps * chosen.generate.per_shot * 8
    return float(training + drawing), chosen.base


def _write(home: FleetHome, record: PersonRecord) -> None:
    held = files.hold(home.path, record.person)
    if held is not None:
        with held:
            files.write(home.path, record)
