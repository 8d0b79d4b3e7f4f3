"""One reader for all YAML of a user's: the core schema of YAML 1.2, within limits, errors with a line.

PyYAML scans and composes; what it leaves open is closed here.  `yes`, `No`, `3:4` and `2027-06-31` are text,
a number with leading zeros too; a key that stands twice is an error with both lines; aliases may not multiply
a file beyond `MAX_NODES`; numbers remember how they were written, so a name may be `2024` or `1.10`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NoReturn, cast

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from portrait_lora.errors import ConfigError
from portrait_lora.written import WrittenFloat, WrittenInt

MAX_BYTES: Final = 128 * 1024
MAX_NODES: Final = 10_000
"""Keys, values and lists of one file, those that aliases repeat counted each time."""
MAX_DEPTH: Final = 32
_MAX_DIGITS: Final = 64
_TAG: Final = "tag:yaml.org,2002:"
_ODD_SPACE: Final = re.compile("[\u00a0\u1680\u2000-\u200b\u202f\u205f\u2060\u3000\ufeff]")
_INT: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_ENDLESS: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_BOOL: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULL: Final = ("", "~", "null", "Null", "NULL")


class _Resolver(BaseResolver):
    """Which plain scalars are not text."""


for _tag, _pattern, _first in (
    ("bool", "|".join(_BOOL), "tTfF"),
    ("null", "~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", _INT.pattern, "-+0123456789"),
    ("float", f"{_FLOAT.pattern}|{_ENDLESS.pattern}", "-+.0123456789"),
):
    _Resolver.add_implicit_resolver(_TAG + _tag, re.compile(f"(?:{_pattern})\\Z"), list(_first))


class _Loader(Reader, Scanner, Parser, Composer, SafeConstructor, _Resolver):
    """PyYAML's own parts; the composer stops at the limits, before anything large is built."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        SafeConstructor.__init__(self)
        _Resolver.__init__(self)
        self._depth = self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        self._nodes += 1
        mark = cast(Any, self.peek_event()).start_mark
        if self._depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"nested deeper than {MAX_DEPTH}", problem_mark=mark)
        if self._nodes > MAX_NODES:
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_NODES} values", problem_mark=mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def load(path: Path, what: str) -> object:
    """The value of a file.  Raises `ConfigError` naming the file, the line and `what` it should be."""
    return value_of(compose(path, what), path)


def compose(path: Path, what: str) -> yaml.Node | None:
    """The nodes of a file, every key of theirs unique and within the limits; None for an empty one."""
    return compose_text(_text(path, what), path, what)


def compose_text(text: str, where: object, what: str) -> yaml.Node | None:
    """`compose` of a text; `where` stands in errors.  Raises `ConfigError`."""
    if len(text.encode(errors="replace")) > MAX_BYTES:
        _too_large(where, what, len(text))
    try:
        root = cast("yaml.Node | None", _Loader(text).get_single_node())
    except yaml.YAMLError as error:
        _not_yaml(error, text, where, what)
    if root is not None:
        _refuse_growth(root, where, what)
        _refuse_odd_spaces(root, where)
        _refuse_twice(root, where)
    return root


def value_of(root: yaml.Node | None, where: object) -> object:
    """Dictionaries with text keys, lists, text, numbers, truth values and None."""
    return None if root is None else _Values(where).of(root)


def parse(text: str, where: object, what: str) -> object:
    """The value of a text.  Raises `ConfigError`."""
    return value_of(compose_text(text, where, what), where)


class _Values:
    """Builds values from nodes; an aliased node is built once."""

    def __init__(self, where: object) -> None:
        self._where = where
        self._built: dict[int, object] = {}

    def of(self, node: yaml.Node) -> object:
        if id(node) not in self._built:
            self._built[id(node)] = self._build(node)
        return self._built[id(node)]

    def _build(self, node: yaml.Node) -> object:
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return {_key(k, self._where): self.of(v) for k, v in _pairs(node)}
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.of(one) for one in cast(list[yaml.Node], node.value)]
        if not isinstance(node, yaml.ScalarNode):
            _refuse_tag(node, self._where)
        return _scalar(node, self._where)


def _scalar(node: yaml.ScalarNode, where: object) -> object:
    text, kind = str(node.value), node.tag.removeprefix(_TAG)
    if kind == "str":
        return text
    if kind == "null" and text in _NULL:
        return None
    if kind == "bool" and text in _BOOL:
        return _BOOL[text]
    if kind not in ("int", "float"):
        _refuse_tag(node, where)
    return _number(text, kind, node, where)


def _number(text: str, kind: str, node: yaml.Node, where: object) -> object:
    problem = "not a number"
    if _ENDLESS.fullmatch(text):
        problem = "not a finite number"
    elif len(text) > _MAX_DIGITS:
        problem = "a number of too many digits"
    elif kind == "int" and _INT.fullmatch(text):
        return WrittenInt(int(text, 0 if text[:2] in ("0x", "0o") else 10), text)
    elif kind == "float" and _FLOAT.fullmatch(text):
        if math.isfinite(number := float(text)):
            return WrittenFloat(number, text)
        problem = "a number too large"
    raise ConfigError(
        problem,
        where=_at(where, node),
        got=_short(text),
        remedy="Write it in quotes if it is meant as text.",
    )


def _key(node: yaml.Node, where: object) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise ConfigError("a key is not a word", where=_at(where, node), got=node.tag.removeprefix(_TAG))
    if node.value == "<<" and node.style is None:
        remedy = "Write the keys out."
        raise ConfigError("merge keys (<<) are not part of YAML 1.2", where=_at(where, node), remedy=remedy)
    return str(node.value)


def _refuse_growth(root: yaml.Node, where: object, what: str) -> None:
    """Count the nodes as if every alias were written out; a node inside itself never ends."""
    measured: dict[int, tuple[int, int]] = {}
    within: set[int] = set()

    def measure(node: yaml.Node) -> tuple[int, int]:
        if id(node) in within:
            raise ConfigError(f"the {what} contains itself", where=_at(where, node), got="an endless alias")
        if id(node) not in measured:
            within.add(id(node))
            inside = [measure(one) for one in _children(node)]
            within.discard(id(node))
            measured[id(node)] = 1 + sum(n for n, _ in inside), 1 + max((d for _, d in inside), default=0)
        return measured[id(node)]

    nodes, depth = measure(root)
    if nodes > MAX_NODES or depth > MAX_DEPTH:
        raise ConfigError(
            f"the {what} grows beyond all measure by its aliases",
            where=where,
            got=f"{nodes:.3g} values" if nodes > MAX_NODES else f"nested {depth} deep",
            needed=f"at most {MAX_NODES}" if nodes > MAX_NODES else f"at most {MAX_DEPTH}",
        )


def _refuse_twice(root: yaml.Node, where: object) -> None:
    for node in _all(root):
        seen: dict[str, int] = {}
        for key, _ in _pairs(node):
            name, line = _key(key, where), cast(Any, key.start_mark).line + 1
            if name in seen:
                raise ConfigError(
                    f"the key {_short(name)!r} stands twice",
                    where=f"{where}:{line}",
                    got=f"lines {seen[name]} and {line}",
                    remedy="Keep one of them.",
                )
            seen[name] = line


def _refuse_odd_spaces(root: yaml.Node, where: object) -> None:
    """A no-break space looks like one and indents nothing."""
    keys = {id(key) for node in _all(root) for key, _ in _pairs(node)}
    for node in _all(root):
        if isinstance(node, yaml.ScalarNode) and node.style is None and isinstance(node.value, str):
            ends = node.value if id(node) in keys else node.value[:1] + node.value[-1:]
            if odd := _ODD_SPACE.search(ends):
                _odd_space(odd[0], _at(where, node))
            if id(node) not in keys and re.search(f":{_ODD_SPACE.pattern}", node.value):
                _odd_space(cast(re.Match[str], _ODD_SPACE.search(node.value))[0], _at(where, node))


def _odd_space(character: str, where: str) -> NoReturn:
    name = "a no-break space" if character in "\u00a0\u202f" else "an odd space"
    remedy = "Replace it with a plain space."
    raise ConfigError(
        f"{name} where YAML needs a plain one", where=where, got=f"U+{ord(character):04X}", remedy=remedy
    )


def _not_yaml(error: yaml.YAMLError, text: str, where: object, what: str) -> NoReturn:
    mark: Any = getattr(error, "problem_mark", None)
    place = f"{where}:{mark.line + 1}" if mark else str(where)
    if mark is not None:
        lines = text.split("\n")[max(0, mark.line - 1) : mark.line + 1]
        if odd := _ODD_SPACE.search("\n".join(lines)):
            _odd_space(odd[0], place)
    got = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
    raise ConfigError(f"the {what} is not valid YAML", where=place, got=_short(got)) from error


def _refuse_tag(node: yaml.Node, where: object) -> NoReturn:
    raise ConfigError(
        "a tag that is not read", where=_at(where, node), got=_short(node.tag), needed="plain values"
    )


def _too_large(where: object, what: str, size: int) -> NoReturn:
    raise ConfigError(
        f"the {what} is too large", where=where, got=f"{size} bytes", needed=f"at most {MAX_BYTES}"
    )


def _text(path: Path, what: str) -> str:
    try:
        if path.is_file() and path.stat().st_size > MAX_BYTES:
            _too_large(path, what, path.stat().st_size)
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        return data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the {what}", where=path, got=error) from error


def _pairs(node: yaml.Node) -> list[tuple[yaml.Node, yaml.Node]]:
    return cast(list[tuple[yaml.Node, yaml.Node]], node.value) if isinstance(node, yaml.MappingNode) else []


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        return cast(list[yaml.Node], node.value)
    return [one for pair in _pairs(node) for one in pair]


def _all(root: yaml.Node) -> Iterator[yaml.Node]:
    """Every node once."""
    seen, waiting = {id(root)}, [root]
    while waiting:
        node = waiting.pop()
        yield node
        fresh = [one for one in _children(node) if id(one) not in seen]
        seen.update(map(id, fresh))
        waiting += fresh


def _at(where: object, node: yaml.Node) -> str:
    return f"{where}:{cast(Any, node.start_mark).line + 1}"


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
