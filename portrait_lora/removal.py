"""The one place where files are removed: only below their owner, and only what this program wrote.

A word of the user's (a run, a series, a name for an export) becomes a path; a folder may be a stranger's.
So whoever removes something says which folder owns it, and gets an `InputError` when the path does not lie
strictly below that folder, or gets there through a link.  What a folder holds is ours when a record says
so: a `manifest.json` or a sidecar with the file's sha256, or a name that only this program gives.  The rest
stays.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import re
import shutil
import stat
import unicodedata
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Final

from portrait_lora import log
from portrait_lora.errors import InputError

NAME_PATTERN: Final = r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}$"
"""A folder name that a configuration may give: no dot in front, so neither `.` nor `..`."""
MANIFEST: Final = "manifest.json"
_MOST_NAME_BYTES: Final = 200
_MOST_RECORD_BYTES: Final = 64 << 20
_WINDOWS: Final = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_log = log.get(__name__)


def plain_name(word: str, *, where: object) -> str:
    """The word, when it can be the name of a file or folder anywhere; else `InputError`.

    No separator, colon or control character, no dot in front, no dot or space at the end, 200 bytes at most.
    """
    odd = [c for c in word if c in '/\\:*?"<>|' or unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    wrong = (
        not word
        or odd
        or word.startswith(".")
        or word != word.strip()
        or word.endswith(".")
        or _WINDOWS.fullmatch(word)
        or len(word.encode(errors="replace")) > _MOST_NAME_BYTES
    )
    if wrong:
        raise InputError(
            "not a name for a file or folder",
            where=where,
            got=repr(word[:80]),
            needed="letters, digits, hyphens; no dot in front, no slash",
        )
    return word


def below(owner: Path, path: Path) -> Path:
    """The absolute path of `path`, which lies strictly below `owner` without a link on the way.

    The last part may be a link: it is then the link itself that is meant.  Raises `InputError`.
    """
    root = Path(os.path.realpath(owner))
    # normpath, not resolve: `owner/link/..` must not become a place elsewhere
    whole = Path(os.path.normpath(path.absolute()))
    for start in (root, Path(os.path.normpath(owner.absolute()))):
        if whole != start and whole.is_relative_to(start):
            inside = root / whole.relative_to(start)
            break
    else:
        raise _outside(owner, path)
    if ".." in path.parts and os.path.realpath(path.parent) != str(inside.parent):
        raise _outside(owner, path)
    if any(
        parent.is_symlink() for parent in inside.parents if parent != root and parent.is_relative_to(root)
    ):
        raise _outside(owner, path)
    return inside


def _outside(owner: Path, path: Path) -> InputError:
    return InputError(
        "this is not inside the folder that owns it, and is left alone",
        where=path,
        needed=f"a path below {owner}",
        remedy="Name it differently.",
    )


def remove_file(path: Path, *, owner: Path) -> bool:
    """Remove one file or link below `owner`; whether it was there.  A folder is an `InputError`."""
    target = below(owner, path)
    if target.is_dir() and not target.is_symlink():
        raise InputError("a folder where a file was expected", where=path)
    try:
        target.unlink()
    except FileNotFoundError:
        return False
    return True


def remove_whole(path: Path, *, owner: Path) -> None:
    """Remove a file, a link or a whole folder below `owner`, whatever is in it; links are cut, not followed.

    For what is ours as a whole: unfinished writes, and what a person asked to forget.  Raises `OSError` when
    something stays; trees of any depth go.
    """
    target = below(owner, path)
    if target.is_symlink() or not target.is_dir():
        target.unlink(missing_ok=True)
        return
    try:
        shutil.rmtree(target)
    except (OSError, RecursionError):  # not writable, or deeper than a path may be long
        _flatten(target)


def _flatten(folder: Path) -> None:
    """Remove a tree without ever naming a path deeper than two levels below it."""
    os.chmod(folder, stat.S_IRWXU)
    number = 0
    while True:
        entries = list(os.scandir(folder))
        if not entries:
            folder.rmdir()
            return
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            os.chmod(entry.path, stat.S_IRWXU)
            for inner in list(os.scandir(entry.path)):
                if inner.is_dir(follow_symlinks=False):
                    while (up := folder / f".{number}").exists():
                        number += 1
                    os.chmod(inner.path, stat.S_IRWXU)
                    os.rename(inner.path, up)
                else:
                    os.unlink(inner.path)
            os.rmdir(entry.path)


def remove_recorded(
    folder: Path,
    *,
    owner: Path,
    names: Collection[str] = (),
    keep: Collection[str] = (),
    quiet: bool = False,
) -> list[Path]:
    """Remove what is recorded in a folder as ours, and folders that this empties; what stays, sorted.

    `names` are patterns (as `fnmatch`) of relative paths that only this program gives, for what an
    interrupted stage wrote before its manifest; `keep` are relative paths to leave.  What stays besides is
    named in a warning, unless `quiet`: it is somebody's work.
    """
    target = below(owner, folder)
    if target.is_symlink() or not target.is_dir():
        return []
    ours = recorded(target, names)
    # records last: killed half-way, what is left is still known as ours
    for name in sorted(ours - set(keep), key=lambda n: (n.endswith(".json"), n)):
        (target / name).unlink(missing_ok=True)
    remove_empty(target, {path for name in ours for path in (target / name).parents})
    left = [] if not target.exists() else files_below(target)
    foreign = [p for p in left if p.relative_to(target).as_posix() not in keep]
    if foreign and not quiet:
        _log.warning("%s holds %d files of others; they stay, such as %s", folder, len(foreign), foreign[0])
    return foreign


def remove_empty(folder: Path, places: Collection[Path]) -> None:
    """Remove those of the folders that are empty now, and `folder` itself, deepest first."""
    inside = [p for p in places if p == folder or p.is_relative_to(folder)]
    for place in sorted({folder, *inside}, key=lambda p: -len(p.parts)):
        try:
            place.rmdir()
        except OSError:  # something is left in it
            continue


def recorded(folder: Path, names: Collection[str] = ()) -> set[str]:
    """The relative paths of the files in a folder that this program wrote, and that are as it wrote them.

    Said by the manifests in it, by sidecars (`x.json` with the sha256 of `x.png`), or by `names`.
    """
    ours: set[str] = set()
    for path in files_below(folder):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            continue
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in names):
            ours.add(name)
        if path.suffix == ".json" and name not in ours:
            files = _record(path)
            unchanged = {n for n, sha256 in files.items() if _is_still(folder, path.parent / n, sha256)}
            ours |= {(path.parent / n).relative_to(folder).as_posix() for n in unchanged}
            # a record is ours when it is true of one file at least, or when all that it names has gone
            gone = not any(os.path.lexists(path.parent / n) for n in files)
            if unchanged or (gone and (files or (path.name == MANIFEST and _is_manifest(path)))):
                ours.add(name)
    return ours


def files_below(folder: Path, unread: list[Path] | None = None) -> list[Path]:
    """Every file and link below a folder, sorted; links are not followed.

    Folders that cannot be listed are added to `unread`.
    """
    files: list[Path] = []
    waiting = [folder]
    while waiting:  # no recursion: folders may be nested a thousand deep
        place = waiting.pop()
        try:
            entries = list(os.scandir(place))
        except OSError:
            if unread is not None:
                unread.append(place)
            continue
        waiting += [place / e.name for e in entries if e.is_dir(follow_symlinks=False)]
        files += [place / e.name for e in entries if not e.is_dir(follow_symlinks=False)]
    return sorted(files)


def folders_below(folder: Path) -> list[Path]:
    """Every folder below a folder that can be listed; links are not followed."""
    folders: list[Path] = []
    waiting = [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                inner = [Path(e.path) for e in entries if e.is_dir(follow_symlinks=False)]
        except OSError:
            continue
        folders += inner
        waiting += inner
    return folders


def _record(path: Path) -> dict[str, str]:
    """Relative names and sha256 that a manifest or a sidecar tells; empty when it is neither."""
    value = _json(path)
    if path.name == MANIFEST:
        files = value.get("files")
        pairs = files.items() if isinstance(files, dict) else ()
        return {n: s for n, s in pairs if isinstance(n, str) and isinstance(s, str) and is_inner(n)}
    sha256 = value.get("sha256")
    if isinstance(sha256, str) and "recipe" in value:
        return {path.with_suffix(".png").name: sha256}
    return {}


def _is_manifest(path: Path) -> bool:
    return {"kind", "inputs", "files"} <= set(_json(path))


def _json(path: Path) -> dict[str, object]:
    try:
        if path.stat().st_size > _MOST_RECORD_BYTES:
            return {}
        value: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return {str(k): v for k, v in value.items()} if isinstance(value, dict) else {}


def is_inner(name: str) -> bool:
    """Whether a relative path from a file of others stays inside its folder, on every system."""
    parts = PurePosixPath(name).parts
    odd = name.startswith("/") or any(c in name for c in "\\\0")
    return bool(parts) and ".." not in parts and not odd and ":" not in parts[0]


def _is_still(folder: Path, path: Path, sha256: str) -> bool:
    try:
        target = below(folder, path)
        if target.is_symlink() or not target.is_file():
            return False
        with target.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == sha256
    except (InputError, OSError):
        return False


def set_aside(path: Path) -> Path:
    """Give what is not ours another name beside it (`x.kept-1`), with a warning; the new path."""
    number = 1
    while os.path.lexists(free := path.with_name(f"{path.name}.kept-{number}")):
        number += 1
    os.rename(path, free)
    _log.warning("%s was not written by this program, or was changed since: kept as %s", path, free.name)
    return free
