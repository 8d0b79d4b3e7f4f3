"""Files of a multipart form, straight onto the disk as they come: never whole in memory, within limits.

What is only looked at (`received_in_memory`) never touches the disk.  All others lie in a folder of their
own below `HOME/uploads` under numbers; the name that a browser sent is only shown, or cleaned (`clean_name`)
before it names anything.
"""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import tempfile
import unicodedata
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import python_multipart
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from portrait_lora import manifest
from portrait_lora.errors import PortraitError, system_errors
from portrait_lora.pictures.reader import MAX_FILE_BYTES
from portrait_lora.web.problems import Refused, TooLarge, WrongKind

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_PREFIX: Final = "form-"
_MOST_HEADER: Final = 8192
_SPARE_BYTES: Final = 200 << 20
_MOST_FIELD: Final = 64 << 10
_MOST_NAME: Final = 100
_DIRECTIONS: Final = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
)
_NEVER_IN_NAMES: Final = re.compile(r'[\\/:*?"<>|]')


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that came in: the cleaned name it had, where it lies until the request ends, its bytes."""

    name: str
    path: Path
    size: int


@dataclass(frozen=True, slots=True)
class InMemory:
    """A file that came in and lies nowhere: the cleaned name it had, its bytes."""

    name: str
    data: bytes


@dataclass(slots=True)
class Form:
    """What came: files in their order, and the texts of the other fields."""

    files: list[Upload] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)


@contextlib.asynccontextmanager
async def received(
    request: Request,
    folder: Path,
    *,
    most_files: int,
    most_fields: int = 100,
    most_bytes: int = MAX_FILE_BYTES,
) -> AsyncIterator[Form]:
    """The form of a request; its files lie below `folder` until the body of the `async with` has ended.

    Raises `WrongKind` for another kind of body, `TooLarge` for a file or a field beyond the limits or too
    many of them, `Refused` for a form that is damaged or cut off; nothing is left of it then.
    """
    boundary = _boundary(request)
    with system_errors(folder):
        _refuse_without_room(folder, request.headers.get("content-length", ""))
        place = Path(tempfile.mkdtemp(dir=manifest.make_folder(folder), prefix=_PREFIX))
        parts = _Parts(place, most_files, most_fields, most_bytes)
        try:
            await _parse(request, boundary, parts)
            yield parts.form
        finally:
            parts.close()
            shutil.rmtree(place, ignore_errors=True)


async def received_in_memory(
    request: Request, *, most_files: int, most_bytes: int, most_together: int
) -> list[InMemory]:
    """The files of a form, none of which is ever written anywhere; other fields are dropped.

    Raises as `received` does, and `TooLarge` when they have more than `most_together` bytes in all.
    """
    boundary = _boundary(request)
    parts = _PartsInMemory(most_files, most_bytes, most_together)
    try:
        await _parse(request, boundary, parts)
        return parts.files
    finally:
        parts.close()


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 1 <= len(boundary) <= 200:
        raise WrongKind("not a form with files", where="Content-Type", needed="multipart/form-data")
    return boundary


async def _parse(request: Request, boundary: bytes, parts: _Parts) -> None:
    parser = python_multipart.MultipartParser(boundary, parts.callbacks())
    try:
        async for chunk in request.stream():
            await run_in_threadpool(parser.write, chunk)
        parser.finalize()
    except FormParserError as error:
        raise Refused("the form is damaged", where="body", remedy="Send it again.") from error
    if not parts.is_whole:
        raise Refused("the form was cut off", where="body", remedy="Send it again.")


def clean_leftovers(folder: Path) -> None:
    """Remove what a server that was killed had been receiving; only while no other one runs for this home."""
    for place in folder.glob(f"{_PREFIX}*"):
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place, ignore_errors=True)


def _refuse_without_room(folder: Path, length: str) -> None:
    """Raise before the first byte when the disk has no room for all of them, twice: they are copied later."""
    needed = 2 * int(length) if length.isdecimal() else 0
    free = shutil.disk_usage(manifest.make_folder(folder)).free
    if free < needed + _SPARE_BYTES:
        raise PortraitError(
            "the disk is full",
            where="upload",
            got=f"{free / 1e9:.1f} GB free",
            needed=f"{(needed + _SPARE_BYTES) / 1e9:.1f} GB",
            remedy="Make room, and send the files again.",
        )


class _Parts:
    """Takes the parts of a form as the parser comes to them."""

    def __init__(self, place: Path, most_files: int, most_fields: int, most_bytes: int):
        self.form, self.is_whole = Form(), False
        self._place = place
        self._most_files, self._most_fields, self._most_bytes = most_files, most_fields, most_bytes
        self._headers: dict[bytes, bytes] = {}
        self._name = self._value = b""
        self._header_bytes = self._size = self._count = 0
        self._field, self._file_name = "", ""
        self._text = b""
        self._stream: BinaryIO | None = None

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._whole,
        }

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _begin(self) -> None:
        self._headers, self._header_bytes, self._text, self._size = {}, 0, b"", 0

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += self._of_header(data, start, end)

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += self._of_header(data, start, end)

    def _of_header(self, data: bytes, start: int, end: int) -> bytes:
        self._header_bytes += end - start
        if self._header_bytes > _MOST_HEADER:
            raise TooLarge("a part of the form with too long headers", where="body")
        return bytes(data[start:end])

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _headers_finished(self) -> None:
        disposition, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if disposition != b"form-data" or b"name" not in options:
            raise Refused("a part of the form without a name", where="body")
        self._field = options[b"name"].decode(errors="replace")[:_MOST_NAME]
        if b"filename" not in options:
            if len(self.form.fields) >= self._most_fields:
                raise TooLarge("too many fields", where="body", needed=f"at most {self._most_fields}")
            return
        if self._count >= self._most_files:
            needed = f"at most {self._most_files} at once"
            raise TooLarge(
                "too many files", where="body", needed=needed, remedy="Send the others after these."
            )
        self._count += 1
        self._file_name = clean_name(options[b"filename"].decode(errors="replace"))
        self._stream = self._opened()

    def _opened(self) -> BinaryIO:
        return (self._place / f"{self._count:04d}.part").open("xb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._stream is None:
            if self._size > _MOST_FIELD:
                raise TooLarge(
                    "a field is too long", where=self._field, needed=f"at most {_MOST_FIELD} bytes"
                )
            self._text += bytes(data[start:end])
            return
        if self._size > self._most_bytes:
            needed = f"at most {self._most_bytes // 1_000_000} MB"
            raise TooLarge("the file is too large", where=self._file_name, needed=needed)
        self._stream.write(data[start:end])

    def _end(self) -> None:
        if self._stream is None:
            self.form.fields[self._field] = self._text.decode(errors="replace")
            return
        self._keep()

    def _keep(self) -> None:
        self.close()
        path = self._place / f"{self._count:04d}.part"
        self.form.files.append(Upload(self._file_name, path, self._size))

    def _whole(self) -> None:
        self.is_whole = True


class _PartsInMemory(_Parts):
    """The same without a disk."""

    def __init__(self, most_files: int, most_bytes: int, most_together: int):
        super().__init__(Path(), most_files, 10, most_bytes)
        self.files: list[InMemory] = []
        self._together, self._most_together = 0, most_together

    def _opened(self) -> BinaryIO:
        return io.BytesIO()

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._together += end - start
        if self._together > self._most_together:
            needed = f"at most {self._most_together // 1_000_000} MB together"
            raise TooLarge("the files are too large together", where=self._file_name, needed=needed)
        super()._data(data, start, end)

    def _keep(self) -> None:
        if isinstance(self._stream, io.BytesIO):
            self.files.append(InMemory(self._file_name, self._stream.getvalue()))
        self.close()


def clean_name(name: str, default: str = "photo") -> str:
    """What of a foreign file's name may be the name of a file here: one component, no dot in front.

    Printable, at most 100 bytes; the ending stays.  `default` where nothing is left.
    """
    last = re.split(r"[\\/]", name.replace("\0", ""))[-1]
    plain = "".join(c for c in unicodedata.normalize("NFC", last) if c.isprintable() and c not in _DIRECTIONS)
    plain = _NEVER_IN_NAMES.sub("_", plain).strip().lstrip(".").rstrip(". ").strip()
    stem, dot, ending = plain.rpartition(".")
    if not dot or len(ending) > 10:
        stem, ending = plain, ""
    room = _MOST_NAME - len(ending.encode()) - 1
    stem = stem.encode()[:room].decode(errors="ignore").strip() or default
    if re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", stem, re.IGNORECASE):
        stem = f"_{stem}"
    return f"{stem}.{ending}" if ending else stem
