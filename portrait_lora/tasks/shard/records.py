"""What a fleet writes down of each person: where they stand, every start of the work, and what came of it.

`HOME/shards/<person>.json` is written by whoever holds that person, and only read by everybody else; a worker
that is lost leaves the record of its last word, and the next one goes on from there.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from portrait_lora.results import Number, Value


class PersonState(StrEnum):
    """Where a person of a fleet stands; a fleet is over when nobody is waiting or running."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    """Everything is made and passes the fleet's rule of acceptance."""
    NEEDS_PHOTOS = "needs_photos"
    """Too few usable photos, or two tries that did not pass: others are asked for."""
    NEEDS_CONSENT = "needs_consent"
    """No consent, one for other purposes, or one that has ended."""
    SET_ASIDE = "set_aside"
    """Failed twice; the reason is in the last start."""
    FORGOTTEN = "forgotten"

    @property
    def is_over(self) -> bool:
        return self not in (PersonState.WAITING, PersonState.RUNNING)


class Ended(StrEnum):
    """How one start of the work ended."""

    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    """The work was done, and the likeness does not pass the rule of acceptance."""
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """Stopped with its state saved: it goes on, and does not count as a failure."""
    LOST = "lost"
    """The worker is gone without a word; it goes on from the last checkpoint."""


class ErrorRecord(Value):
    """An error in the words of `--json`."""

    what: str
    where: str = ""
    got: str = ""
    needed: str = ""
    remedy: str = ""
    exit_code: int = 1


class Start(Value):
    """One start of the work: `began` and `ended_at` in seconds since 1970 by the worker's own clock,
    `device_s` the seconds on the device; None while it runs.

    `resumed_from` and `steps` count training steps: where it went on, and how far it came.
    """

    number: int
    worker: str
    device: str
    began: Number
    ended_at: Number | None = None
    device_s: Number = 0
    ended: Annotated[Ended, Field(strict=False)] | None = None
    error: ErrorRecord | None = None
    resumed_from: int | None = None
    steps: int = 0
    stages: tuple[str, ...] = ()
    """The stages that this start has finished."""
    is_fault_of_worker: bool = False
    """Failed for want of disk, memory or a model of the worker: no failure of the person."""
    digest: str = ""
    """What the work was of: that of the record then."""


class Figures(Value):
    """The likeness of one person, from run.json; shares from 0 to 1, None where it was not measured."""

    similarity: Number
    ci95: tuple[Number, Number]
    ceiling: Number
    share_of_ceiling: Number | None
    verified_rate: Number
    face_found_rate: Number
    copy_score: Number | None
    portraits: int


class PersonRecord(Value):
    """Everything a fleet knows of one person.

    `digest` is of what decides the result: photos, settings, base, pack and the version of this program; work
    of another digest is begun anew.  `tries` counts the tries at acceptance, `settings` are what a second one
    changes.  `adapter_sha256` is that of `adapter.safetensors`.
    """

    person: str
    digest: str
    state: Annotated[PersonState, Field(strict=False)] = PersonState.WAITING
    starts: tuple[Start, ...] = ()
    tries: int = 1
    settings: tuple[str, ...] = ()
    reason: str = ""
    advice: tuple[str, ...] = ()
    figures: Figures | None = None
    adapter_sha256: str = ""
    stage_seconds: dict[str, float] = Field(default_factory=dict)
    glance: str = ""
    """Of what can be seen without reading a photo; where it differs, a worker looks again."""
    together: tuple[str, ...] = ()
    """Those whose adapters were trained in the same pass; empty for one trained alone."""

    @property
    def failures(self) -> int:
        """Starts of the present work that failed by no fault of the worker's."""
        return sum(start.ended is Ended.FAILED and not start.is_fault_of_worker for start in self.present)

    @property
    def present(self) -> tuple[Start, ...]:
        """The starts of the work as it is now: not those from other photos or settings."""
        return tuple(start for start in self.starts if start.digest == self.digest)

    @property
    def device_s(self) -> float:
        """Seconds on a device over all starts: what is paid for."""
        return float(sum(start.device_s for start in self.starts))


class Shard(Value):
    """The work of one worker at a time: one person, or several of one base who train together.

    `weight` is the work expected, in seconds of one device; only its proportions matter.
    """

    people: tuple[str, ...]
    weight: float = 1.0

    @property
    def name(self) -> str:
        """The first of its people: nobody is in two shards."""
        return self.people[0]
