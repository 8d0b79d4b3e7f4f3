"""Artifact folders: written under a temporary name, fsynced, renamed; `manifest.json` last.

A folder with a manifest is whole; a folder without one was never finished.  The manifest carries the
sha256 of every file and the digests of what the folder was made from, so a stage can tell that its
inputs have not changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from portrait_lora import replacing
from portrait_lora.errors import ArtifactError, InputError

NAME: Final = "manifest.json"
_MOST_OF_NAME: Final = 60


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `manifest.json` says: the kind of folder, its inputs, its files and free extra facts."""

    kind: str
    inputs: Mapping[str, str]
    files: Mapping[str, str]
    extra: Mapping[str, object]

    @property
    def digest(self) -> str:
        """Identifies the folder's content: kind, inputs and files."""
        return digest({"kind": self.kind, "inputs": dict(self.inputs), "files": dict(self.files)})


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    h = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            h.update(chunk)
    return h.hexdigest()


def canonical(value: object) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def digest(value: object) -> str:
    """Hex sha256 of the canonical JSON of a value."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def digest_folder(folder: Path, pattern: str = "**/*") -> str:
    """Digest of names and contents of the files below a folder."""
    files = sorted(p for p in folder.glob(pattern) if p.is_file())
    return digest({p.relative_to(folder).as_posix(): sha256_file(p) for p in files})


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write, fsync and rename; a reader sees the old bytes or the new ones, never a part."""
    make_folder(path.parent)
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:_MOST_OF_NAME]}.")
    try:
        with os.fdopen(fd, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)  # our own, of a moment ago
        raise


def write_text_atomic(path: Path, text: str) -> None:
    """UTF-8 text through `write_bytes_atomic`."""
    write_bytes_atomic(path, text.encode())


def write_json_atomic(path: Path, value: object) -> None:
    """Indented JSON through `write_bytes_atomic`; NaN is an error, not a token."""
    write_text_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def make_folder(folder: Path) -> Path:
    """Create a folder; a clear `InputError` when that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "not writable")
    except OSError as error:
        raise InputError(
            "cannot write into this folder",
            where=folder,
            got=error.strerror or error,
            needed="a folder this user may write to",
            remedy="Choose another folder, or change its permissions.",
        ) from error
    return folder


def finish(
    folder: Path, *, kind: str, inputs: Mapping[str, str], extra: Mapping[str, object] | None = None
) -> Manifest:
    """Hash every file of `folder` and write its manifest last."""
    files = {
        p.relative_to(folder).as_posix(): sha256_file(p)
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p not in (folder / NAME, folder / replacing.UNFINISHED)
    }
    for name in files:
        _fsync(folder / name)
    made = Manifest(kind, dict(inputs), files, dict(extra or {}))
    value = {"kind": kind, "inputs": dict(inputs), "files": files, "extra": dict(extra or {})}
    write_json_atomic(folder / NAME, value)
    _fsync(folder)
    return made


@contextmanager
def writing(
    folder: Path, *, kind: str, inputs: Mapping[str, str], extra: Mapping[str, object] | None = None
) -> Iterator[Path]:
    """Yield a temporary sibling folder; on success seal it and put it in the place of `folder`.

    Nothing is left, and the old folder stays, when the body raises.  Files in the old folder that its
    manifest does not name, or that were changed since, are not ours: they stay where they are.  Raises
    `ArtifactError` when the temporary folder was removed meanwhile, `InputError` when `folder` is a link.
    """
    replacing.refuse_link(folder)
    replacing.clean_leftovers(make_folder(folder.parent))
    with replacing.temporary_folder(folder.parent, folder.name) as temporary:
        yield temporary
        if not (temporary / replacing.UNFINISHED).is_file():
            raise ArtifactError("what was being written was removed meanwhile", where=temporary, remedy=_REDO)
        finish(temporary, kind=kind, inputs=inputs, extra=extra)
        replacing.replace_folder(temporary, folder)
        _fsync(folder.parent)


def read(folder: Path) -> Manifest | None:
    """The manifest of a folder; None when there is none (never finished)."""
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return Manifest(str(raw["kind"]), dict(raw["inputs"]), dict(raw["files"]), dict(raw.get("extra", {})))
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError("the manifest cannot be read", where=path, got=error, remedy=_REDO) from error


def verify(folder: Path) -> Manifest:
    """The manifest, after checking that every file is there with the right bytes."""
    found = read(folder)
    if found is None:
        raise ArtifactError("the folder was never finished", where=folder, needed=NAME, remedy=_REDO)
    for name, expected in found.files.items():
        path = folder / name
        if not path.is_file():
            raise ArtifactError("a file is missing", where=path, remedy=_REDO)
        got = sha256_file(path)
        if got != expected:
            raise ArtifactError(
                "a file was changed", where=path, got=got[:12], needed=expected[:12], remedy=_REDO
            )
    return found


def is_current(folder: Path, inputs: Mapping[str, str]) -> bool:
    """Whether the folder is whole, unchanged and made from exactly these inputs."""
    try:
        found = verify(folder)
    except ArtifactError:
        return False
    return dict(found.inputs) == dict(inputs)


_REDO: Final = "Run the stage again with --force."
