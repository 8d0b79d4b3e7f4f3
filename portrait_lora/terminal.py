"""Safe output to a terminal: control characters are shown as escapes.

File names, prompts and metadata of other people's files may hold control sequences that recolour, erase or
forge lines, or change the direction of writing.  Everything printed goes through here.
"""

from __future__ import annotations

import json
import re
from typing import Final

_STEERING: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
"""C0 except tab and line feed, DEL, C1, bidirectional controls, lone surrogates (not UTF-8)."""
_BYTES: Final = range(0xDC80, 0xDD00)
"""Surrogates that represent a byte of a file name (PEP 383)."""


def plain(text: str) -> str:
    """One line without characters that move the cursor, end the line or change its direction."""
    return block(text).replace("\n", "\\n").replace("\t", "\\t")


def block(text: str) -> str:
    """Several lines: line feeds and tabs are kept, all other controls escaped."""
    return _STEERING.sub(_escape, text)


def json_text(value: object, *, indent: int | None = None) -> str:
    """JSON that is safe to print and parses to the same value.  NaN is a `ValueError`."""
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
