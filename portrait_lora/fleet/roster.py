"""A roster: whose portraits are wanted, as a CSV table or YAML, and what is set for all of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final, cast

from portrait_lora import config, manifest
from portrait_lora.errors import ConfigError, InputError, PortraitError
from portrait_lora.fleet import roster_csv, roster_yaml
from portrait_lora.fleet.rows import Row, raise_all
from portrait_lora.fleet.slugs import PATTERN, same_name, slug_of
from portrait_lora.written import plain

KINDS: Final = ("person", "woman", "man")
MOST_NAME: Final = 80
_YAML: Final = (".yaml", ".yml", ".json")
_EMAIL: Final = re.compile(r"[^\s@<>,;\"]+@[^\s@<>,;\"]+\.[^\s@<>,;\".]+")


@dataclass(frozen=True, slots=True)
class Entry:
    """One person of a roster.

    `person` is the folder name, unique in the roster; `photos` a folder or an archive, absolute; `settings`
    are `KEY=VALUE` as behind `-s`; `line` where the entry stands.
    """

    person: str
    name: str
    photos: Path
    kind: str
    consent: Path | None
    group: str
    email: str
    settings: tuple[str, ...]
    line: int = 0

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups, where `group` names several with semicolons between."""
        return tuple(part.strip() for part in self.group.split(";") if part.strip())


@dataclass(frozen=True, slots=True)
class Roster:
    """The people in the order of the file, and what is set for all of them.

    `series` and `brand` are packaged names or absolute paths; `acceptance` the rule as written, by key;
    `price_per_hour` of one device; `sha256` that of the file, and of the table that its head names.
    """

    path: Path
    entries: tuple[Entry, ...]
    settings: tuple[str, ...] = ()
    series: str = ""
    brand: str = ""
    acceptance: Mapping[str, float | None] = field(default_factory=dict[str, float | None])
    price_per_hour: float | None = None
    sha256: str = ""

    @property
    def home(self) -> Path:
        """Where a fleet of this roster lies unless another place is named."""
        return self.path.parent / f"{self.path.stem}-fleet"

    def entry(self, person: str) -> Entry:
        """Of this folder name, or of this name.  Raises `InputError` when nobody is called so."""
        for one in self.entries:
            if person == one.person or same_name(person) == same_name(one.name):
                return one
        raise InputError("nobody of that name is on the roster", where=self.path, got=repr(person[:80]))


def read(path: Path) -> Roster:
    """The roster in a CSV file or a YAML file.

    Raises `InputError` for what cannot be understood: file, line, column and what would be right; where
    several rows are wrong, the first in full and the others behind it.
    """
    if not path.is_file():
        got = "a folder" if path.is_dir() else "no such file"
        raise InputError("no roster here", where=path, got=got, needed="a CSV or YAML file of people")
    digests = [manifest.sha256_file(path)]
    head, rows = Row(path, 1, {}, {}), None
    if path.suffix.lower() in _YAML:
        head, rows = roster_yaml.read_rows(path)
        if rows is None:
            table = _place(head, "people")
            rows = roster_csv.read_rows(table)
            digests.append(manifest.sha256_file(table))
    else:
        rows = roster_csv.read_rows(path)
    if not rows:
        needed = "one row per person, with name and photos"
        raise InputError("the roster names nobody", where=path, got="no rows", needed=needed)
    everybody = _settings(head)
    _valid(everybody, head)
    return Roster(
        path.absolute(),
        _entries(rows, everybody),
        everybody,
        _packaged(head, "series"),
        _packaged(head, "brand"),
        _acceptance(head),
        _price(head),
        digests[0] if len(digests) == 1 else manifest.digest(digests),
    )


def _entries(rows: Iterable[Row], everybody: tuple[str, ...]) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    problems: list[PortraitError] = []
    seen: dict[str, tuple[Row, str]] = {}
    for row in rows:
        try:
            entry = _entry(row, everybody)
            _refuse_twice(row, entry, seen)
            entries.append(entry)
        except PortraitError as error:
            problems.append(error)
    raise_all(problems)
    return tuple(entries)


def _entry(row: Row, everybody: tuple[str, ...]) -> Entry:
    name = " ".join(row.text("name").split())
    if not name or len(name) > MOST_NAME:
        needed = f"a name of 1 to {MOST_NAME} characters"
        raise InputError("this person has no name", where=row.where("name"), got=name[:80], needed=needed)
    kind = row.text("kind").casefold() or KINDS[0]
    if kind not in KINDS:
        raise InputError(
            "not a kind of subject", where=row.where("kind"), got=repr(kind[:80]), needed=", ".join(KINDS)
        )
    email = row.text("email")
    if email and not _EMAIL.fullmatch(email):
        raise InputError("not an e-mail address", where=row.where("email"), got=repr(email[:80]))
    person = row.text("person") or slug_of(name)
    if not PATTERN.fullmatch(person):
        raise InputError(
            "not a name for a folder", where=row.where("person"), got=repr(person[:80]),
            needed="small letters, digits and hyphens, at most 64",
        )  # fmt: skip
    settings = _settings(row)
    _valid((*everybody, *settings), row)
    return Entry(
        person, name, _place(row, "photos"), kind, _place(row, "consent") if row.text("consent") else None,
        row.text("group"), email, settings, row.line,
    )  # fmt: skip


def _refuse_twice(row: Row, entry: Entry, seen: dict[str, tuple[Row, str]]) -> None:
    if entry.person in seen:
        other, name = seen[entry.person]
        raise InputError(
            "two people of one name",
            where=row.where("person" if row.text("person") else "name"),
            got=f"{entry.name!r} here and {name!r} in line {other.line}",
            remedy="If they are two, give each a word of its own in the column 'person' (a staff number, "
            "say); if they are one, keep one row.",
        )
    seen[entry.person] = (row, entry.name)


def _place(row: Row, column: str) -> Path:
    """The absolute path of a value: from the roster's folder, or from the home folder behind `~`."""
    text = row.text(column)
    if not text:
        raise InputError(f"no {column}", where=row.where(column), needed="a path")
    path = row.file.absolute().parent / _home(text)
    slashes = row.file.absolute().parent / _home(text.replace("\\", "/"))
    return slashes if "\\" in text and not path.exists() else path  # as Windows writes it


def _home(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # no such user
        return Path(text)


def _packaged(head: Row, key: str) -> str:
    """A packaged name as it is, a YAML file by its absolute path."""
    text = head.text(key)
    is_file = text.endswith((".yaml", ".yml")) or "/" in text
    if is_file and not _place(head, key).is_file():
        raise InputError(f"no such {key}", where=head.where(key), got=text, needed="a YAML file, or a name")
    return str(_place(head, key)) if is_file else text


def _acceptance(head: Row) -> dict[str, float | None]:
    value = plain(head.cells.get("acceptance"))
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError("the rule of acceptance is not a mapping", where=head.where("acceptance"))
    return {key: _figure(head, key, plain(one)) for key, one in cast(Mapping[str, object], value).items()}


def _figure(head: Row, key: str, value: object) -> float | None:
    """A number, or None, which asks nothing."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(
            f"{key!r} is not a number",
            where=head.where("acceptance"),
            got=repr(value),
            needed="a number, or null to ask nothing of this figure",
        )
    return float(value)


def _price(head: Row) -> float | None:
    value = plain(head.cells.get("price_per_hour"))
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        needed = "a price of one device for one hour, 0 or more"
        raise InputError("not a price", where=head.where("price_per_hour"), got=repr(value), needed=needed)
    return float(value)


def _settings(row: Row) -> tuple[str, ...]:
    """`KEY=VALUE` of `a.b=1; c=2`, of a list of such, or of a mapping."""
    value = row.cells.get("settings")
    if isinstance(value, dict):
        return tuple(_pairs_of(cast(Mapping[str, object], value)))
    texts = cast(list[object], value) if isinstance(value, list) else [row.text("settings")]
    return tuple(pair for text in texts for pair in _split(str(text)))


def _pairs_of(tree: Mapping[str, object], before: str = "") -> Iterable[str]:
    from portrait_lora.yaml_edit import scalar

    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _pairs_of(cast(Mapping[str, object], value), f"{before}{key}.")
        else:
            yield f"{before}{key}={scalar(value)}"


def _split(text: str) -> list[str]:
    """The parts between semicolons that stand in no brackets and no quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        else:
            depth += (letter in "[{") - (letter in "]}")
        if letter == ";" and not quote and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def _valid(settings: tuple[str, ...], row: Row) -> None:
    if problem := _problem(settings):
        raise ConfigError(
            problem.what, where=f"{row.where('settings')}, {problem.where}", got=problem.got,
            needed=problem.needed, remedy=problem.remedy,
        )  # fmt: skip


@lru_cache(maxsize=512)
def _problem(settings: tuple[str, ...]) -> PortraitError | None:
    """What is wrong with the settings; most rows share theirs."""
    try:
        config.load(None, settings)
    except PortraitError as error:
        return error
    return None
