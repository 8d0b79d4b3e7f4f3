"""Series and brand files of a roster with the pictures that they name: copied into the home, and into stores.

Relative names stay as they are: what a sheet names keeps its place beside the copy.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

from portrait_lora import log, manifest, removal
from portrait_lora.errors import ArtifactError
from portrait_lora.fleet import transfer
from portrait_lora.fleet.listing import Entry
from portrait_lora.fleet.objects import Objects
from portrait_lora.fleet.roster import Roster
from portrait_lora.tasks.shard import sheets
from portrait_lora.tasks.shard.plan import FleetPlan, Sheet

_log = log.get(__name__)


def copied(roster: Roster, home: Path) -> dict[str, Sheet]:
    """Copy the sheets of a roster into the home; path of the sheet -> what was copied.

    Raises `ConfigError` for a sheet that cannot be read.
    """
    placed: dict[str, Sheet] = {}
    for path in [Path(one) for one in (roster.series, roster.brand) if Path(one).is_absolute()]:
        sheet = _sheet(path, "series" if str(path) == roster.series else "brand")
        folder = sheets.folder_of(home, sheet)
        for name, sha256 in sheet.files.items():
            if not (folder / name).is_file() or manifest.sha256_file(folder / name) != sha256:
                manifest.write_bytes_atomic(folder / name, (Path(sheet.root) / name).read_bytes())
        placed[str(path)] = sheet
    return placed


def deliver(home: Path, objects: Objects, plan: FleetPlan) -> None:
    """Put the copies into a store.  Raises `StoreError`, and `ArtifactError` naming a copy that is wrong."""
    for sheet in plan.sheets.values():
        folder = sheets.folder_of(home, sheet)
        there = objects.sizes(f"{sheets.FOLDER}/{folder.name}")
        for name, sha256 in sheet.files.items():
            path, target = folder / name, f"{sheets.FOLDER}/{folder.name}/{name}"
            if not path.is_file():
                raise ArtifactError("a file of this fleet's series or brand is missing", where=path)
            entry = Entry(sha256=sha256, size=path.stat().st_size, mtime_ns=path.stat().st_mtime_ns)
            if there.get(target) == entry.size:
                continue
            if manifest.sha256_file(path) != sha256 or not transfer.upload(objects, path, entry, target):
                raise ArtifactError(
                    "a file of this fleet's series or brand is another one", where=path, needed=sha256[:12],
                    remedy="Run the fleet again: it is copied anew.",
                )  # fmt: skip


def fetch(home: Path, objects: Objects, plan: FleetPlan) -> None:
    """Bring them from a store.  Raises `ArtifactError` naming a file with other bytes than the plan says."""
    for sheet in plan.sheets.values():
        folder = sheets.folder_of(home, sheet)
        for name, sha256 in sheet.files.items():
            path, source = folder / name, f"{sheets.FOLDER}/{folder.name}/{name}"
            if not removal.is_inner(name):
                raise ArtifactError("the plan names a file elsewhere", where=objects.url, got=name)
            if path.is_file() and manifest.sha256_file(path) == sha256:
                continue
            try:
                with transfer.downloaded(objects, source, Entry(sha256=sha256, size=0), path, source) as part:
                    os.replace(part, path)
            except FileNotFoundError as error:
                remedy = "Run the fleet again where its roster is: it is copied anew."
                raise ArtifactError(
                    "a file of this fleet's series or brand is missing", where=source, remedy=remedy
                ) from error


def _sheet(path: Path, kind: str) -> Sheet:
    paths = [path, *_named(path, kind)]
    root = Path(os.path.commonpath([one.parent for one in paths]))
    files = {one.relative_to(root).as_posix(): manifest.sha256_file(one) for one in dict.fromkeys(paths)}
    return Sheet(root=str(root), name=path.relative_to(root).as_posix(), files=files)


def _named(path: Path, kind: str) -> list[Path]:
    """The look file and the pictures, tables and models that a sheet names by a relative path."""
    from portrait_lora.generation import reading
    from portrait_lora.stages.finish import look_of

    tree = reading.tree(path, kind)
    raw = cast(Mapping[object, object], tree).get("finish") if isinstance(tree, dict) else None
    if raw is None:
        return []
    wanted = reading.finish(raw, path, kind)
    look = look_of(wanted)
    beside = path.parent / wanted.look if wanted.look else path
    inside = [beside] if beside.is_file() and beside != path else []
    if wanted.look and not inside:
        return []  # a shipped look, which every worker has
    for text in (text for step in look.steps for text in _texts(step.entry)):
        own = look.folder / text
        if Path(text).is_absolute() and own.is_file():
            _log.warning("%s names %s by its absolute path: every worker needs it there", path.name, text)
        elif text and own.is_file():
            inside += [one for one in (own, own.with_suffix(".json")) if one.is_file()]
    return [Path(os.path.normpath(one)) for one in inside]


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in cast(Mapping[object, object], value).values():
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in cast(list[object], value):
            yield from _texts(one)
