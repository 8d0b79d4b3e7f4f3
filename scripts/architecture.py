"""Write the file tree of docs/architecture.md: the packages, their docstrings, the layers of pyproject.toml.

    python -m scripts.architecture

`make figures` runs it too; a test holds the page against the package.
"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "portrait_lora"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- tree: written by python -m scripts.architecture -->", "<!-- end of tree -->"
_MOST_LETTERS = 112


def layers() -> list[list[str]]:
    """The rooms and single modules of the import contract, from the top down; those of one layer together."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (c for c in settings["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    return [
        [name.strip().removeprefix("portrait_lora.") for name in line.split("|")]
        for line in contract["layers"]
    ]


def first_line(file: Path) -> str:
    """The first sentence of a module's docstring, on one line; empty without one."""
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    text = " ".join(docstring.split("\n\n")[0].split())
    return re.split(r"(?<=\w)[.](?=\s+[A-Z`])", text, maxsplit=1)[0].rstrip(".")


def tree() -> str:
    """The block between the two marks: every module of the package under the layer it stands in."""
    known = [name for layer in layers() for name in layer]
    single = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    outside = sorted((single | rooms) - set(known))
    lines = ["portrait_lora/"]
    for name in [*known, *outside]:
        if name in single:
            lines.append(_row(f"  {name}.py", PACKAGE / f"{name}.py"))
        if name in rooms:
            lines.append(_row(f"  {name}/", PACKAGE / name / "__init__.py"))
            lines += [
                _row(f"    {path.relative_to(PACKAGE / name).as_posix()}", path)
                for path in sorted((PACKAGE / name).rglob("*.py"))
                if path.name != "__init__.py"
            ]
    return "\n".join([BEGIN, "", "```text", *lines, "```", "", END])


def _row(name: str, file: Path) -> str:
    words = first_line(file)
    kept = words if len(words) <= _MOST_LETTERS else f"{words[:_MOST_LETTERS].rsplit(' ', 1)[0]} …"
    return f"{name:<28} {kept}".rstrip()


def page(text: str) -> str:
    """The page with its tree replaced."""
    before, rest = text.split(BEGIN)
    return before + tree() + rest.split(END)[1]


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
