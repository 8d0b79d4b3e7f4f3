"""Look-up tables in the `.cube` format (Adobe, Cube LUT Specification 1.0), applied by tetrahedra."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from portrait_lora.errors import InputError
from portrait_lora.records import FloatArray, readonly

MAX_BYTES: Final = 64_000_000
MAX_SIDE_3D: Final = 129
MAX_SIDE_1D: Final = 65_536
_ROWS: Final = 1 << 18
"""Pixels at a time, so that memory is bounded."""


@dataclass(frozen=True, slots=True)
class Cube:
    """`table`: (N, N, N, 3) indexed [blue, green, red], or (N, 3) per channel.  The domain is the input's."""

    table: FloatArray
    low: FloatArray  # (3,)
    high: FloatArray

    def apply(self, rgb: np.ndarray) -> FloatArray:
        """Coded values (…, 3) through the table; values outside the domain are clipped to it."""
        flat = np.asarray(rgb, np.float32).reshape(-1, 3)
        out = np.empty_like(flat)
        for start in range(0, len(flat), _ROWS):
            part = slice(start, start + _ROWS)
            places = np.clip((flat[part] - self.low) / (self.high - self.low), 0.0, 1.0)
            out[part] = (
                _curves(self.table, places) if self.table.ndim == 2 else _tetrahedra(self.table, places)
            )
        return out.reshape(np.shape(rgb))


def _curves(table: FloatArray, places: np.ndarray) -> np.ndarray:
    steps = np.linspace(0.0, 1.0, len(table))
    return np.stack([np.interp(places[:, c], steps, table[:, c]) for c in range(3)], axis=1)


def _tetrahedra(table: FloatArray, places: np.ndarray) -> np.ndarray:
    """Interpolation within one of six tetrahedra around the grey diagonal, so that greys stay on it (Sakamoto
    and Itooka, US patent 4275413, expired)."""
    side = len(table)
    scaled = places * np.float32(side - 1)
    corner = np.minimum(scaled.astype(np.int64), side - 2)
    part = scaled - corner
    order = np.argsort(-part, axis=1, kind="stable")
    falling = np.take_along_axis(part, order, axis=1)
    weights = np.concatenate([1 - falling[:, :1], falling[:, :-1] - falling[:, 1:], falling[:, -1:]], axis=1)
    here = corner.copy()
    lines = np.arange(len(corner))
    total = weights[:, :1] * table[here[:, 2], here[:, 1], here[:, 0]]
    for step in range(3):
        here[lines, order[:, step]] += 1
        total = total + weights[:, step + 1 : step + 2] * table[here[:, 2], here[:, 1], here[:, 0]]
    return total


def read_cube(path: Path) -> Cube:
    """Read a file.  Raises `InputError` for a wrong count, a bad number (with its line) or keyword."""
    if path.stat().st_size > MAX_BYTES:
        raise InputError(
            "too large for a LUT", where=path, got=f"{path.stat().st_size} bytes", needed=MAX_BYTES
        )
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError("not a .cube file", where=path, got=error, needed="text") from error
    facts: dict[str, list[float]] = {}
    rows: list[list[float]] = []
    for number, line in enumerate(lines, 1):
        words = line.split("#", 1)[0].split()
        if not words or words[0] == "TITLE":
            continue
        if words[0][0].isalpha():
            facts[words[0]] = _numbers(words[1:], path, number)
        else:
            rows.append(_numbers(words, path, number))
            if len(rows[-1]) != 3:
                raise InputError(
                    "not a colour", where=f"{path}:{number}", got=line.strip(), needed="three numbers"
                )
    return _built(facts, rows, path)


def _numbers(words: list[str], path: Path, line: int) -> list[float]:
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise InputError("not a number in a .cube file", where=f"{path}:{line}", got=error) from error
    if not np.isfinite(values).all():
        raise InputError("not a finite number in a .cube file", where=f"{path}:{line}", got=" ".join(words))
    return values


def _built(facts: dict[str, list[float]], rows: list[list[float]], path: Path) -> Cube:
    known = {
        "LUT_3D_SIZE",
        "LUT_1D_SIZE",
        "DOMAIN_MIN",
        "DOMAIN_MAX",
        "LUT_1D_INPUT_RANGE",
        "LUT_3D_INPUT_RANGE",
    }
    if unknown := sorted(set(facts) - known):
        raise InputError(
            "unknown keyword in a .cube file", where=path, got=unknown[0], needed=", ".join(sorted(known))
        )
    sizes = [(key, facts[key]) for key in ("LUT_3D_SIZE", "LUT_1D_SIZE") if key in facts]
    if len(sizes) != 1 or len(sizes[0][1]) != 1 or sizes[0][1][0] != int(sizes[0][1][0]):
        raise InputError(
            "a .cube file states one size", where=path, got=sizes, needed="LUT_3D_SIZE or LUT_1D_SIZE"
        )
    kind, side = sizes[0][0], int(sizes[0][1][0])
    flat = kind == "LUT_1D_SIZE"
    most = MAX_SIDE_1D if flat else MAX_SIDE_3D
    if not 2 <= side <= most:
        raise InputError("a LUT of this size", where=path, got=side, needed=f"2 to {most}")
    count = side if flat else side**3
    if len(rows) != count:
        raise InputError("wrong number of colours in a .cube file", where=path, got=len(rows), needed=count)
    shared = facts.get("LUT_1D_INPUT_RANGE" if flat else "LUT_3D_INPUT_RANGE", [0.0, 1.0])
    low, high = facts.get("DOMAIN_MIN", shared[:1] * 3), facts.get("DOMAIN_MAX", shared[-1:] * 3)
    if len(low) != 3 or len(high) != 3 or not all(a < b for a, b in zip(low, high, strict=True)):
        raise InputError(
            "not a domain", where=path, got=f"{low} to {high}", needed="three numbers each, low below high"
        )
    table = np.asarray(rows, np.float32)
    shape = (side, 3) if flat else (side, side, side, 3)
    return Cube(readonly(table.reshape(shape)), readonly(np.asarray(low)), readonly(np.asarray(high)))
