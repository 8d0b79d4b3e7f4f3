"""Single values of a user's YAML changed in its text: comments, order and everything else stay as written.

What cannot be changed so is refused: nothing is ever written anew around the words of a person.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final, cast

import yaml

from portrait_lora import strict_yaml
from portrait_lora.config import Tree, merge
from portrait_lora.errors import InputError

DEFAULT: Final = object()
"""In place of a value: the key goes, so that its default counts."""
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_ ./+-]*[A-Za-z0-9_/]|[A-Za-z_]")
_WORDS_OF_YAML: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_WHAT: Final = "configuration"
Pair = tuple[yaml.Node, yaml.Node]


def changed(text: str, changes: Mapping[str, object], where: object = "likeness.yaml") -> str:
    """The text with these dotted keys set, or taken out (`DEFAULT`).

    Raises `InputError` where a value cannot be changed without touching what else was written, and
    `ConfigError` for a text that is no YAML.
    """
    before = _tree(text, where)
    for key, value in changes.items():
        text = _with(text, key.split("."), value, where)
    wanted = before
    for key, value in changes.items():
        wanted = _wanted(wanted, key.split("."), value)
    if _bare(_tree(text, where)) != _bare(wanted):
        raise _by_hand(", ".join(changes), where, "it is written in a way that this form does not follow")
    return text


def _with(text: str, path: Sequence[str], value: object, where: object) -> str:
    root = strict_yaml.compose_text(text, where, _WHAT)
    end = "\r\n" if "\r\n" in text else "\n"
    node, pair = root, None
    for depth, part in enumerate(path):
        pairs = _pairs(node, path, where)
        pair_of = next((p for p in pairs if p[0].value == part), None)
        if pair_of is None:
            if value is DEFAULT:
                return text
            return _inserted(text, pair, pairs, path[depth:], value, end)
        pair, node = pair_of, pair_of[1]
    assert pair is not None
    _refuse_blocks(pair[1], text, path, where)
    return _removed(text, pair, end) if value is DEFAULT else _replaced(text, pair, scalar(value))


def _pairs(node: yaml.Node | None, path: Sequence[str], where: object) -> list[Pair]:
    if node is None or (isinstance(node, yaml.ScalarNode) and node.value in ("", "null", "~")):
        return []
    if not isinstance(node, yaml.MappingNode):
        raise _by_hand(".".join(path), where, "a section is expected there")
    if node.flow_style:
        raise _by_hand(".".join(path), where, "its section is written in one line, in braces")
    return cast(list[Pair], node.value)


def _replaced(text: str, pair: Pair, new: str) -> str:
    key, value = pair
    start, stop = value.start_mark.index, _stop(value)
    if start == stop:  # nothing is written after the colon
        colon = text.index(":", key.end_mark.index) + 1
        return f"{text[:colon]} {new}{text[colon:]}"
    return text[:start] + new + text[stop:]


def _stop(value: yaml.Node) -> int:
    """Where a value ends; a block list ends with its last item, not with the line after it."""
    if isinstance(value, yaml.SequenceNode) and not value.flow_style and value.value:
        return _stop(value.value[-1])
    return value.end_mark.index


def _removed(text: str, pair: Pair, end: str) -> str:
    """Without the lines of a pair; a comment of a person's behind it stays in a line of its own."""
    start = text.rfind("\n", 0, pair[0].start_mark.index) + 1
    stop = text.find("\n", max(_stop(pair[1]), pair[0].end_mark.index))
    stop = len(text) if stop < 0 else stop + 1
    behind = text[max(_stop(pair[1]), pair[0].end_mark.index + 1) : stop].strip()
    indent = text[start : pair[0].start_mark.index]
    kept = f"{indent}{behind}{end}" if behind.startswith("#") else ""
    return text[:start] + kept + text[stop:]


def _inserted(
    text: str, parent: Pair | None, siblings: Sequence[Pair], path: Sequence[str], value: object, end: str
) -> str:
    """With new lines: behind the head of their section, or at the end of the text."""
    indent = 0
    if siblings:
        indent = siblings[0][0].start_mark.column
    elif parent is not None:
        indent = parent[0].start_mark.column + 2
    lines = [f"{' ' * (indent + 2 * i)}{part}:" for i, part in enumerate(path)]
    lines[-1] += f" {scalar(value)}"
    new = "".join(line + end for line in lines)
    if parent is None:
        blank = end if len(path) > 1 and text.strip() else ""
        return text + ("" if not text or text.endswith("\n") else end) + blank + new
    at = text.find("\n", parent[0].end_mark.index)
    return text + end + new if at < 0 else text[: at + 1] + new + text[at + 1 :]


def _refuse_blocks(value: yaml.Node, text: str, path: Sequence[str], where: object) -> None:
    if isinstance(value, yaml.ScalarNode) and value.style in ("|", ">"):
        raise _by_hand(".".join(path), where, "its text runs over several lines")
    if isinstance(value, yaml.MappingNode):
        raise _by_hand(".".join(path), where, "it is a section")
    written = text[value.start_mark.index : _stop(value)]
    if isinstance(value, yaml.SequenceNode) and re.search(r"(^|\s)#", written):
        raise _by_hand(".".join(path), where, "there are comments within its list")


def scalar(value: object) -> str:
    """A value on one line, as YAML that reads back as just this value."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(scalar, cast(Sequence[object], value)))}]"
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS_OF_YAML
        return value if plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def _tree(text: str, where: object) -> Tree:
    value = strict_yaml.parse(text, where, _WHAT)
    return cast(Tree, value) if isinstance(value, dict) else {}


def _wanted(tree: Tree, path: Sequence[str], value: object) -> Tree:
    if value is not DEFAULT:
        leaf: object = list(cast(Sequence[object], value)) if isinstance(value, tuple) else value
        for part in reversed(path):
            leaf = {part: leaf}
        return merge(tree, cast(Tree, leaf))
    head, *rest = path
    if head not in tree:
        return tree
    if not rest:
        return {k: v for k, v in tree.items() if k != head}
    inner = tree[head]
    return tree | {head: _wanted(cast(Tree, inner), rest, value) if isinstance(inner, dict) else inner}


def _bare(value: object) -> object:
    """Without what says nothing: empty sections, and null, which is a default everywhere."""
    if not isinstance(value, dict):
        return value
    inner = {k: _bare(v) for k, v in cast(Tree, value).items()}
    return {k: v for k, v in inner.items() if v is not None and v != {}}


def _by_hand(key: str, where: object, why: str) -> InputError:
    return InputError(
        f"{key} cannot be changed in this form without touching what you wrote",
        where=where,
        got=why,
        remedy="Change it in the file itself; nothing was written.",
    )
