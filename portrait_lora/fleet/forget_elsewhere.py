"""Forgetting one person where a fleet has sent them: in its stores, on this machine, on nodes of clusters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from portrait_lora import log
from portrait_lora.errors import InputError, PortraitError
from portrait_lora.fleet import elsewhere, ray_nodes
from portrait_lora.fleet.elsewhere import Elsewhere
from portrait_lora.fleet.ray_cluster import RayPlace
from portrait_lora.fleet.store import Workplace

_log = log.get(__name__)


def of(
    home: Path, *, store: str = "", address: str = "", clusters_gone: bool = False, nodes_gone: bool = False
) -> Callable[[str], tuple[int, int]]:
    """What forgets a person in every place of this fleet; how many objects and nodes there were.

    `store` and `address` are further ones, or for homes that do not know any more where they have sent
    people; `clusters_gone` and `nodes_gone` say that the clusters of before, or the nodes that left them,
    exist no more.  Raises `InputError` for an address without a store: nodes have copies only of one.
    """
    places = list(elsewhere.read(home))
    if store:
        places.append(Elsewhere(store=store, address=address))
    elif address:
        if not places:
            raise InputError(
                "nodes have copies only where the fleet has a store",
                where="--address",
                got=address,
                remedy="Name the store as well: --store URL",
            )
        places += [Elsewhere(store=one.store, address=address, scratch=one.scratch) for one in places]
    clusters = {} if clusters_gone else {(one.address, one.store, one.scratch): one for one in places}

    def forget(person: str) -> tuple[int, int]:
        """Stores first: a worker that starts meanwhile gets nothing of the person any more.

        Every cluster is asked, whatever another has answered; then the first error is raised.
        """
        objects = sum(
            Workplace(url, home, is_head=True).forget(person)
            for url in dict.fromkeys(p.store for p in places)
        )
        for one in {(one.store, one.scratch) for one in places}:
            if left := ray_nodes.drop_copy(*one, person):
                remedy = "Stop the worker, and run it again: it goes on."
                raise PortraitError("this machine still has a copy", where=person, got=left, remedy=remedy)
        nodes, failed = 0, list[PortraitError]()
        for one in (one for one in clusters.values() if one.address):
            try:
                nodes += _on_cluster(one, person, nodes_gone)
            except PortraitError as error:
                failed.append(error)
        for error in failed[1:]:
            _log.error("%s", error)
        if failed:
            raise failed[0]
        return objects, nodes

    return forget


def _on_cluster(place: Elsewhere, person: str, nodes_gone: bool) -> int:
    where = RayPlace(address=place.address, store=place.store, scratch=place.scratch)
    try:
        return ray_nodes.forget(where, person, left_are_gone=nodes_gone)
    except InputError as error:
        remedy = "Start it, or say --clusters-gone when its machines exist no more; then run it again."
        raise InputError(error.what, where=place.address, got=error.got, remedy=remedy) from error
