"""The settings of one person as a form: fields from the schema, values with their origin, and saving.

Saved are only the values that were changed, each in its place in `likeness.yaml`; see `yaml_edit`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, cast

from pydantic import ValidationError

from portrait_lora import config, manifest, strict_yaml, yaml_edit
from portrait_lora.config import FILE_NAME, LikenessConfig, Tree, base_defaults, merge
from portrait_lora.errors import ConfigError, InputError

Kind = Literal["truth", "choice", "whole", "number", "text", "list"]
NEVER: Final = frozenset({"allow_synthetic_models"})
"""Keys that the form only shows: what they allow is asked where it matters."""
_TITLES: Final = {
    "": ("Models and machine", "Which base model, which face pack, where it runs."),
    "subject": ("The person", "Who is portrayed, and the word that stands for them."),
    "dataset": ("Crops", "How the accepted photos become training pictures."),
    "dataset.check": ("Photo check", "When a photo is turned down."),
    "dataset.curate": ("Curation", "How many photos, and which are the same."),
    "dataset.captions": ("Captions", "Where the words for each photo come from."),
    "training": ("Training", "The adapter, and how it learns."),
    "select": ("Choice of the checkpoint", "By probe portraits against the held-out photos."),
    "generate": ("Portraits", "How portraits are drawn."),
    "score": ("Measuring", "What the report measures besides likeness."),
}


class Changed(InputError):
    """The file is not the one that the form was made from."""


@dataclass(frozen=True, slots=True)
class Field:
    """One setting: `value` and `usual` as text; `written` when it stands in the file; `error` from a save."""

    key: str
    label: str
    help: str
    kind: Kind
    limits: str
    choices: tuple[str, ...]
    optional: bool
    value: str = ""
    usual: str = ""
    written: bool = False
    error: str = ""

    @property
    def id(self) -> str:
        return self.key.replace(".", "-")


@dataclass(frozen=True, slots=True)
class Part:
    """Settings under one heading."""

    key: str
    title: str
    about: str
    fields: tuple[Field, ...]

    @property
    def id(self) -> str:
        """For the page's own links."""
        return self.key.replace(".", "-") or "machine"

    @property
    def written(self) -> int:
        """How many of its settings stand in the file."""
        return sum(field.written for field in self.fields)


@dataclass(frozen=True, slots=True)
class Form:
    """All settings of a person, and the version of the file that they were read from."""

    version: str
    parts: tuple[Part, ...]

    @property
    def errors(self) -> int:
        """How many fields have an error."""
        return sum(bool(field.error) for part in self.parts for field in part.fields)


def version_of(folder: Path) -> str:
    """The digest of the file's bytes; `none` without a file."""
    file = folder / FILE_NAME
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.is_file() else "none"


def form(folder: Path) -> Form:
    """The form as the file stands.  Raises `ConfigError` for a file that cannot be read as it is."""
    version, text = version_of(folder), text_of(folder)
    own = _tree(text)
    resolved = config.load(folder / FILE_NAME if version != "none" else None)
    usual = LikenessConfig.model_validate(merge(base_defaults(resolved.base), {"base": resolved.base}))
    now, normal = resolved.model_dump(mode="json"), usual.model_dump(mode="json")
    parts = [
        replace(
            part,
            fields=tuple(
                replace(
                    field,
                    value=text_of_value(at(now, field.key)),
                    usual=text_of_value(at(normal, field.key)),
                    written=_there(own, field.key),
                )
                for field in part.fields
            ),
        )
        for part in schema_parts()
    ]
    return Form(version, tuple(parts))


def save(folder: Path, version: str, values: Mapping[str, str]) -> Form:
    """Save the values that differ from the file; the form as it stands afterwards.

    With errors the form carries them and the typed values, and nothing is written.  Raises `Changed` when
    the file is another one than `version`, `InputError` for a key that is none or a value that cannot be
    changed without touching what a person wrote.
    """
    file = folder / FILE_NAME
    with manifest.locked(file):
        if version_of(folder) != version:
            raise Changed(
                "the settings were changed meanwhile, in another tab or in the file",
                where=FILE_NAME,
                remedy="Load the page again: it shows them as they are now. Nothing was written.",
            )
        shown = form(folder)
        fields = {field.key: field for part in shown.parts for field in part.fields}
        unknown = sorted(set(values) - set(fields))
        if unknown:
            raise InputError("no such setting", where=FILE_NAME, got=unknown[0])
        typed = {k: v.strip() for k, v in values.items() if v.strip() != fields[k].value and k not in NEVER}
        changes, errors = _changes(fields, typed)
        text = text_of(folder)
        try:
            new = yaml_edit.changed(text, changes, FILE_NAME)
            errors |= {k: v for k, v in _errors(new).items() if k not in errors}
        except ConfigError as error:
            errors.setdefault(next(iter(typed), ""), error.message())
            new = text
        if errors:
            return _with_errors(shown, typed, errors)
        if new != text:
            manifest.write_text_atomic(file, new)
    return form(folder)


def set_one(folder: Path, key: str, value: object) -> None:
    """Set one key (`yaml_edit.DEFAULT` takes it out) in the file, as a page does for a button.

    Raises `ConfigError` for a value that is not allowed, and `InputError` as `save` does.
    """
    file = folder / FILE_NAME
    with manifest.locked(file):
        text = text_of(folder)
        new = yaml_edit.changed(text, {key: value}, FILE_NAME)
        wrong = _errors(new)
        if wrong:
            first = next(iter(wrong))
            raise ConfigError(
                f"invalid value of {first!r}", where=FILE_NAME, got=repr(value), needed=wrong[first]
            )
        if new != text:
            manifest.write_text_atomic(file, new)


def text_of(folder: Path) -> str:
    """The file as it is written; of a folder without one, what would be written there."""
    file = folder / FILE_NAME
    if not file.is_file():
        return config.short(config.load(None))
    strict_yaml.compose(file, "configuration")  # its limits, and its words for a file that is no text
    return file.read_bytes().decode("utf-8-sig")


def _tree(text: str) -> Tree:
    value = strict_yaml.parse(text, FILE_NAME, "configuration")
    return cast(Tree, value) if isinstance(value, dict) else {}


def _changes(
    fields: Mapping[str, Field], typed: Mapping[str, str]
) -> tuple[dict[str, object], dict[str, str]]:
    """Values of what was typed, and what is wrong with those that are none."""
    changes: dict[str, object] = {}
    errors: dict[str, str] = {}
    for key, text in typed.items():
        try:
            changes[key] = yaml_edit.DEFAULT if text == fields[key].usual else _value(fields[key], text)
        except ValueError as error:
            errors[key] = str(error)
    return changes, errors


def _value(field: Field, text: str) -> object:
    """Raises `ValueError` for a text that is no value of the field's kind."""
    if "\n" in text or "\r" in text or not text.isprintable():
        raise ValueError("one line of plain text is needed")
    if field.kind == "list":
        return [part.strip() for part in text.split(",") if part.strip()]
    if field.kind == "truth":
        if text not in ("true", "false"):
            raise ValueError("yes or no is needed")
        return text == "true"
    if field.kind == "choice":
        if text not in field.choices:
            raise ValueError(f"one of {', '.join(field.choices)} is needed")
        return {"true": True, "false": False, "null": None}.get(text, text)
    if field.kind == "text":
        return text
    if not text:
        if field.optional:
            return None
        raise ValueError("a number is needed")
    number = _number(text)
    if number is None or (field.kind == "whole" and not isinstance(number, int)):
        raise ValueError("a whole number is needed" if field.kind == "whole" else "a number is needed")
    return number


def _number(text: str) -> int | float | None:
    text = text.replace(",", ".") if re.fullmatch(r"-?\d+,\d+", text) else text
    if re.fullmatch(r"-?\d{1,15}", text):
        return int(text)
    return float(text) if re.fullmatch(r"-?(\d{1,15}\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", text) else None


def _errors(text: str) -> dict[str, str]:
    """Dotted key → what is wrong, of all keys of a file."""
    own = _tree(text)
    tree = merge(base_defaults(str(own.get("base", "embedded"))), own)
    try:
        LikenessConfig.model_validate(config.sections(tree, LikenessConfig))
    except ValidationError as error:
        wrong: dict[str, str] = {}
        for one in error.errors(include_url=False):
            key = ".".join(str(p) for p in one["loc"] if isinstance(p, str) and "[" not in p)
            message = one["msg"].removeprefix("Value error, ")
            wrong.setdefault(_nearest(key), message[0].lower() + message[1:])
        return wrong
    return {}


def _nearest(key: str) -> str:
    """The field that an error belongs to: unions add the name of their branch."""
    known = {field.key for part in schema_parts() for field in part.fields}
    while key and key not in known and "." in key:
        key = key.rpartition(".")[0]
    return key


def _with_errors(shown: Form, typed: Mapping[str, str], errors: Mapping[str, str]) -> Form:
    def marked(field: Field) -> Field:
        value = typed.get(field.key, field.value)
        return replace(field, value=value, error=errors.get(field.key, ""))

    parts = tuple(replace(part, fields=tuple(map(marked, part.fields))) for part in shown.parts)
    return Form(shown.version, parts)


@cache
def schema_parts() -> tuple[Part, ...]:
    """The fields of the JSON Schema of likeness.yaml, without values."""
    schema = cast(dict[str, Any], LikenessConfig.model_json_schema())
    rows: dict[str, list[Field]] = {}
    for field in _fields(schema, schema, ""):
        rows.setdefault(field.key.rpartition(".")[0], []).append(field)
    order = [*_TITLES, *(key for key in rows if key not in _TITLES)]
    return tuple(Part(key, *_TITLES.get(key, (key, "")), tuple(rows[key])) for key in order if key in rows)


def _fields(schema: dict[str, Any], whole: dict[str, Any], before: str) -> Iterator[Field]:
    for name, raw in schema["properties"].items():
        one = _resolved(raw, whole)
        if "properties" in one:
            yield from _fields(one, whole, f"{before}{name}.")
        elif not _is_of_sections(one, whole):
            yield _field(f"{before}{name}", name, one, whole)


def _is_of_sections(one: dict[str, Any], whole: dict[str, Any]) -> bool:
    """Whether a value is a table of its own, such as the decisions on single photos: pages have their own."""
    items = _resolved(cast(dict[str, Any], one.get("items") or {}), whole)
    return one.get("type") == "object" or "properties" in items


def _resolved(raw: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    name = raw.get("$ref", "").rpartition("/")[2]
    return {**whole["$defs"][name], **{k: v for k, v in raw.items() if k != "$ref"}} if name else raw


def _field(key: str, name: str, one: dict[str, Any], whole: dict[str, Any]) -> Field:
    options = [_resolved(o, whole) for o in one.get("anyOf", [one])]
    optional = any(o.get("type") == "null" for o in options)
    plain = [o for o in options if o.get("type") != "null"]
    choices: list[str] = []
    for o in plain:
        choices += [str(v) for v in o.get("enum", [])] + ([str(o["const"])] if "const" in o else [])
        choices += ["true", "false"] if o.get("type") == "boolean" and len(plain) > 1 else []
    kinds: dict[str, Kind] = {"boolean": "truth", "integer": "whole", "number": "number", "array": "list"}
    kind: Kind = "choice" if choices else kinds.get(str(plain[0].get("type")), "text")
    label = name.replace("_", " ").capitalize()
    text = str(one.get("description", ""))
    return Field(key, label, text[:1].upper() + text[1:], kind, limits_of(plain[0]), tuple(choices), optional)


def limits_of(schema: Mapping[str, Any]) -> str:
    """`from 0 to 1`, `above 0`, `1 to 4`; empty without limits."""
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    lower = _limit("from", low) or _limit("above", above)
    return " ".join(filter(None, (lower, _limit("to", high) or _limit("below", below))))


def _limit(word: str, number: float | None) -> str:
    if number is None:
        return ""
    return f"{word} {number:,.0f}" if abs(number) >= 1e6 else f"{word} {number:g}"


def at(tree: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key."""
    value: Any = tree
    for part in key.split("."):
        value = value[part]
    return value


def _there(tree: Tree, key: str) -> bool:
    value: object = tree
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            return False
        value = cast(Tree, value)[part]
    return True


def text_of_value(value: object) -> str:
    """As in the form: lists with commas, nothing for null."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(map(text_of_value, cast(Sequence[object], value)))
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)
