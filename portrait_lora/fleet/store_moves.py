"""Everybody of a fleet into a store, and back: for workers that no head is watching."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from portrait_lora import log
from portrait_lora.errors import InputError
from portrait_lora.fleet import elsewhere
from portrait_lora.fleet.elsewhere import Elsewhere
from portrait_lora.fleet.store import Workplace


def send(home: Path, url: str, people: Sequence[str]) -> list[str]:
    """Put the plan of a fleet and these people into a store; who had changed.  Raises `StoreError`."""
    place = _place(home, url)
    elsewhere.remember(home, Elsewhere(store=url))
    place.deliver_plan()
    with log.progress("to the store", len(people)) as advance:
        changed: list[str] = []
        for person in people:
            if place.deliver(person):
                changed.append(person)
            advance()
    return changed


def bring(home: Path, url: str, people: Sequence[str]) -> list[str]:
    """Bring what the store has of these people; of whom there was something new.  Raises `StoreError`."""
    place = _place(home, url)
    there = set(place.people())
    changed: list[str] = []
    with log.progress("from the store", len(people)) as advance:
        for person in people:
            if person in there and place.fetch(person):
                changed.append(person)
            advance()
    return changed


def _place(home: Path, url: str) -> Workplace:
    place = Workplace(url, home, is_head=True)
    if place.is_shared:
        raise InputError(
            "a folder needs no copies", where="--store", got=url, needed="such as s3://bucket/fleet"
        )
    return place
