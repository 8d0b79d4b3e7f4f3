"""The rows of a roster as they were written, with the place of every value for the errors."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from portrait_lora.errors import InputError, PortraitError
from portrait_lora.terminal import plain
from portrait_lora.written import WrittenFloat, WrittenInt

REQUIRED: Final = ("name", "photos")
COLUMNS: Final = ("name", "photos", "kind", "consent", "group", "email", "settings", "person")
_MOST_SHOWN: Final = 9


@dataclass(frozen=True, slots=True)
class Row:
    """One person as written: the values by column, and the line (from 1) where the row begins."""

    file: Path
    line: int
    cells: Mapping[str, object]
    lines: Mapping[str, int]
    """Where a value stands on a line of its own, as in YAML."""

    def where(self, column: str) -> str:
        """`people.csv:7, column 'kind'`."""
        return f"{self.file}:{self.lines.get(column, self.line)}, column {column!r}"

    def text(self, column: str) -> str:
        """The value as text, without spaces around it; empty where there is none.  Raises `InputError`."""
        value = self.cells.get(column)
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, str | WrittenInt | WrittenFloat):
            raise InputError("this is not text", where=self.where(column), got=repr(value)[:80])
        text = str(value).strip()
        if (shown := plain(text)) != text:
            raise InputError(
                "a character that cannot be seen", where=self.where(column), got=shown[:80],
                remedy="Type the value anew.",
            )  # fmt: skip
        return text


def unknown_column(word: str, where: str, known: Iterable[str] = COLUMNS) -> NoReturn:
    """Raise, with the nearest name that is known."""
    names = tuple(known)
    close = difflib.get_close_matches(word.casefold(), names, 1, cutoff=0.5)
    hint = f"Did you mean {close[0]!r}?" if close else f"Known here: {', '.join(names)}."
    raise InputError(f"unknown column {word[:80]!r}", where=where, remedy=hint)


def raise_all(problems: list[PortraitError]) -> None:
    """Raise the first problem, with the others named in a few words behind it; nothing when there is none."""
    if not problems:
        return
    first, *others = problems
    if not others:
        raise first
    shown = [f"{one.where}: {one.what}" for one in others[:_MOST_SHOWN]]
    shown += [f"and {len(others) - _MOST_SHOWN} more"] if len(others) > _MOST_SHOWN else []
    remedy = f"{first.remedy} Also: {'; '.join(shown)}.".strip()
    raise InputError(first.what, where=first.where, got=first.got, needed=first.needed, remedy=remedy)
