"""Rows of a roster in YAML, and what its head says for all: settings, series, brand, acceptance, price."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import yaml

from portrait_lora import strict_yaml
from portrait_lora.errors import InputError
from portrait_lora.fleet.rows import COLUMNS, Row, unknown_column

HEAD: Final = ("people", "settings", "series", "brand", "acceptance", "price_per_hour")


def read_rows(path: Path) -> tuple[Row, list[Row] | None]:
    """The head as a row of its own, and the people; None where the head names a table with them.

    Raises `InputError` (`ConfigError` for what is no YAML) naming line and key.
    """
    root = strict_yaml.compose(path, "roster")
    if root is None:
        return Row(path, 1, {}, {}), []
    if isinstance(root, yaml.SequenceNode):
        return Row(path, 1, {}, {}), _people(path, root)
    head = _row(path, root, HEAD)
    if isinstance(head.cells.get("people"), str):
        return head, None
    people = next((v for k, v in _pairs(root) if k.value == "people"), None)
    empty = isinstance(people, yaml.ScalarNode) and strict_yaml.value_of(people, path) is None
    return head, [] if people is None or empty else _people(path, people)


def _people(path: Path, node: yaml.Node) -> list[Row]:
    if not isinstance(node, yaml.SequenceNode):
        raise InputError(
            "the people of a roster are a list",
            where=f"{path}:{_line(node)}",
            needed="one entry per person, each with name and photos, or the name of a CSV file",
        )
    return [_row(path, one, COLUMNS) for one in cast(list[yaml.Node], node.value)]


def _row(path: Path, node: yaml.Node, known: tuple[str, ...]) -> Row:
    if not isinstance(node, yaml.MappingNode):
        needed = f"keys among {', '.join(known)}"
        raise InputError("not an entry of a roster", where=f"{path}:{_line(node)}", needed=needed)
    lines = {str(key.value): _line(key) for key, _ in _pairs(node)}
    for key, line in lines.items():
        if key not in known:
            unknown_column(key, f"{path}:{line}", known)
    cells = cast(Mapping[str, object], strict_yaml.value_of(node, path))
    return Row(path, _line(node), cells, lines)


def _pairs(node: yaml.Node) -> list[tuple[yaml.Node, yaml.Node]]:
    return cast(list[tuple[yaml.Node, yaml.Node]], node.value) if isinstance(node, yaml.MappingNode) else []


def _line(node: yaml.Node) -> int:
    return cast(Any, node.start_mark).line + 1
