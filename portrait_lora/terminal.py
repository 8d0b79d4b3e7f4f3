"""Words on their way to a terminal: what could steer it is shown as an escape instead.

File names, prompts and the metadata of strangers' files may hold control sequences that recolour, erase or
forge lines, or letters that turn the direction of writing round.  Everything printed goes through here.
"""

from __future__ import annotations

import json
import re
from typing import Final

_STEERING: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
"""C0 but tab and line feed, DEL, C1, marks of direction, lone surrogates (names that are no UTF-8)."""
_BYTES: Final = range(0xDC80, 0xDD00)
"""Surrogates that stand for a byte of a file name (PEP 383)."""


def plain(text: str) -> str:
    """One line: nothing in it moves the cursor, ends the line or turns it round."""
    return block(text).replace("\n", "\\n").replace("\t", "\\t")


def block(text: str) -> str:
    """Several lines, which may end and be indented, and nothing else."""
    return _STEERING.sub(_escape, text)


def json_text(value: object, *, indent: int | None = None) -> str:
    """JSON that a terminal can show; a program reads the same value from it.  NaN is a `ValueError`."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    return _STEERING.sub(lambda hit: f"\\u{ord(hit[0]):04x}", text)


def say(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a text of several lines, escaped."""
    import typer

    typer.echo(block(text), err=err, nl=nl)


def _escape(hit: re.Match[str]) -> str:
    code = ord(hit[0])
    if code in _BYTES:
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
