"""What is done on every node of a Ray cluster: copies of somebody who was forgotten are removed."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from portrait_lora.errors import PortraitError
from portrait_lora.fleet import places, ray_cluster, traces
from portrait_lora.fleet.ray_cluster import RayPlace
from portrait_lora.fleet.store import Workplace
from portrait_lora.tasks.shard import files

_BUSY: Final = "a worker of this node is at work on the person"


def forget(where: RayPlace, person: str) -> int:
    """Remove copies of a person from every node of a cluster that works with a store; how many nodes.

    Raises `PortraitError` when a node does not answer, or something is left on one; `InputError` when no
    cluster answers.
    """
    cluster = ray_cluster.connect(where, 1)
    try:
        answers = cluster.on_every_node(drop_copy, where.store, where.scratch, person)
    finally:
        cluster.close()
    if left := [str(answer) for answer in answers if answer]:
        remedy = "Stop the workers, and run it again: it goes on."
        raise PortraitError(
            "a node still has something of the person", where=where.address, got=left[0], remedy=remedy
        )
    return len(answers)


def drop_copy(url: str, scratch: str, person: str) -> str:
    """Remove the copy of a person from this machine's scratch; what is left of them, empty for nothing."""
    place = Workplace(url, Path(scratch) if scratch else places.usual_scratch())
    if place.is_shared or not place.home.is_dir():
        return ""
    held = files.hold(place.home, person)
    if held is None:
        return _BUSY
    with held:
        try:
            place.forget_copy(person)
        except FileNotFoundError:  # another node on the same machine does the same
            place.forget_copy(person)
    left = traces.left(place.home, person, ())
    return "" if not left else f"{len(left)} files, such as {left[0].relative_to(place.home)}"
