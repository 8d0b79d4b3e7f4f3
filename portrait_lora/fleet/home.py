"""The home of a fleet: its plan, its people, and the history of what changed, under one cursor."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, cast

from pydantic import Field

from portrait_lora import holding, log, manifest
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.results import Number, Value
from portrait_lora.tasks.shard import files, plan
from portrait_lora.tasks.shard.plan import FleetPlan
from portrait_lora.tasks.shard.records import PersonRecord, PersonState

EVENTS: Final = Path("log") / "events.jsonl"
HEAD: Final = "head"
_NOTHING: Final = {"kind": "note", "state": "", "worker": "", "reason": "", "progress": {}}
_log = log.get(__name__)


class FleetEvent(Value):
    """One change of one person; `number` counts up over all of them, `time` is the head's, since 1970.

    `kind` is `state`, `started`, `progress`, `lost` or `note`; `state` is where the person stands after it.
    `progress` is as in the events of a job: `stage`, `label`, `done`, `total`, `left_s`, `loss`.
    """

    number: int
    time: Number
    person: str
    kind: str
    state: str = ""
    worker: str = ""
    reason: str = ""
    progress: dict[str, object] = Field(default_factory=dict)


@dataclass(slots=True)
class _Place:
    """How far the history was read: up to this byte stands event `number`; `first` tells a file anew."""

    number: int = 0
    byte: int = 0
    inode: int = 0


@dataclass
class FleetHome:
    """A fleet that was begun."""

    path: Path
    _place: _Place = dataclasses.field(default_factory=_Place, repr=False)

    @cached_property
    def plan(self) -> FleetPlan:
        """`fleet.json`, read once."""
        return plan.read(self.path)

    @property
    def people(self) -> tuple[str, ...]:
        """Everybody of the fleet, in the order of the roster."""
        return tuple(self.plan.people)

    @property
    def reports(self) -> Path:
        return self.path / "reports"

    @property
    def log_file(self) -> Path:
        return self.path / EVENTS

    def folder(self, person: str) -> Path:
        """The likeness folder of a person."""
        return files.folder(self.path, person)

    def records(self) -> dict[str, PersonRecord]:
        """Everybody's record, in the order of the roster; one who has none yet is waiting."""
        there = files.records(self.path)
        return {name: there.get(name) or PersonRecord(person=name, digest="") for name in self.people}

    def lead(self) -> holding.Hold:
        """Be the head of this fleet until the hold is released; `InputError` while another one is."""
        file = manifest.make_folder(self.path / files.LOCKS) / HEAD
        file.touch(mode=0o600, exist_ok=True)
        held = holding.hold(file, alone=True)
        if held is None:
            raise InputError(
                "this fleet is at work already",
                where=self.path,
                remedy=f"See: portrait-lora fleet status {self.path}",
            )
        return held

    def note(
        self,
        person: str,
        kind: str,
        *,
        state: PersonState | str = "",
        worker: str = "",
        reason: str = "",
        progress: dict[str, object] | None = None,
    ) -> FleetEvent:
        """Append to the history; only for the head."""
        with manifest.locked(self.log_file):
            self.events(self._place.number)
            event = FleetEvent(
                number=self._place.number + 1,
                time=round(time.time(), 3),
                person=person,
                kind=kind,
                state=str(state),
                worker=worker,
                reason=reason,
                progress=progress or {},
            )
            line = json.dumps(event.model_dump(mode="json", exclude_defaults=True)) + "\n"
            with self.log_file.open("ab") as stream:
                if stream.tell() and not _ends_a_line(self.log_file):
                    stream.write(b"\n")  # a head was killed while it wrote
                stream.write(line.encode())
        return event

    def events(self, after: int = 0) -> Sequence[FleetEvent]:
        """What changed after event number `after`, oldest first; a damaged line is left out."""
        try:
            stream = self.log_file.open("rb")
        except FileNotFoundError:
            self._place = _Place()
            return []
        with stream:
            status = self.log_file.stat()
            place = self._place
            if after < place.number or status.st_ino != place.inode or status.st_size < place.byte:
                place = _Place(inode=status.st_ino)
            stream.seek(place.byte)
            fresh: list[FleetEvent] = []
            for line in stream:
                if not line.endswith(b"\n"):
                    break  # it is just being written
                place.byte += len(line)
                if (event := _event(line)) is not None:
                    place.number = event.number
                    fresh.append(event)
            self._place = place
        return [event for event in fresh if event.number > after]

    def forget(self, person: str) -> None:
        """Remove record, lock and history of a person; the likeness folder is `tasks.forget`'s.

        Only while no head is at work.
        """
        files.forget(self.path, person)
        with manifest.locked(self.log_file):
            whole = self.events()
            kept = [event for event in whole if event.person != person]
            if whole and (not kept or kept[-1].number < whole[-1].number):  # the count goes on from it
                kept.append(whole[-1].model_copy(update={"person": "", **_NOTHING}))
            lines = [json.dumps(e.model_dump(mode="json", exclude_defaults=True)) + "\n" for e in kept]
            if self.log_file.exists():
                manifest.write_text_atomic(self.log_file, "".join(lines))


def open_home(path: Path) -> FleetHome:
    """The fleet in a folder.  Raises `InputError` where there is none."""
    home = FleetHome(path.absolute())
    _ = home.plan
    return home


def _ends_a_line(file: Path) -> bool:
    with file.open("rb") as stream:
        stream.seek(-1, 2)
        return stream.read(1) == b"\n"


def _event(line: bytes) -> FleetEvent | None:
    try:
        raw = cast(object, json.loads(line))
        return FleetEvent.read(raw)
    except (ValueError, ArtifactError) as error:
        _log.debug("a line of the history cannot be read: %s", error)
        return None
