"""Untrusted zip archives: extract only the named members with the expected bytes, or nothing at all."""

from __future__ import annotations

import hashlib
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from portrait_lora import removal
from portrait_lora.errors import ArtifactError, InputError

_MAX_MEMBERS: Final = 10_000
_MAX_RATIO: Final = 200
_MAX_BYTES: Final = 4 << 30
_CHUNK: Final = 1 << 20


def extract(archive: Path, folder: Path, wanted: Mapping[str, tuple[str, str]]) -> None:
    """Write the `wanted` members (member → file name, sha256) of a zip into an existing folder.

    Every member of the archive is checked first.  Raises `InputError` when one would lead out of the
    folder, is a link, is encrypted, occurs twice, or is compressed implausibly well; `ArtifactError` for a
    damaged archive, a missing member or wrong bytes.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = {info.filename: info for info in checked(archive, opened.infolist())}
            for member, (file, sha256) in wanted.items():
                info = members.get(member)
                if info is None:
                    raise ArtifactError("the archive lacks a file", where=archive, needed=member)
                _write(opened, info, folder / file, sha256)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, OSError) as error:
        raise ArtifactError("not a complete zip archive", where=archive, got=error) from error


def checked(archive: Path, infos: list[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    """The members of a zip, all of which may be unpacked; else `InputError`, as `extract` says."""
    if len(infos) > _MAX_MEMBERS:
        raise InputError("too many files in the archive", where=archive, got=len(infos))
    seen: set[str] = set()
    for info in infos:
        name = info.orig_filename
        parts = PurePosixPath(name.replace("\\", "/")).parts
        drive = bool(parts) and ":" in parts[0]
        if not parts or name.startswith(("/", "\\")) or ".." in parts or drive or "\0" in name:
            raise InputError("the archive names a file outside its folder", where=archive, got=repr(name))
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InputError("the archive contains a link or a device", where=archive, got=name)
        if info.flag_bits & 0x1:
            raise InputError("the archive is encrypted", where=archive, got=name)
        if name.casefold() in seen:
            raise InputError("the archive names a file twice", where=archive, got=name)
        seen.add(name.casefold())
        if info.file_size > _MAX_RATIO * max(info.compress_size, 1) or info.file_size > _MAX_BYTES:
            raise InputError(
                "the archive's compression ratio is implausible",
                where=archive,
                got=f"{name}: {info.compress_size} bytes unpack to {info.file_size}",
                needed=f"at most {_MAX_RATIO} times as much",
            )
    if sum(info.file_size for info in infos) > _MAX_BYTES:
        raise InputError("the archive's compression ratio is implausible", where=archive)
    return infos


def _write(opened: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, sha256: str) -> None:
    """Copy one member; the announced size is the limit, because headers can be wrong."""
    h, left = hashlib.sha256(), info.file_size
    with opened.open(info) as source, path.open("xb") as target:
        try:
            while chunk := source.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise InputError("a file of the archive is larger than announced", where=info.filename)
                h.update(chunk)
                target.write(chunk)
        except BaseException:
            removal.remove_file(path, owner=path.parent)
            raise
    if h.hexdigest() != sha256:
        removal.remove_file(path, owner=path.parent)
        raise ArtifactError(
            "a file of the archive has an unexpected checksum",
            where=info.filename,
            got=f"sha256 {h.hexdigest()[:16]}",
            needed=f"sha256 {sha256[:16]}",
        )
