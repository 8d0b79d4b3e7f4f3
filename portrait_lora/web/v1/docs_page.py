"""The OpenAPI document taken apart for a page: groups of operations with their fields in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

_METHODS: Final = ("get", "post", "put", "patch", "delete")
_REF: Final = "#/components/schemas/"
_MOST_VALUES: Final = 12
Tree = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter or a field of a body: where it stands, its type in words, whether it has to be there."""

    name: str
    place: str
    kind: str
    required: bool
    about: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation; `anchor` is its name in the schema."""

    anchor: str
    method: str
    path: str
    title: str
    about: tuple[str, ...]
    fields: tuple[Field, ...]
    answers: tuple[tuple[str, str, str], ...]
    shape: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Operations that belong together."""

    name: str
    operations: tuple[Operation, ...]


def groups(schema: Tree) -> list[Group]:
    """The operations of an OpenAPI document by their tag, in the order of the document."""
    rows_by_tag: dict[str, list[Operation]] = {}
    for path, methods in cast(dict[str, Tree], schema["paths"]).items():
        for method in _METHODS:
            if method in methods:
                one = methods[method]
                rows_by_tag.setdefault(one["tags"][0], []).append(_operation(schema, method, path, one))
    return [Group(name, tuple(rows)) for name, rows in rows_by_tag.items()]


def _operation(schema: Tree, method: str, path: str, raw: Tree) -> Operation:
    words = [part.replace("\n", " ") for part in str(raw.get("description", "")).split("\n\n") if part]
    fields = [
        Field(
            p["name"], p["in"], kind_of(schema, p["schema"]), bool(p.get("required")), _about(p, p["schema"])
        )
        for p in cast(list[Tree], raw.get("parameters", []))
    ]
    for media, content in cast(dict[str, Tree], raw.get("requestBody", {}).get("content", {})).items():
        inner = _fields(schema, content.get("schema", {}), "body")
        fields += inner or [Field("(bytes)", "body", media, True, "")]
    return Operation(
        raw["operationId"],
        method.upper(),
        path,
        words[0] if words else str(raw["summary"]),
        tuple(words[1:]),
        tuple(fields),
        tuple(_answers(schema, raw["responses"])),
        tuple(_shape(schema, raw["responses"])),
    )


def _answers(schema: Tree, responses: Tree) -> list[tuple[str, str, str]]:
    """(status, shape or media types, words)."""
    rows: list[tuple[str, str, str]] = []
    for status, answer in responses.items():
        content = cast(dict[str, Tree], answer.get("content", {}))
        kinds = [
            kind_of(schema, one.get("schema", {})) if "json" in media else media
            for media, one in content.items()
        ]
        words = str(answer.get("description", ""))
        rows.append((status, ", ".join(kinds), "" if words == "Successful Response" else words))
    return rows


def _shape(schema: Tree, responses: Tree) -> list[Field]:
    """The fields of the answer that is no error."""
    for status, answer in responses.items():
        content = answer.get("content", {}).get("application/json")
        if status.startswith("2") and content:
            return _fields(schema, content["schema"], "answer")
    return []


def _fields(schema: Tree, raw: Tree, place: str) -> list[Field]:
    whole = _resolved(schema, raw)
    needed = set(cast(list[str], whole.get("required", [])))
    properties = cast(dict[str, Tree], whole.get("properties", {}))
    return [
        Field(name, place, kind_of(schema, one), name in needed, _about(one, one))
        for name, one in properties.items()
    ]


def _about(raw: Tree, inner: Tree) -> str:
    words = [str(raw.get("description") or inner.get("description") or "")]
    default = inner.get("default")
    if default not in (None, "", [], {}):
        words.append(f"default {default}")
    return "; ".join(filter(None, words))


def kind_of(schema: Tree, raw: Tree) -> str:
    """A schema in a few words: `integer 1 to 200`, `list of Photo`, `string or null`."""
    if "$ref" in raw:
        return str(raw["$ref"]).removeprefix(_REF)
    for key in ("anyOf", "oneOf", "allOf"):
        if key in raw:
            return " or ".join(dict.fromkeys(kind_of(schema, one) for one in raw[key]))
    if "enum" in raw:
        values = [str(one) or "(empty)" for one in raw["enum"]]
        return " | ".join(values[:_MOST_VALUES]) + (" | …" if len(values) > _MOST_VALUES else "")
    if "const" in raw:
        return str(raw["const"])
    kind = str(raw.get("type", "any"))
    if kind == "array":
        return f"list of {kind_of(schema, raw.get('items', {}))}"
    if raw.get("format") == "binary" or "contentMediaType" in raw:
        return "bytes"
    limits = [raw.get("minimum"), raw.get("maximum")]
    if kind in ("integer", "number") and None not in limits:
        low, high = (f"{float(one):.12g}" for one in limits if one is not None)
        return f"{kind} {low} to {high}"
    return kind


def _resolved(schema: Tree, raw: Tree) -> Tree:
    if "$ref" in raw:
        return schema["components"]["schemas"][str(raw["$ref"]).removeprefix(_REF)]
    if len(raw.get("allOf", [])) == 1:
        return _resolved(schema, raw["allOf"][0])
    return raw
