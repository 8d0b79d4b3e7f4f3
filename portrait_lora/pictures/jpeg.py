"""End and number of scans of the first picture in a JPEG file.

Phones append videos (motion photos), gain maps and further pictures behind the end of the first picture;
none of that belongs to it.  Markers are parsed after ITU-T T.81, annex B; no pixel is decoded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

SOI: Final = b"\xff\xd8"
_MARKER: Final = re.compile(rb"\xff+([^\x00\xff\x01\xd0-\xd8])", re.DOTALL)
"""A marker that begins a segment or ends the picture; stuffed zeros, RSTn, TEM and SOI carry no length."""
_EOI: Final = 0xD9
_SOS: Final = 0xDA
_APPLICATION: Final = frozenset((*range(0xE0, 0xF0), 0xFE))  # APP0 to APP15 and COM


@dataclass(frozen=True, slots=True)
class Walk:
    """`end` is the offset behind the first picture; `coded` its pieces (start, end) without metadata."""

    end: int
    scans: int
    coded: tuple[tuple[int, int], ...]


def walk(data: bytes) -> Walk:
    """Parse the markers of the first picture; a truncated file ends where its bytes do."""
    at, scans = len(SOI), 0
    start, coded = 0, list[tuple[int, int]]()
    while marker := _MARKER.search(data, at):
        code, at = marker[1][0], marker.end()
        if code == _EOI:
            coded.append((start, at))
            return Walk(at, scans, tuple(coded))
        length = int.from_bytes(data[at : at + 2], "big")
        if code in _APPLICATION:
            coded.append((start, marker.start()))
            start = min(at + max(length, 2), len(data))
        scans += code == _SOS
        at += max(length, 2)
    coded.append((start, len(data)))
    return Walk(len(data), scans, tuple(coded))
