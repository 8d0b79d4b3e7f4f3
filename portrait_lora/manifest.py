"""Artifact folders: written under a temporary name, fsynced, renamed; `manifest.json` last.

A folder with a manifest is whole; a folder without one was never finished.  The manifest carries the
sha256 of every file and the digests of what the folder was made from, so a stage can tell that its
inputs have not changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from portrait_lora import beside, replacing, strict_json
from portrait_lora.errors import ArtifactError, InputError, PortraitError, system_errors

NAME: Final = "manifest.json"
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


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
    return hashlib.sha256(canonical(value).encode(errors="surrogatepass")).hexdigest()


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


def file_mode(shared: bool) -> int:
    """Of a file of ours: its owner's alone; as the umask says when it is `shared` with others."""
    return 0o666 & ~_umask() if shared else 0o600


def folder_mode(shared: bool) -> int:
    """The same of a folder."""
    return 0o777 & ~_umask() if shared else 0o700


def _umask() -> int:
    mask = os.umask(0o077)  # it cannot be read without being set
    os.umask(mask)
    return mask


def write_bytes_atomic(path: Path, data: bytes, *, shared: bool = False) -> None:
    """Write, fsync and rename; a reader sees the old bytes or the new ones, never a part.

    Only the owner may read the file, unless it is `shared`.  Raises `PortraitError` when the system refuses:
    a full disk, a limit on sizes, no permission.
    """
    with _written_beside(path, data, shared) as part:
        os.replace(part, path)


def write_bytes_new(path: Path, data: bytes, *, shared: bool = False) -> bool:
    """The same, but False, and nothing is written, where something of that name is already."""
    with _written_beside(path, data, shared) as part:
        try:
            try:
                os.link(part, path)
            except FileExistsError:
                raise
            except OSError:  # a file system without hard links: take the name first
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                os.replace(part, path)
        except FileExistsError:
            return False
    return True


@contextmanager
def _written_beside(path: Path, data: bytes, shared: bool) -> Iterator[Path]:
    """A whole file beside `path`, to be moved there; what is left of it at the end is removed."""
    make_folder(path.parent, shared=shared)
    with system_errors(path), beside.written(path, data, file_mode(shared)) as part:
        yield part


def write_text_atomic(path: Path, text: str, *, shared: bool = False) -> None:
    """UTF-8 text through `write_bytes_atomic`; what is no character (of a file name's bytes) becomes `?`."""
    write_bytes_atomic(path, text.encode(errors="replace"), shared=shared)


def write_json_atomic(path: Path, value: object, *, shared: bool = False) -> None:
    """Indented JSON through `write_bytes_atomic`; NaN is an error, not a token.

    Surrogates, which stand for a file name's bytes, are escaped and come back as they were.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    escaped = _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    write_text_atomic(path, escaped, shared=shared)


@contextmanager
def locked(path: Path, seconds: float = 60.0) -> Iterator[None]:
    """Hold a file for reading and writing it anew; others that do the same wait.

    Raises `PortraitError` when somebody holds it for longer than that.
    """
    make_folder(path.parent)
    lock = FileLock(path.parent / f".{path.name}.lock", mode=0o600)
    with system_errors(path):
        try:
            lock.acquire(timeout=seconds)
        except Timeout as error:
            raise PortraitError("another program holds this file", where=path, remedy="Try again.") from error
        try:
            yield
        finally:
            lock.release()


def make_folder(folder: Path, *, shared: bool = False) -> Path:
    """Create a folder, for its owner alone unless `shared`; a clear `InputError` when that cannot be done."""
    try:
        missing = [place for place in (folder, *folder.parents) if not place.exists()]
        for place in reversed(missing):
            place.mkdir(mode=folder_mode(shared), exist_ok=True)
        if not folder.is_dir():  # another process may only look at what is there
            folder.mkdir(exist_ok=True)
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
    folder: Path,
    *,
    kind: str,
    inputs: Mapping[str, str],
    extra: Mapping[str, object] | None = None,
    names: Collection[str] | None = None,
    shared: bool = False,
) -> Manifest:
    """Hash the files of `folder` and write its manifest last; only its owner may read it, unless `shared`.

    `names` are the relative paths to seal, for a folder where others may have laid files; None: all of them.
    Raises `ArtifactError` when one of them is missing.
    """
    if not folder.is_dir():
        raise ArtifactError("the folder went away while it was written", where=folder, remedy=_REDO)
    ours = (folder / NAME, folder / replacing.UNFINISHED)
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p not in ours)
    by_name = {p.relative_to(folder).as_posix(): p for p in paths}
    if lacking := sorted(set(names or ()) - set(by_name)):
        where = folder / lacking[0]
        raise ArtifactError("a file went away while the folder was written", where=where, remedy=_REDO)
    files = {name: sha256_file(p) for name, p in by_name.items() if names is None or name in names}
    places = [folder, *(p for p in folder.rglob("*") if p.is_dir())] if names is None else [folder]
    _set_modes(places, [by_name[name] for name in files], shared)
    for name in files:
        _fsync(folder / name)
    written = Manifest(kind, dict(inputs), files, dict(extra or {}))
    value = {"kind": kind, "inputs": dict(inputs), "files": files, "extra": dict(extra or {})}
    write_json_atomic(folder / NAME, value, shared=shared)
    _fsync(folder)
    return written


def _set_modes(folders: Iterable[Path], files: Iterable[Path], shared: bool) -> None:
    for folder in folders:
        folder.chmod(folder_mode(shared))
    for file in files:
        file.chmod(file_mode(shared))


@contextmanager
def writing(
    folder: Path,
    *,
    kind: str,
    inputs: Mapping[str, str],
    extra: Mapping[str, object] | None = None,
    shared: bool = False,
) -> Iterator[Path]:
    """Yield a temporary sibling folder; on success seal it and put it in the place of `folder`.

    Nothing is left, and the old folder stays, when the body raises; what the system refuses in it (a full
    disk) becomes a `PortraitError`.  Only the owner may read the folder, unless it is `shared`.  Files in the
    old folder that its manifest does not name, or that were changed since, are not ours: they stay where they
    are.  Raises `ArtifactError` when the temporary folder was removed meanwhile, `InputError` when `folder`
    is a link.
    """
    replacing.refuse_link(folder)
    replacing.clean_leftovers(make_folder(folder.parent, shared=shared))
    with system_errors(folder), replacing.temporary_folder(folder.parent, folder.name) as temporary:
        yield temporary
        if not (temporary / replacing.UNFINISHED).is_file():
            raise ArtifactError("what was being written was removed meanwhile", where=temporary, remedy=_REDO)
        finish(temporary, kind=kind, inputs=inputs, extra=extra, shared=shared)
        replacing.replace_folder(temporary, folder)
        _fsync(folder.parent)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary sibling folder for files that will be the user's: without a manifest.

    It takes its name when the body is through; before, or when that raises, nothing is there.  A folder of
    that name that is empty, or holds the very same files, is no obstacle; else `InputError` is raised.
    """
    replacing.clean_leftovers(make_folder(folder.parent))
    with system_errors(folder), replacing.temporary_folder(folder.parent, folder.name) as part:
        yield part
        if not (part / replacing.UNFINISHED).is_file():
            raise ArtifactError("what was being written was removed meanwhile", where=part)
        for path in part.rglob("*"):
            path.chmod(folder_mode(False) if path.is_dir() else file_mode(False))
            _fsync(path)
        if folder.is_dir():
            replacing.clear_mark(folder)
        try:
            os.rename(part, folder)  # with its mark: killed before, all of it is known as ours
        except OSError as error:
            if not folder.exists():
                raise
            replacing.clear_mark(part)
            if folder.is_dir() and digest_folder(folder) == digest_folder(part):
                return  # the same was done before
            raise InputError("there is something of this name already", where=folder) from error
        replacing.clear_mark(folder)
        _fsync(folder.parent)


@contextmanager
def new_files(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder for files that belong together; at the end all take their names in `folder`.

    What is there stays as it is when the body raises, or is killed.
    """
    replacing.clean_leftovers(make_folder(folder))
    with system_errors(folder), replacing.temporary_folder(folder, "together") as part:
        yield part
        mark = part / replacing.UNFINISHED
        if not mark.is_file():
            raise ArtifactError("what was being written was removed meanwhile", where=part, remedy=_REDO)
        paths = sorted(p for p in part.iterdir() if p != mark)
        for path in paths:
            path.chmod(file_mode(False))
            _fsync(path)
        for path in paths:
            os.replace(path, folder / path.name)
        _fsync(folder)


def read(folder: Path) -> Manifest | None:
    """The manifest of a folder; None when there is none (never finished)."""
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        raw: Any = strict_json.load_object(path, "manifest")
        return Manifest(str(raw["kind"]), dict(raw["inputs"]), dict(raw["files"]), dict(raw.get("extra", {})))
    except (ArtifactError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError("the manifest cannot be read", where=path, got=error, remedy=_REDO) from error


def verify(folder: Path) -> Manifest:
    """The manifest, after checking that every file is there with the right bytes."""
    stored = read(folder)
    if stored is None:
        raise ArtifactError("the folder was never finished", where=folder, needed=NAME, remedy=_REDO)
    for name, expected in stored.files.items():
        path = folder / name
        if not path.is_file():
            raise ArtifactError("a file is missing", where=path, remedy=_REDO)
        got = sha256_file(path)
        if got != expected:
            raise ArtifactError(
                "a file was changed", where=path, got=got[:12], needed=expected[:12], remedy=_REDO
            )
    return stored


def is_current(folder: Path, inputs: Mapping[str, str]) -> bool:
    """Whether the folder is whole, unchanged and made from exactly these inputs."""
    try:
        stored = verify(folder)
    except ArtifactError:
        return False
    return dict(stored.inputs) == dict(inputs)


_REDO: Final = "Run the stage again with --force."
