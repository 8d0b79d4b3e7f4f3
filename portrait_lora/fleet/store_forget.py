"""One person out of a store: their own objects, and what the store's plan and the records of others say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from portrait_lora.errors import ArtifactError, PortraitError
from portrait_lora.fleet import others
from portrait_lora.fleet.listing import Entry
from portrait_lora.fleet.objects import Numbered, Objects
from portrait_lora.results import Value
from portrait_lora.tasks.shard import files, plan
from portrait_lora.tasks.shard.records import PersonRecord

_AT_ONCE: Final = 8
_ROUNDS: Final = 5
V = TypeVar("V", bound=Value)


def forget(objects: Objects, person: str) -> int:
    """Remove everything of a person, old versions included; how many objects there were.

    Others who read the store at the same time see it before or after.  Raises `PortraitError` when something
    is left, `StoreError` as everything here does.
    """
    places = [f"people/{plan.require_person(person)}", f"claims/{person}"]
    _rewrite_plan(objects, person)
    count = sum(objects.wipe(place) for place in places)
    rest = {name.split("/")[1] for name in objects.sizes("people")}
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        list(threads.map(lambda other: _rewrite_record(objects, other, person), sorted(rest - {person})))
    if left := sum(objects.left(place) for place in places):
        remedy = "Stop the worker that is at work on this person, and run it again."
        raise PortraitError(
            "the store still has something of it", where=objects.url, got=f"{left} bytes", remedy=remedy
        )
    return count


def _rewrite_plan(objects: Objects, person: str) -> None:
    try:
        data = objects.read(plan.FILE)
    except FileNotFoundError:
        return
    rest = _changed(data, plan.FleetPlan, lambda whole: others.plan_without(whole, person), objects.url)
    if rest is not None:
        objects.write(plan.FILE, rest)
    objects.drop_old(plan.FILE)  # earlier versions name whoever was forgotten


def _rewrite_record(objects: Objects, other: str, person: str) -> None:
    """The record of somebody else, where it names the person."""
    listings, name = Numbered(objects, f"people/{other}/listings"), f"{files.SHARDS}/{other}.json"
    for _ in range(_ROUNDS):
        latest = listings.latest()
        if latest is None or name not in latest[1].get("files", {}):
            return
        number, value = latest
        entry = Entry.read(value["files"][name], objects.url)
        try:
            data = objects.read(_blob(other, entry.sha256))
        except FileNotFoundError:  # a later listing came
            continue
        rest = _changed(data, PersonRecord, lambda one: others.record_without(one, person), objects.url)
        if rest is None:
            return
        new = Entry(sha256=hashlib.sha256(rest).hexdigest(), size=len(rest), mtime_ns=entry.mtime_ns)
        objects.write(_blob(other, new.sha256), rest)
        changed = {**value, "files": {**value["files"], name: new.json_value()}}
        if listings.add(number + 1, changed):
            listings.prune(number + 1)
            objects.wipe(_blob(other, entry.sha256))
            return
    raise PortraitError(
        "others write this person all the time", where=objects.url, got=other, remedy="Run it again."
    )


def _changed(data: bytes, kind: type[V], change: Callable[[V], V], where: str) -> bytes | None:
    """The bytes of a value after a change; None where it changed nothing."""
    try:
        raw: Any = json.loads(data)
    except ValueError as error:
        raise ArtifactError(f"the {kind.__name__} in the store is damaged", where=where, got=error) from error
    before = kind.read(raw, where)
    after = change(before)
    if after is before:
        return None
    return (json.dumps(after.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode()


def _blob(person: str, sha256: str) -> str:
    return f"people/{person}/files/{sha256}"
