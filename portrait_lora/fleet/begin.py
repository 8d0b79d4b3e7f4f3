"""From a roster to a fleet that can be worked on: everybody enrolled, and `fleet.json` written."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from portrait_lora import config, log, manifest, summaries
from portrait_lora.errors import InputError, PortraitError
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.families import catalog
from portrait_lora.fleet import enrol, sheets
from portrait_lora.fleet.enrol import Enrolled
from portrait_lora.fleet.home import FleetHome, open_home
from portrait_lora.fleet.roster import Roster
from portrait_lora.tasks.shard import plan
from portrait_lora.tasks.shard.acceptance import Rule

_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Begun:
    """A fleet, and what enrolling did for everybody of the roster."""

    home: FleetHome
    people: tuple[Enrolled, ...]


def begin(roster: Roster, folder: Path, *, threads: int | None = None, usual_threads: int = 0) -> Begun:
    """Enrol everybody of a roster into a folder and write the plan, anew where the roster has changed.

    `threads` is how many threads of the processor one person's work uses; None leaves it as it was, or at
    `usual_threads` for a new fleet.  Raises `InputError` for a rule of acceptance that is none, or a folder
    that is the home of another roster.
    """
    rule = rule_of(roster.acceptance, roster.path)
    before = plan.read(folder) if (folder / plan.FILE).is_file() else None
    if before is not None and Path(before.roster) != roster.path:
        raise InputError(
            "this is the home of another roster",
            where=folder,
            got=before.roster,
            needed=str(roster.path),
            remedy="Choose another folder with --home, or put the roster back in its place.",
        )
    manifest.make_folder(folder)
    people = enrol.enrol(roster, folder)
    packs, bases = _models(people)
    kept = before.threads if before else usual_threads
    now = plan.FleetPlan(
        roster=str(roster.path),
        roster_sha256=roster.sha256,
        people={one.entry.person: () for one in people if not one.is_forgotten},
        settings=roster.settings,
        series=roster.series,
        brand=roster.brand,
        acceptance=rule,
        together=_together(roster),
        threads=kept if threads is None else threads,
        price_per_hour=roster.price_per_hour,
        versions=summaries.versions(),
        packs=packs,
        bases=bases,
        begun_at=before.begun_at if before else round(time.time(), 3),
    )
    if copies := sheets.copied(roster, folder):
        now = now.model_copy(update={"sheets": copies})
    if now != before:
        plan.write(folder, now)
    return Begun(open_home(folder), people)


def rule_of(numbers: Mapping[str, float | None], where: object = "acceptance") -> Rule:
    """The rule of acceptance with these numbers.  Raises `InputError` naming the one that does not fit."""
    values: dict[str, object] = {
        key: int(value) if key == "tries" and value is not None and float(value).is_integer() else value
        for key, value in numbers.items()
    }
    try:
        return Rule.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        known = ", ".join(Rule.model_fields)
        raise InputError("unknown figure in the rule of acceptance", where=where, got=key, needed=known)
    needed = first["msg"].lower()
    raise InputError(
        "the rule of acceptance is wrong", where=where, got=f"{key}: {numbers[key]}", needed=needed
    )


def _models(people: tuple[Enrolled, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """Face packs and bases in use -> digests, as they are here; those that are not here are left out."""
    packs: dict[str, str] = {}
    bases: dict[str, str] = {}
    for one in people:
        file = one.folder / config.FILE_NAME
        try:
            chosen = config.load(file, ()) if file.is_file() else None
            if chosen is None:
                continue
            if chosen.base not in bases:
                bases[chosen.base] = catalog.resolve_base(chosen.base).digest
            if chosen.face_pack not in packs:
                packs[chosen.face_pack] = resolve_pack(chosen.face_pack).digest
        except PortraitError as error:  # the worker says so in the record of the person
            _log.debug("%s", error)
    return packs, bases


def _together(roster: Roster) -> int:
    """How many people a worker takes at once: as many as train, or are drawn, together."""
    settings = config.load(None, roster.settings)
    return max(settings.training.together, settings.generate.together)
