"""Rows of a CSV table as spreadsheets save it: UTF-8 or UTF-16, any separator, any end of line."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

from portrait_lora import csv_file
from portrait_lora.errors import InputError
from portrait_lora.fleet.rows import COLUMNS, REQUIRED, Row, unknown_column

MAX_BYTES: Final = 8 << 20
_DELIMITERS: Final = (",", ";", "\t", "|")
_AS_CSV: Final = "Save it as CSV in UTF-8 (in Excel: 'CSV UTF-8'), or write it as YAML."
_SPREADSHEETS: Final = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""First bytes of xlsx, ods and numbers files, and of xls."""


def read_rows(path: Path) -> list[Row]:
    """The rows below the header line.

    Raises `InputError` naming line and column: an unknown, doubled or missing column, a row of too many
    cells, a quote that is never closed, bytes that are no text.
    """
    text = _decoded(path)
    if not text.strip():
        return []
    delimiter, first, lines = _delimiter(text)
    records = _records(path, lines, delimiter, first)
    header_line, header = next(records, (first, []))
    names = _header(path, header_line, header)
    return [Row(path, line, _cells(path, line, names, cells), {}) for line, cells in records]


def _records(path: Path, lines: list[str], delimiter: str, first: int) -> Iterator[tuple[int, list[str]]]:
    """(line where it begins, cells) of every record with anything in it."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        line = first + reader.line_num
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(
                "a row that cannot be taken apart",
                where=f"{path}:{line}",
                got=f"{error} (up to line {first + reader.line_num - 1})",
                remedy="See that every quotation mark is closed, and that those within a value are doubled.",
            ) from error
        if any(cell.strip() for cell in cells):
            yield line, cells


def _header(path: Path, line: int, cells: list[str]) -> list[str]:
    """The column of every cell; empty for one without a title."""
    names = [cell.strip().casefold() for cell in cells]
    for number, name in enumerate(names, 1):
        where = f"{path}:{line}, column {number}"
        if name and name not in COLUMNS:
            unknown_column(cells[number - 1].strip(), where)
        if name and name in names[: number - 1]:
            raise InputError(f"the column {name!r} stands twice", where=where, remedy="Keep one of them.")
    lacking = [name for name in REQUIRED if name not in names]
    if lacking:
        raise InputError(
            f"the roster has no column {lacking[0]!r}", where=f"{path}:{line}",
            got=", ".join(filter(None, names)) or "no header line",
            needed=f"a first line that names the columns: {', '.join(COLUMNS)}",
        )  # fmt: skip
    return names


def _cells(path: Path, line: int, names: list[str], cells: list[str]) -> dict[str, object]:
    for number, cell in enumerate(cells, 1):
        if cell.strip() and (number > len(names) or not names[number - 1]):
            raise InputError(
                "a value in a column without a title", where=f"{path}:{line}, column {number}",
                got=repr(cell[:80]), needed=f"{len(names)} columns",
                remedy="Put a value in quotation marks that holds the separator itself.",
            )  # fmt: skip
    return {name: csv_file.uncell(cell) for name, cell in zip(names, cells, strict=False) if name}


def _delimiter(text: str) -> tuple[str, int, list[str]]:
    """The delimiter, the line where the table begins, and its lines; Excel may name it as `sep=;`."""
    lines = text.splitlines(keepends=True) if "\r" in text else [f"{one}\n" for one in text.split("\n")]
    start = next((i for i, line in enumerate(lines) if line.strip()), 0)
    head = lines[start].strip() if lines else ""
    if head[:4].casefold() == "sep=" and len(head) == 5:
        return head[4], start + 2, lines[start + 1 :]

    def known(delimiter: str) -> tuple[int, int]:
        words = [word.strip(' "\t').casefold() for word in head.split(delimiter)]
        return len(set(words) & set(COLUMNS)), len(words)

    return max(_DELIMITERS, key=known), start + 1, lines[start:]


def _decoded(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError("cannot read the roster", where=path, got=error.strerror or error) from error
    if len(data) > MAX_BYTES:
        raise InputError("the roster is too large", where=path, needed=f"at most {MAX_BYTES} bytes")
    if data.startswith(_SPREADSHEETS):
        raise InputError("this is a spreadsheet, not a table in text", where=path, remedy=_AS_CSV)
    encoding = _encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        _not_text(path, data, error)
    if "\0" in text:
        raise InputError("this is not a table in text", where=path, got="a zero byte", remedy=_AS_CSV)
    return text


def _encoding(data: bytes) -> str:
    """By the mark at its start; UTF-16 without one is known by its zero bytes, as its header is Latin."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    head = data[:64]
    if head and len(data) % 2 == 0 and head.count(0) * 3 >= len(head):
        return "utf-16-be" if head[0] == 0 else "utf-16-le"
    return "utf-8-sig"


def _not_text(path: Path, data: bytes, error: UnicodeDecodeError) -> NoReturn:
    before = data[: error.start]
    line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
    raise InputError(
        "the roster is not written in UTF-8 (or UTF-16)", where=f"{path}:{line}, character {column}",
        got=f"byte 0x{data[error.start]:02x}", remedy=_AS_CSV,
    ) from error  # fmt: skip
