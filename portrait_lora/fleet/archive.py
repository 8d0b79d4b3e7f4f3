"""Photos out of an archive that a person sent: one folder of it, flat, within limits, or nothing at all."""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final

from portrait_lora.errors import InputError, of_system
from portrait_lora.hub import archives
from portrait_lora.pictures import formats
from portrait_lora.removal import is_inner, plain_name

ENDINGS: Final = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_MAX_MEMBERS: Final = 10_000
_MAX_BYTES: Final = 4 << 30
_MAX_RATIO: Final = 200
_CHUNK: Final = 1 << 20
_DAMAGED: Final = (
    zipfile.BadZipFile,
    tarfile.TarError,
    NotImplementedError,
    EOFError,
    RuntimeError,
    OSError,
    ValueError,
    lzma.LZMAError,
    zlib.error,
)
_SIDECARS: Final = (".txt", ".caption", ".jsonl")


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file of an archive: its path in it, and the bytes that it says it has."""

    name: str
    size: int

    @property
    def folder(self) -> str:
        return PurePosixPath(self.name.replace("\\", "/")).parent.as_posix()

    @property
    def file(self) -> str:
        return PurePosixPath(self.name.replace("\\", "/")).name

    @property
    def is_picture(self) -> bool:
        return PurePosixPath(self.file.lower()).suffix in formats.PICTURE_SUFFIXES


def is_archive(path: Path) -> bool:
    """Whether the name is that of an archive that can be read."""
    return path.name.lower().endswith(ENDINGS)


def extract(archive: Path, folder: Path) -> None:
    """Write the pictures of the archive, with their captions, into an existing folder.

    They are those at its top, or those of the one folder in it that has any.  Raises `InputError` for an
    archive that is damaged, encrypted, leads elsewhere, holds a link or a device, grows beyond all measure,
    has no pictures, or has them in several folders.
    """
    try:
        with _opened(archive) as (members, read):
            for member in _chosen(archive, members):
                name = plain_name(member.file, where=f"{archive}: {member.name}")
                _write(archive, member, read, folder / name)
    except _DAMAGED as error:
        if isinstance(error, OSError) and (refused := of_system(error, folder)):
            raise refused from error
        remedy = "Pack the photos again, as a zip."
        raise InputError("the archive cannot be read", where=archive, got=error, remedy=remedy) from error


def _chosen(archive: Path, members: Iterable[Member]) -> list[Member]:
    shown = [m for m in members if not _is_hidden(m.name)]
    counts: dict[str, int] = {}
    for member in shown:
        if member.is_picture:
            counts[member.folder] = counts.get(member.folder, 0) + 1
    if not counts:
        raise InputError("no photos in this archive", where=archive, needed="10-20 pictures")
    if "." not in counts and len(counts) > 1:
        got = ", ".join(f"{name}: {n}" for name, n in sorted(counts.items())[:5])
        remedy = "Put the photos that are meant into one folder."
        raise InputError("photos in several folders", where=archive, got=got, needed="one", remedy=remedy)
    folder = "." if "." in counts else next(iter(counts))
    captions = [m for m in shown if m.file.lower().endswith(_SIDECARS)]
    return [m for m in shown if m.folder == folder and (m.is_picture or m in captions)]


def _is_hidden(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


@contextmanager
def _opened(archive: Path) -> Iterator[tuple[list[Member], _Read]]:
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as opened:
            infos = archives.checked(archive, opened.infolist())
            files = [Member(info.filename, info.file_size) for info in infos if not info.is_dir()]
            yield files, _Read(opened)
    else:
        with tarfile.open(archive) as opened:
            yield _checked_tar(archive, opened), _Read(opened)


class _Read:
    """Opens a member of either kind of archive."""

    def __init__(self, opened: zipfile.ZipFile | tarfile.TarFile):
        self._opened = opened

    def __call__(self, member: Member) -> IO[bytes]:
        if isinstance(self._opened, zipfile.ZipFile):
            return self._opened.open(member.name)
        stream = self._opened.extractfile(member.name)
        if stream is None:
            raise tarfile.ReadError(f"{member.name} is no file")
        return stream


def _checked_tar(archive: Path, opened: tarfile.TarFile) -> list[Member]:
    """The files, once every member is one that may be unpacked; headers are read one by one."""
    members: dict[str, Member] = {}
    most, total = _MAX_RATIO * max(archive.stat().st_size, 1), 0
    for count, info in enumerate(opened):
        if count >= _MAX_MEMBERS:
            raise InputError("too many files in the archive", where=archive, needed=f"at most {_MAX_MEMBERS}")
        name = info.name.removeprefix("./")
        if info.isdir() and name in ("", "."):
            continue
        if not is_inner(name):
            raise InputError("the archive names a file outside its folder", where=archive, got=repr(name))
        if not (info.isreg() or info.isdir()):
            raise InputError("the archive contains a link or a device", where=archive, got=name)
        total += info.size
        if total > min(most, _MAX_BYTES):
            raise InputError("the archive's compression ratio is implausible", where=archive, got=name)
        if info.isreg():
            if name.casefold() in members:
                raise InputError("the archive names a file twice", where=archive, got=name)
            members[name.casefold()] = Member(info.name, info.size)
    return list(members.values())


def _write(archive: Path, member: Member, read: _Read, path: Path) -> None:
    left = member.size
    with read(member) as source, path.open("xb") as target:
        while chunk := source.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise InputError(
                    "a file of the archive is larger than announced", where=archive, got=path.name
                )
            target.write(chunk)
