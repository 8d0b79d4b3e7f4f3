"""The one way in which tables are written and read as CSV: no cell is a formula.

Spreadsheets calculate cells that begin with = + - or @, also from a file; a caption or a file name could
reach the network so (CWE-1236).  Such a text gets an apostrophe in front, which reading takes off again.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Final

_FORMULA: Final = re.compile(r"'*[\s\0]*[=+\-@\t\r＝＋－＠]")


def text_of(header: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """UTF-8 text with a header line; None is an empty cell, a list its entries with semicolons between."""
    return "".join(_line(map(cell, row)) for row in ([*header], *rows))


def _line(cells: Iterable[object]) -> str:
    """The library quotes only those ends of lines that it writes itself."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(cells)
    return out.getvalue().removesuffix("\r\n") + "\n"


def cell(value: object) -> object:
    """Numbers stay as they are; a text that would be calculated is marked as text."""
    if isinstance(value, list | tuple):
        return cell("; ".join(map(str, value)))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def uncell(text: str) -> str:
    """What `cell` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
