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


def forget(where: RayPlace, person: str, *, left_are_gone: bool = False) -> int:
    """Remove copies of a person from every node of a cluster that works with a store; how many nodes.

    Raises `PortraitError` naming the nodes on which the person is not forgotten: those that do not answer or
    still have something, and, unless `left_are_gone`, those that left the cluster.  On all others it is done.
    Raises `InputError` when no cluster answers.
    """
    cluster = ray_cluster.connect(where, 1)
    try:
        answers = cluster.on_every_node(drop_copy, where.store, where.scratch, person)
    finally:
        cluster.close()
    nodes = [one for one in answers if not (one.left and left_are_gone)]
    if not_done := [f"{one.node}: {one.error or one.value}" for one in nodes if one.error or one.value]:
        remedy = "Stop its workers or start it again, then run this again: it goes on."
        if any(one.left for one in nodes):
            remedy += " When its machine exists no more, say --nodes-gone."
        raise PortraitError(
            f"not forgotten on {len(not_done)} of {len(nodes)} nodes",
            where=where.address,
            got="; ".join(not_done),
            remedy=remedy,
        )
    return len(nodes)


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
