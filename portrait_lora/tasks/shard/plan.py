"""`fleet.json`: what every worker of a fleet has to know, and that it is the same one everywhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from portrait_lora import manifest, strict_json
from portrait_lora.errors import InputError
from portrait_lora.results import Number, Value
from portrait_lora.tasks.shard.acceptance import Rule

FILE: Final = "fleet.json"
FORMAT: Final = 1
_PERSON: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")


class Sheet(Value):
    """A series or brand file with what it names: `files` below `root` (of the machine with the roster) with
    their sha256; `name` is the sheet's own among them.  Copies lie in `sheets/` of the home."""

    root: str
    name: str
    files: dict[str, str]


class FleetPlan(Value):
    """What a fleet is, for all of its workers.

    `settings` (`KEY=VALUE`) are for everybody, `people` maps each person to their own, which go over those;
    both go over the `likeness.yaml` of a person.  `series` and `brand` are files or names for everybody.
    `threads` is how many threads of the processor one person's work uses: with others the last bits of an
    adapter differ, so all workers use the same; 0 leaves it to each machine.  `packs` and `bases` map the
    names in use to their digests, `versions` are those of the program and the packages that made it.
    `begun_at` is when it was begun, in seconds since 1970: no worker's clock may be before it.
    `sheets` are the files that `series` and `brand` name.
    """

    format: int = FORMAT
    roster: str
    roster_sha256: str
    people: dict[str, tuple[str, ...]]
    settings: tuple[str, ...] = ()
    series: str = ""
    brand: str = ""
    acceptance: Rule = Rule()
    together: Annotated[int, Field(ge=1, le=64)] = 1
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    price_per_hour: Number | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    packs: dict[str, str] = Field(default_factory=dict)
    bases: dict[str, str] = Field(default_factory=dict)
    begun_at: Number = 0
    sheets: dict[str, Sheet] = Field(default_factory=dict)

    def overrides(self, person: str) -> tuple[str, ...]:
        """The settings of one person, as behind `-s`.  Raises `InputError` for somebody else."""
        if person not in self.people:
            raise unknown(person, self.people)
        own = [f"generate.series={self.series}"] if self.series else []
        own += [f"generate.brand={self.brand}"] if self.brand else []
        return (*own, *self.settings, *self.people[person])


def unknown(person: str, people: dict[str, tuple[str, ...]]) -> InputError:
    """The error for somebody who is not in a fleet."""
    from difflib import get_close_matches

    close = get_close_matches(person, people, 1, cutoff=0.5)
    remedy = f"Did you mean {close[0]!r}?" if close else "See: portrait-lora fleet status"
    return InputError("nobody of this name is in the fleet", where=person, remedy=remedy)


def require_person(name: str) -> str:
    """The name, if it is one that a folder may have; `InputError` otherwise."""
    if not _PERSON.fullmatch(name):
        needed = "small letters, digits, - and _, at most 80"
        raise InputError("not the name of a person in a fleet", where=name, needed=needed)
    return name


def read(home: Path) -> FleetPlan:
    """The plan of the fleet in `home`; `InputError` where there is none, `ArtifactError` when damaged."""
    file = home / FILE
    if not file.is_file():
        raise InputError(
            "not the home of a fleet",
            where=home,
            got=f"no {FILE} in it" if home.is_dir() else "no such folder",
            needed="a folder that `fleet run` or `fleet check` made",
            remedy="Begin one with: portrait-lora fleet run people.csv",
        )
    raw = strict_json.load_object(file, "fleet", max_bytes=64 * 1024 * 1024)
    if isinstance(number := raw.get("format"), int) and number > FORMAT:
        raise InputError(
            "this fleet was made by a later version of this program",
            where=file,
            got=f"format {number}",
            needed=f"format {FORMAT}",
            remedy="Update portrait-lora on this machine.",
        )
    return FleetPlan.read(raw, file)


def write(home: Path, plan: FleetPlan) -> None:
    """Write the plan, whole or not at all."""
    manifest.write_json_atomic(home / FILE, plan.json_value())
