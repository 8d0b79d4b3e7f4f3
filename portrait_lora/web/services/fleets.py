"""The fleets whose people a studio shows, each as it stands: of the people that a user may look at."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.fleet import report, standings, words
from portrait_lora.fleet.forecast import Forecast, forecast
from portrait_lora.fleet.home import FleetEvent, FleetHome, open_home
from portrait_lora.fleet.local import BATCH
from portrait_lora.fleet.watch import Progress
from portrait_lora.tasks.shard import plan
from portrait_lora.web import ids
from portrait_lora.web.problems import NotFound
from portrait_lora.web.services.jobs import relative_to

if TYPE_CHECKING:
    from portrait_lora.jobs.queue import Queue
    from portrait_lora.web.studio import Person, Studio
    from portrait_lora.web.users import User

_MOST_JOBS: Final = 5000


@dataclass(frozen=True, slots=True)
class One:
    """Somebody of a fleet: their row, who they are in the studio, how far they are, and the newest job of
    theirs in this studio's queue (empty where another machine does the work)."""

    row: standings.Row
    person: Person
    progress: Mapping[str, object]
    job: str

    @property
    def worker(self) -> str:
        """Who works on them, or did last."""
        starts = self.row.record.starts
        return starts[-1].worker if starts else ""


@dataclass(frozen=True, slots=True)
class Fleet:
    """A fleet with those of its people whom the user may look at, the outliers first."""

    id: str
    name: str
    home: FleetHome
    people: Sequence[One]
    expected: Forecast

    @property
    def rows(self) -> list[standings.Row]:
        """Their rows, in the same order."""
        return [one.row for one in self.people]

    @property
    def counts(self) -> dict[str, int]:
        """State -> people, without states that nobody is in."""
        return {state.value: number for state, number in words.counts(self._records).items()}

    @property
    def over(self) -> int:
        """How many are done, whatever came of it."""
        return sum(record.state.is_over for record in self._records.values())

    @property
    def share(self) -> float | None:
        """Mean share of the ceiling of all who were measured."""
        return report.mean_share(self._records)

    @property
    def _records(self) -> Mapping[str, Any]:
        return {one.row.person: one.row.record for one in self.people}


@dataclass(slots=True)
class _Kept:
    """A home that was opened, with what was read of its history."""

    home: FleetHome
    state: tuple[int, int]
    progress: Progress = field(default_factory=Progress)
    number: int = 0


class Fleets:
    """The fleets of a studio; safe from several threads.  Nothing is written: their heads do that."""

    def __init__(self, studio: Studio):
        self._studio = studio
        self._kept: dict[Path, _Kept] = {}
        self._lock = threading.Lock()

    def any(self, user: User) -> bool:
        """Whether there is a fleet that the user may look at."""
        return bool(self._people(user))

    def all(self, user: User, queue: Queue | None) -> list[Fleet]:
        """Every fleet of whose people the user may look at somebody, by name; a damaged one is left out."""
        fleets: list[Fleet] = []
        for home, people in self._people(user).items():
            try:
                fleets.append(self._fleet(home, people, queue))
            except (InputError, ArtifactError):
                continue
        return sorted(fleets, key=lambda one: (one.name.casefold(), one.id))

    def one(self, user: User, id: str, queue: Queue | None) -> Fleet:
        """Raises `NotFound`, also for a fleet of nobody whom the user may look at; `ArtifactError`."""
        for home, people in self._people(user).items():
            if _id(home) == id:
                return self._fleet(home, people, queue)
        raise NotFound("no such fleet", where=id, remedy="Go back to the list of fleets.")

    def history(self, fleet: Fleet, *, after: int, limit: int) -> list[FleetEvent]:
        """What changed behind a number for the people of a fleet as it was looked at, oldest first."""
        seen = {one.row.person for one in fleet.people}
        with self._lock:
            events = fleet.home.events(after)
        return [event for event in events if event.person in seen][:limit]

    def _people(self, user: User) -> dict[Path, dict[str, Person]]:
        """Home of a fleet -> name of the folder -> whom the studio lists there."""
        homes: dict[Path, dict[str, Person]] = {}
        for person in self._studio.people(user):
            if person.folder.parent.name == "people":
                homes.setdefault(person.folder.parent.parent, {})[person.folder.name] = person
        return {home: people for home, people in homes.items() if (home / plan.FILE).is_file()}

    def _fleet(self, path: Path, people: Mapping[str, Person], queue: Queue | None) -> Fleet:
        home, progress = self._opened(path)
        rows = [row for row in standings.rows_of(home) if row.person in people]
        jobs = _jobs(queue, {people[row.person].folder for row in rows} if path == self._studio.home else ())
        each = [
            One(
                row=row,
                person=people[row.person],
                progress=progress.get(row.person, {}) if row.record.state.value == "running" else {},
                job=jobs.get(str(people[row.person].folder.resolve()), ""),
            )
            for row in rows
        ]
        expected = forecast({row.person: row.record for row in rows})
        return Fleet(_id(path), Path(home.plan.roster).stem, home, each, expected)

    def _opened(self, path: Path) -> tuple[FleetHome, Mapping[str, Mapping[str, object]]]:
        status = (path / plan.FILE).stat()
        state = (status.st_mtime_ns, status.st_size)
        with self._lock:
            kept = self._kept.get(path)
            if kept is None or kept.state != state:
                kept = self._kept[path] = _Kept(open_home(path), state)
            for event in kept.home.events(kept.number):
                kept.progress.take(event)
                kept.number = event.number
            return kept.home, dict(kept.progress.of)


def shown(fleet: Fleet) -> dict[str, Any]:
    """A fleet as plain values."""
    price, expected = fleet.home.plan.price_per_hour, fleet.expected
    spent, whole = (None, None) if price is None else expected.cost(float(price))
    return {
        "id": fleet.id,
        "name": fleet.name,
        "people": len(fleet.people),
        "over": fleet.over,
        "counts": fleet.counts,
        "share_of_ceiling": fleet.share,
        "price_per_hour": price,
        "cost": spent,
        "cost_in_all": whole,
        **{k: list(v) if isinstance(v, tuple | list) else v for k, v in expected.json_value().items()},
    }


def shown_person(fleet: Fleet, one: One) -> dict[str, Any]:
    """Somebody of a fleet as plain values, without folders of this machine."""
    row, record = one.row, one.row.record
    place = relative_to(str(fleet.home.path))
    figures = None if record.figures is None else record.figures.model_dump(mode="json")
    value = {
        "likeness": one.person.id,
        "name": row.name,
        "groups": list(row.groups),
        "state": record.state.value,
        "outlier": row.outlier,
        "reason": record.reason,
        "advice": list(record.advice),
        "tries": record.tries,
        "starts": len(record.starts),
        "device_s": record.device_s,
        "steps": record.starts[-1].steps if record.starts else 0,
        "worker": one.worker,
        "progress": dict(one.progress),
        "job": one.job,
    }
    return place(value) | {"figures": figures}


def shown_event(fleet: Fleet, event: FleetEvent) -> dict[str, Any]:
    """A change as plain values; `likeness` is the id of the person."""
    known = {one.row.person: one.person.id for one in fleet.people}
    value = event.model_dump(mode="json")
    value["likeness"] = known[value.pop("person")]
    return relative_to(str(fleet.home.path))(value)


def words_of(fleet: Fleet, text: str) -> str:
    """A reason without folders of this machine, as a sentence."""
    plain = str(relative_to(str(fleet.home.path))(text)).strip()
    return f"{plain[:1].upper()}{plain[1:]}" + ("" if plain.endswith((".", "!", "?")) or not plain else ".")


def _jobs(queue: Queue | None, folders: Collection[Path]) -> dict[str, str]:
    """Folder of a person -> their newest job of a fleet; of those who train together it is one job."""
    if queue is None or not folders:
        return {}
    newest: dict[str, str] = {}
    for job in queue.list(batch=BATCH, limit=_MOST_JOBS):
        people = job.arguments.get("people")
        for folder in [job.folder, *(people if isinstance(people, list | tuple) else ())]:
            newest.setdefault(str(folder), job.id)
    return newest


def _id(home: Path) -> str:
    return ids.digest_id(str(home))
