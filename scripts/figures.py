"""Write docs/figures.md, the long table of what was measured, from the rows in docs/figures.json.

Every row keeps what was measured (with its target), the figure, and the command that measures it again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

DOCS: Final = Path(__file__).parents[1] / "docs"
ROWS: Final = DOCS / "figures.json"
PAGE: Final = DOCS / "figures.md"
_HEAD: Final = """# Figures

What was measured, with the target where there was one; a target that was missed says so. Written by
`make figures` from `docs/figures.json`: change a row there, not here. Times are those of two CPU cores unless
a row says otherwise.
"""


def page(content: Mapping[str, Any]) -> str:
    """The whole Markdown page; `content` is what docs/figures.json holds."""
    rows: Sequence[Mapping[str, str]] = content["measured"]
    parts = [_HEAD]
    for group in dict.fromkeys(row["group"] for row in rows):
        parts.append(f"## {group}\n\n" + _table(("what", "figure", "measured by"), _measured(rows, group)))
    demo = [(row["what"], row["figure"]) for row in content["demo"]["rows"]]
    parts.append(f"## {content['demo']['title']}\n\n" + _table(("what", "figure"), demo))
    return "\n".join([*parts, *content["notes"]]) + "\n"


def _measured(rows: Sequence[Mapping[str, str]], group: str) -> list[tuple[str, ...]]:
    return [(row["what"], row["figure"], _origin(row)) for row in rows if row["group"] == group]


def _origin(row: Mapping[str, str]) -> str:
    command = f"`{row['command']}`" if row["command"] else ""
    return "; ".join(filter(None, (command, row.get("note", ""))))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; a bar within a cell would end it."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page."""
    argparse.ArgumentParser(description=__doc__).parse_args(argv)
    PAGE.write_text(page(json.loads(ROWS.read_text(encoding="utf-8"))), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
