"""What changed in a person's roster entry since they were enrolled, taken over into their folder.

New photos are copied, those that left the roster's folder are put aside in `removed/`; a photo that was
removed in the studio stays removed, and a setting that was changed by hand stays as it is.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast

from portrait_lora import config, likeness, manifest, yaml_edit
from portrait_lora.errors import InputError
from portrait_lora.fleet.enrolment import SourceFile
from portrait_lora.settings import LikenessConfig

REMOVED: Final = "removed"
_MISSING: Final = object()


def seen_files(photos: Path, before: Mapping[str, SourceFile]) -> dict[str, SourceFile]:
    """The files of a source folder; only those whose size or time changed are read."""
    seen: dict[str, SourceFile] = {}
    for path in likeness.photo_files(photos):
        old = before.get(path.name)
        if old is not None and old.is_as_seen(path):
            seen[path.name] = old.model_copy(update={"copy_name": ""})
        else:
            status = path.stat()
            seen[path.name] = SourceFile(
                size=status.st_size, mtime_ns=status.st_mtime_ns, sha256=manifest.sha256_file(path)
            )
    return seen


def take_photos(
    photos: Path, folder: Path, now: Mapping[str, SourceFile], before: Mapping[str, SourceFile]
) -> tuple[dict[str, SourceFile], list[str], list[str], list[str]]:
    """Copy what is new into `folder/photos`, put aside what left; the files with the names of their copies,
    the names added and put aside, and notes.

    `before` are the files of the last time, by their names then.
    """
    place = folder / "photos"
    there = {manifest.sha256_file(p): p.name for p in likeness.photo_files(place)}
    earlier = {seen.sha256 for seen in before.values()}
    earlier |= {manifest.sha256_file(p) for p in _files(folder / REMOVED)}
    names = {path.name.casefold() for path in place.iterdir()}
    taken: dict[str, SourceFile] = {}
    added: list[str] = []
    with manifest.new_files(place) as part:
        for name, seen in now.items():
            if seen.sha256 not in there and seen.sha256 not in earlier:
                copy = _free(name, names)
                names.add(copy.casefold())
                shutil.copyfile(photos / name, part / copy)
                there[seen.sha256] = copy
                added.append(copy)
            taken[name] = seen.model_copy(update={"copy_name": there.get(seen.sha256, "")})
    out = {s.sha256 for s in before.values() if s.copy_name} - {s.sha256 for s in now.values()}
    aside, notes = _put_aside(folder, [there[sha256] for sha256 in sorted(out) if sha256 in there])
    return taken, added, aside, notes


def _put_aside(folder: Path, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Move photos into `removed/`; one that the settings name stays, with a note."""
    if not names:
        return [], []
    settings = config.load(_file(folder)).dataset
    lists = (*settings.curate.use_anyway, *settings.curate.same_person, *settings.curate.other_person)
    named = {*lists, *(edit.file for edit in settings.edits)}
    aside: list[str] = []
    notes: list[str] = []
    for name in sorted(names):
        if name in named:
            notes.append(f"{name} left the roster's folder, and stays: {config.FILE_NAME} names it")
            continue
        removed = manifest.make_folder(folder / REMOVED)
        taken = {path.name.casefold() for path in removed.iterdir()}
        os.replace(folder / "photos" / name, removed / _free(name, taken))
        aside.append(name)
    return aside, notes


def take_settings(folder: Path, before: Sequence[str], now: Sequence[str]) -> list[str]:
    """Set in `likeness.yaml` what the roster says differently since; notes on what was changed by hand."""
    file = folder / config.FILE_NAME
    if tuple(before) == tuple(now) or not file.is_file():
        return []
    old, new, own = (_values(config.load(f, pairs)) for f, pairs in ((None, before), (None, now), (file, ())))
    then, named = ([pair.partition("=")[0].strip() for pair in pairs] for pairs in (before, now))
    changes: dict[str, object] = {}
    stay: list[str] = []
    for key in dict.fromkeys((*then, *named)):
        wanted = new.get(key, _MISSING) if key in named else yaml_edit.DEFAULT
        if (key in then and key in named and old.get(key) == wanted) or own.get(key) == wanted:
            continue
        if own.get(key) != old.get(key):
            stay.append(f"{key} was changed by hand, and stays: {own.get(key)!r}")
        else:
            changes[key] = wanted
    if changes:
        try:
            text = yaml_edit.changed(file.read_text(encoding="utf-8"), changes, file)
        except InputError as error:
            return [*stay, f"settings of the roster are not taken over: {error.message()}"]
        manifest.write_text_atomic(file, text)
    return stay


def _values(settings: LikenessConfig) -> dict[str, object]:
    """The plain values by dotted key."""
    values: dict[str, object] = {}
    waiting: list[tuple[str, object]] = [("", settings.model_dump(mode="json"))]
    while waiting:
        before, value = waiting.pop()
        if isinstance(value, dict):
            tree = cast(dict[str, object], value)
            waiting += [(f"{before}.{key}" if before else key, one) for key, one in tree.items()]
        else:
            values[before] = value
    return values


def _file(folder: Path) -> Path | None:
    file = folder / config.FILE_NAME
    return file if file.is_file() else None


def _files(folder: Path) -> list[Path]:
    return likeness.photo_files(folder) if folder.is_dir() else []


def _free(name: str, taken: set[str]) -> str:
    """The name, or with a number before its ending where there is one of it already."""
    path, number, free = Path(name), 2, name
    while free.casefold() in taken:
        free, number = f"{path.stem}-{number}{path.suffix}", number + 1
    return free
