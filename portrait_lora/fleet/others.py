"""The plan of a fleet and the records of others, without a person who is forgotten."""

from __future__ import annotations

from pathlib import Path

from portrait_lora.tasks.shard import files, plan
from portrait_lora.tasks.shard.plan import FleetPlan
from portrait_lora.tasks.shard.records import PersonRecord


def plan_without(whole: FleetPlan, person: str) -> FleetPlan:
    """The plan without them; the same one where they are not in it."""
    if person not in whole.people:
        return whole
    people = {name: own for name, own in whole.people.items() if name != person}
    return whole.model_copy(update={"people": people})


def record_without(record: PersonRecord, person: str) -> PersonRecord:
    """The record of somebody who trained in one pass with them; the same one of everybody else."""
    if person not in record.together:
        return record
    return record.model_copy(update={"together": tuple(one for one in record.together if one != person)})


def forget(home: Path, person: str) -> None:
    """Write the plan and the records of others in a home, or a copy of one, without the person.

    Raises `ArtifactError` for a plan that is damaged; a damaged record counts for nothing anyway.
    """
    for name, record in files.records(home).items():
        if name != person and (rest := record_without(record, person)) is not record:
            files.write(home, rest)
    if (home / plan.FILE).is_file():
        whole = plan.read(home)
        if (rest := plan_without(whole, person)) is not whole:
            plan.write(home, rest)
