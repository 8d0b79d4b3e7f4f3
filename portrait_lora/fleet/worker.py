"""The worker that job files start: at a shared folder, or with copies from a store."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

from portrait_lora.fleet import alone, places
from portrait_lora.fleet.home import open_home
from portrait_lora.fleet.objects import is_folder
from portrait_lora.fleet.store import Workplace
from portrait_lora.jobs import slots
from portrait_lora.tasks.shard import files, plan
from portrait_lora.tasks.shard.records import PersonRecord


def work(
    home: str, people: Sequence[str], *, part: str = "", worker: str = "", device: str = "auto"
) -> dict[str, PersonRecord]:
    """Do the work of these people (or everybody), beginning with `part` (`I/N`); the records of those done.

    `home` is a folder that all workers see, or the address of a store.  Raises `InputError` for another
    place, person or part; `Interrupted` when stopped, state saved.
    """
    if is_folder(home):
        open_home(Path(home))
    place = Workplace(home, Path(home) if is_folder(home) else places.usual_scratch())
    if not place.is_shared:
        place.fetch_plan()
    whole = plan.read(place.home)
    for person in people:
        whole.overrides(person)
    everybody = tuple(people) or tuple(whole.people)
    own = alone.part_of(everybody, part) if part else everybody
    order = [*own, *(person for person in everybody if person not in own)]
    os.environ |= slots.environment(device, whole.threads) or {}
    name = worker or platform.node() or "worker"

    def do(shard: Sequence[str]) -> Sequence[PersonRecord]:
        return places.work_at(place, shard, worker=name, device=device)

    before = files.records(place.home) if place.is_shared else {}
    return alone.work_through(order, before, do, together=whole.together)
