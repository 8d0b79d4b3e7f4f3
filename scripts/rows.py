"""What every evaluation prints and writes: rows of measured figures beside their targets."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from portrait_lora import manifest


@dataclass(frozen=True, slots=True)
class Row:
    """One figure; `at_most` tells the direction of the target; `met` is None without a target."""

    name: str
    value: float
    unit: str
    n: int
    target: float | None = None
    at_most: bool = False
    ci95: tuple[float, float] | None = None

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target


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
    width = max(len(row.name) for row in rows)
    for row in rows:
        target = "" if row.target is None else f"{'<=' if row.at_most else '>='} {row.target:g}"
        spread = "" if row.ci95 is None else f"  [{row.ci95[0]:.3f}, {row.ci95[1]:.3f}]"
        verdict = {True: "met", False: "MISSED", None: ""}[row.met]
        print(
            f"{row.name:<{width}} {row.value:>9.4g} {row.unit:<9} n={row.n:<6} {target:<9} {verdict}{spread}"
        )
    if json_file is not None:
        manifest.write_json_atomic(json_file, [asdict(row) | {"met": row.met} for row in rows])
    return 1 if any(row.met is False for row in rows) else 0


def load(json_file: Path) -> list[dict[str, object]]:
    """The rows of a file written by `finish`."""
    return json.loads(json_file.read_text(encoding="utf-8"))
