"""People of a fleet who are tried again from the start, because somebody wants it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from portrait_lora.errors import InputError
from portrait_lora.tasks.shard import files
from portrait_lora.tasks.shard.plan import FleetPlan
from portrait_lora.tasks.shard.records import PersonRecord, PersonState

BEFORE: Final = "before a retry"
"""The digest of starts that count no more; what they cost stays."""


def retry(home: Path, plan: FleetPlan, person: str) -> PersonRecord:
    """Let a person wait again, with no failure and no try behind them.

    Raises `InputError` for somebody else, for one who is forgotten, and while a worker has them.
    """
    plan.overrides(person)
    held = files.hold(home, person)
    if held is None:
        remedy = "Stop the fleet, or wait until the worker has ended."
        raise InputError("somebody works on this person", where=person, remedy=remedy)
    with held:
        record = files.sound(home, person) or PersonRecord(person=person, digest="")
        if record.state is PersonState.FORGOTTEN:
            raise InputError("this person was forgotten", where=person)
        starts = tuple(start.model_copy(update={"digest": BEFORE}) for start in record.starts)
        again = PersonRecord(person=person, digest=record.digest, starts=starts)
        files.write(home, again)
        return again
