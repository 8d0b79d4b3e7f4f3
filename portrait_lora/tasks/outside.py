"""What this program wrote outside a likeness folder, for `forget`: path and sha256 of every file.

The record is the user's own (`$XDG_STATE_HOME/portrait_lora/outside.json`): a likeness folder may come from a
stranger, and nothing in it can then make this program remove files elsewhere.  The folder holds only a random
name by which its rows are found after it was moved.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from portrait_lora import log, manifest, removal, replacing
from portrait_lora.errors import InputError

NOTED: Final = "exports.json"
_WAIT_S: Final = 60
_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Written:
    """One file: for which likeness folder it was written, where to, and with which bytes."""

    likeness: str
    id: str
    file: str
    sha256: str

    @property
    def path(self) -> Path:
        return Path(self.file)

    @property
    def is_as_written(self) -> bool:
        """Whether the file is there, no link, and has the bytes that were written."""
        try:
            return not self.path.is_symlink() and manifest.sha256_file(self.path) == self.sha256
        except OSError:
            return False


def state_file() -> Path:
    """Where the record is kept."""
    home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(home).expanduser() / "portrait_lora" / "outside.json"


def everything() -> list[Written]:
    """All rows; none when there is no record, or it is damaged."""
    try:
        raw: Any = json.loads(state_file().read_text(encoding="utf-8"))
        return [Written(**{key: str(row[key]) for key in Written.__slots__}) for row in raw]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def written_for(root: Path) -> list[Written]:
    """The rows of one likeness folder: by its place, or by its name where it was moved away from there."""
    here, own = str(root.resolve()), noted(root)[0]
    moved = [row for row in everything() if own and row.id == own and not os.path.lexists(row.likeness)]
    return [row for row in everything() if row.likeness == here or row in moved]


def noted(root: Path) -> tuple[str, list[Path]]:
    """What the folder itself says: its random name, and the folders where something of it went."""
    try:
        raw: Any = json.loads((root / NOTED).read_text(encoding="utf-8"))
        if isinstance(raw, list):  # as it was written before it had a name
            return "", [Path(str(p)) for p in raw]
        return str(raw["id"]), [Path(str(p)) for p in raw["folders"]]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return "", []


@contextmanager
def writing(root: Path, targets: Sequence[Path]) -> Iterator[Mapping[Path, Path]]:
    """Around the writing of `targets`, which lie below the folder of the first, for the likeness in `root`.

    Yields where each is to be written meanwhile.  Files are recorded before they take their names: killed
    anywhere, none is there that the record does not know.  One process at a time.  Raises `InputError` for a
    target outside `root` that is there and was not written by this program, or was changed since; inside
    `root` such a file is set aside.
    """
    with _alone():
        ours = {row.file for row in everything() if row.is_as_written}
        for target in targets:
            if os.path.lexists(target) and str(target.resolve()) not in ours:
                _make_way(root, target)
        out = targets[0].parent
        replacing.clean_leftovers(out)
        with replacing.temporary_folder(out, "export") as part:
            yield (parts := {target: part / target.relative_to(out) for target in targets})
            written = {target: at for target, at in parts.items() if at.is_file()}
            _note(root, written, replaced=False)
            for target, at in written.items():
                manifest.make_folder(target.parent, shared=True)
                os.replace(at, target)
            _note(root, {target: target for target in written})


def _make_way(root: Path, target: Path) -> None:
    if target.resolve().is_relative_to(root.resolve()) and not target.is_symlink():
        removal.set_aside(target)
        return
    raise InputError(
        "the name is taken by a file that this program did not write, or that was changed since",
        where=target,
        remedy="Choose another name or folder (--name, --out), or move that file away.",
    )


def record(root: Path, files: Sequence[Path]) -> None:
    """Record files that were written for the likeness in `root`; a record that cannot be kept is told."""
    with _alone():
        _note(root, {file: file for file in files})


def _note(root: Path, files: Mapping[Path, Path], *, replaced: bool = True) -> None:
    """Record files (name -> where the bytes are); rows of what had these names go when it was `replaced`."""
    here = root.resolve()
    own, folders = noted(root)
    own = own or uuid.uuid4().hex
    rows = [Written(str(here), own, str(f.resolve()), manifest.sha256_file(at)) for f, at in files.items()]
    outside = {str(f.resolve().parent) for f in files if not f.resolve().is_relative_to(here)}
    if outside:
        value = {"id": own, "folders": sorted(outside | {str(p) for p in folders})}
        manifest.write_text_atomic(root / NOTED, json.dumps(value, indent=2) + "\n")
    gone = {row.file for row in rows} if replaced else set[str]()
    _keep([*(row for row in everything() if row.file not in gone and row not in rows), *rows])


def strike_out(rows: Sequence[Written]) -> None:
    """Take rows out of the record."""
    with _alone():
        if gone := set(rows):
            _keep([row for row in everything() if row not in gone])


def _keep(rows: Sequence[Written]) -> None:
    file = state_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # ASCII: names may be no UTF-8
        manifest.write_text_atomic(file, json.dumps([asdict(row) for row in rows], indent=2) + "\n")
        os.chmod(file, 0o600)
    except (OSError, InputError) as error:
        _log.warning("%s cannot be written (%s): `forget` will ask about these files", file, error)


@contextmanager
def _alone() -> Iterator[None]:
    file = state_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = FileLock(file.with_suffix(".lock"))
        lock.acquire(timeout=_WAIT_S)
    except Timeout as error:
        raise InputError("another export or `forget` is at work", where=file, remedy="Try again.") from error
    except OSError:  # no state folder: then nothing is recorded either
        yield
        return
    try:
        yield
    finally:
        lock.release()
