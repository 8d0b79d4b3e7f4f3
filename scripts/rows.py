"""What every evaluation prints and writes: rows of measured figures beside their targets."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from portrait_lora import manifest
from portrait_lora.measured import Row


def arguments(description: str) -> argparse.ArgumentParser:
    """`--quick --full --seed N --json FILE`, as every script of this kind takes them."""
    parser = argparse.ArgumentParser(description=description)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a few minutes (the default)")
    size.add_argument("--full", action="store_true", help="the figures of record")
    parser.add_argument("--seed", type=int, default=0, help="other people and prompts")
    parser.add_argument("--json", type=Path, default=None, help="write the rows to this file")
    return parser


def finish(rows: Sequence[Row], json_file: Path | None) -> int:
    """Print the table, write the rows, and return the exit code: 1 when any target was missed."""
    table = Table(json_file, width=max(len(row.name) for row in rows))
    table.add(rows)
    return table.code()


class Table:
    """Rows of a long measurement, printed as soon as they are known: a stop loses nothing that was measured.

    Each lot is printed, and `json_file`, where there is one, always holds all rows so far.
    """

    def __init__(self, json_file: Path | None, width: int = 64) -> None:
        self.rows: list[Row] = []
        self._json_file, self._width = json_file, width

    def add(self, rows: Sequence[Row]) -> None:
        """Print and record more rows."""
        for row in rows:
            print(row.line(self._width), flush=True)
        self.rows += rows
        if self._json_file is not None:
            write_rows(self.rows, self._json_file)

    def code(self) -> int:
        """The exit code: 1 when any target was missed."""
        return 1 if any(row.met is False for row in self.rows) else 0


def write_rows(rows: Sequence[Row], json_file: Path) -> None:
    """The rows as `load` reads them."""
    manifest.write_json_atomic(json_file, [asdict(row) | {"met": row.met} for row in rows])


def load(json_file: Path) -> list[dict[str, object]]:
    """The rows of a file written by `finish`."""
    return json.loads(json_file.read_text(encoding="utf-8"))
