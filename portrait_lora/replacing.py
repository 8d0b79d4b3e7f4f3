"""A folder in the place of another: written beside it, swapped at the end, nothing of others lost on the way.

Unfinished folders are called `.writing-…`, bear a mark, and are locked while their writer lives, so that
nobody cleans away what is being written, nor what somebody else gave such a name.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from portrait_lora import holding, log, removal
from portrait_lora.errors import ArtifactError, InputError

PREFIX: Final = ".writing-"
UNFINISHED: Final = ".unfinished"
_OLD: Final = f"{PREFIX}old-"
_MOST_OF_NAME: Final = 60
_ATTEMPTS: Final = 5
_log = log.get(__name__)


@contextmanager
def temporary_folder(parent: Path, name: str) -> Iterator[Path]:
    """A new folder in `parent` to write into; removed at the end unless it was moved away."""
    temporary = Path(tempfile.mkdtemp(dir=parent, prefix=f"{PREFIX}{name[:_MOST_OF_NAME]}-"))
    held = holding.hold(temporary, alone=True)
    (temporary / UNFINISHED).touch()
    try:
        yield temporary
    finally:
        if temporary.exists():
            _remove_quietly(temporary)
        if held:
            held.release()


def clean_leftovers(parent: Path) -> None:
    """Remove what interrupted writers left in `parent`; put back a folder that was half replaced.

    Only what `temporary_folder` and `replace_folder` made is touched, and nothing that is being written.
    """
    for stale in sorted(parent.glob(f"{PREFIX}*")):
        if stale.is_symlink() or not stale.is_dir() or not (held := holding.hold(stale, alone=True)):
            continue
        with held:
            if stale.name.startswith(_OLD):
                _settle(stale)
            elif (stale / UNFINISHED).is_file():
                _remove_quietly(stale)
            else:  # sealed, but not put in its place any more
                name = stale.name[len(PREFIX) : -len("-12345678")]
                _drop_ours(stale, [p for p in parent.iterdir() if p.name[:_MOST_OF_NAME] == name])


def replace_folder(new: Path, folder: Path) -> None:
    """Put the finished folder `new` in the place of its sibling `folder`, whose foreign files stay there.

    Foreign is what `removal.recorded` does not know.  Killed anywhere, one of the two is in place, or
    `clean_leftovers` puts the old one back.  Raises `InputError` when `folder` is a link.
    """
    refuse_link(folder)
    if folder.exists() and not folder.is_dir():
        removal.set_aside(folder)
    for _ in range(_ATTEMPTS):
        aside = None
        try:
            aside = _make_room(new, folder) if folder.is_dir() else None
            (new / UNFINISHED).unlink(missing_ok=True)
            os.replace(new, folder)
            return
        except OSError as error:  # another writer of the same folder was quicker
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                raise
        finally:
            if aside:
                _settle(aside[0])
                aside[1].release()
    raise ArtifactError("others write this folder at the same time", where=folder, remedy="Run it again.")


def refuse_link(folder: Path) -> None:
    """Raise `InputError` when the folder to be written is a link to elsewhere."""
    if folder.is_symlink():
        raise InputError(
            "a link where a folder is to be written",
            where=folder,
            got=os.readlink(folder),
            remedy="Remove the link, or put the folder itself there.",
        )


def _make_room(new: Path, folder: Path) -> tuple[Path, holding.Hold]:
    """Link what is not ours into `new`, and move the old folder aside; where to, held."""
    ours = removal.recorded(folder, (UNFINISHED,))
    for path in removal.files_below(folder):
        name = path.relative_to(folder)
        if name.as_posix() in ours:
            continue
        target = _free(new / name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.name != path.name:
            _log.warning("%s was changed since it was written: it stays as %s", path, target.name)
        try:
            os.link(path, target, follow_symlinks=False)
        except OSError:  # a file system without hard links
            shutil.copy2(path, target, follow_symlinks=False)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_OLD))
    held = holding.hold(aside, alone=True) or holding.Hold(None)
    try:
        os.replace(folder, aside / folder.name)
    except OSError:
        aside.rmdir()
        held.release()
        raise
    return aside, held


def _free(path: Path) -> Path:
    free, number = path, 1
    while os.path.lexists(free):
        free = path.with_name(f"{path.name}.kept-{number}")
        number += 1
    return free


def _settle(aside: Path) -> None:
    """A folder that was moved aside goes back when nothing took its place; else what of it is ours goes."""
    for old in sorted(aside.iterdir()):
        now = aside.parent / old.name
        if not os.path.lexists(now):
            os.replace(old, now)
            continue
        _drop_ours(old, [now])
    if not any(aside.iterdir()):
        aside.rmdir()


def _drop_ours(folder: Path, elsewhere: Sequence[Path]) -> None:
    """Remove what is recorded in a folder, and files of others that lie in folders elsewhere too."""
    owner = folder.parent
    foreign = removal.remove_recorded(folder, owner=owner, names=(UNFINISHED,), quiet=True)
    there = set().union(*(_identities(place) for place in elsewhere)) if foreign else set()
    for path in foreign:
        if not there.isdisjoint(_identities(path)):
            removal.remove_file(path, owner=owner)
    # every folder that holds nothing now: whoever was killed in here had removed files before
    removal.remove_empty(folder, set(removal.folders_below(folder)))
    if folder.exists():
        _log.warning("%s holds files of others; they stay", folder)


def _identities(place: Path) -> set[tuple[object, ...]]:
    """By what a file is known again: its inode, and its bytes where links had to be copies."""
    files = removal.files_below(place) if place.is_dir() and not place.is_symlink() else [place]
    identities: set[tuple[object, ...]] = set()
    for path in files:
        state = path.lstat()
        identities.add((state.st_dev, state.st_ino))
        if state.st_nlink == 1 and path.is_file() and not path.is_symlink():
            with path.open("rb") as stream:
                identities.add((state.st_size, hashlib.file_digest(stream, "sha256").hexdigest()))
    return identities


def clear_mark(folder: Path) -> None:
    """Take away the mark that a kill left in a folder which had just got its name."""
    mark = folder / UNFINISHED
    if mark.is_file() and not mark.is_symlink() and not mark.stat().st_size:
        removal.remove_file(mark, owner=folder)


def _remove_quietly(path: Path) -> None:
    try:
        for inside in sorted(path.iterdir()):
            if inside.name != UNFINISHED:  # the mark last: killed half-way, the rest is still known as ours
                removal.remove_whole(inside, owner=path)
        removal.remove_whole(path, owner=path.parent)
    except OSError as error:
        _log.warning("%s cannot be removed: %s", path, error)
