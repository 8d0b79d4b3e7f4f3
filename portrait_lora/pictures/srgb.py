"""The sRGB colour profile that finished pictures carry: ICC version 2, the same bytes everywhere."""

from __future__ import annotations

import struct
from functools import cache
from typing import Final

_CURVE_POINTS: Final = 1024
_WHITE: Final = (0.9642, 1.0, 0.8249)
_PRIMARIES: Final = {
    b"rXYZ": (0.43607, 0.22249, 0.01392),
    b"gXYZ": (0.38515, 0.71687, 0.09708),
    b"bXYZ": (0.14307, 0.06061, 0.71410),
}
"""IEC 61966-2-1 adapted to D50 by Bradford's matrix, as in the profiles of the ICC (sRGB2014.icc)."""
_MADE: Final = (2026, 11, 30, 0, 0, 0)
_TEXT: Final = b"sRGB IEC61966-2.1"


@cache
def profile() -> bytes:
    """The profile: matrix and tone curve (ICC.1:2001-04, sections 6 and 8.3)."""
    curve = b"curv\0\0\0\0" + struct.pack(">I", _CURVE_POINTS)
    curve += b"".join(struct.pack(">H", _linear(i / (_CURVE_POINTS - 1))) for i in range(_CURVE_POINTS))
    named = b"desc\0\0\0\0" + struct.pack(">I", len(_TEXT) + 1) + _TEXT + b"\0" + bytes(8 + 3 + 67)
    parts = {
        b"desc": named,
        b"cprt": b"text\0\0\0\0Public domain\0",
        b"wtpt": _xyz(_WHITE),
        **{tag: _xyz(value) for tag, value in _PRIMARIES.items()},
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    start = 128 + 4 + 12 * len(parts)
    table, data = struct.pack(">I", len(parts)), b""
    placed: dict[bytes, int] = {}
    for tag, part in parts.items():
        if part not in placed:
            data += bytes(-len(data) % 4)
            placed[part] = start + len(data)
            data += part
        table += tag + struct.pack(">II", placed[part], len(part))
    data += bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(data), bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", *_MADE) + b"acsp" + bytes(28)
    head += b"".join(_fixed(v) for v in _WHITE)
    return head.ljust(128, b"\0") + table + data


def _linear(coded: float) -> int:
    value = coded / 12.92 if coded <= 0.04045 else ((coded + 0.055) / 1.055) ** 2.4
    return round(value * 65535)


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(_fixed(v) for v in values)
