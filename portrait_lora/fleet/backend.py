"""What a fleet asks of those who do its work: five methods behind which a queue, Ray or a simulation stands.

A backend only places shards and says what became of them.  What is to be done next, how often and for whom
is the scheduler's; what the work is, the shard's (`portrait_lora.tasks.shard`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from portrait_lora.tasks.shard.records import Shard

CANCELLED: Final = "cancelled by hand"
"""The reason of an `ENDED` that somebody wanted: the shard is not placed again in this run."""


class ChangeKind(StrEnum):
    """`STARTED` on a worker, `PROGRESS` of one that runs, `ENDED` with its record written, `LOST`."""

    STARTED = "started"
    PROGRESS = "progress"
    ENDED = "ended"
    LOST = "lost"
    """The worker is gone, or never answered: its shard may be placed again at once."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened to a shard since the last call; `progress` as in the events of a job: `stage`,
    `label`, `done`, `total`, `left_s` and fields such as `loss`."""

    kind: ChangeKind
    shard: str
    worker: str = ""
    progress: dict[str, object] = field(default_factory=dict[str, object])
    reason: str = ""


class Backend(Protocol):
    """Where shards are done; all calls come from one thread, none blocks for longer than a second."""

    name: str

    def free(self) -> int:
        """How many more shards may be placed now; workers come and go."""
        ...

    def place(self, shard: Shard) -> None:
        """Give a shard to a worker.  One that is placed already is not placed twice."""
        ...

    def changes(self) -> Sequence[Change]:
        """What happened since the last call, in order."""
        ...

    def cancel(self, shard: str) -> None:
        """Ask its worker to stop within a step, state saved; `ENDED` follows."""
        ...

    def close(self) -> None:
        """Stop all of them within a step, state saved, and let go of the workers."""
        ...
