"""The configuration of one likeness: merge order, and errors that point at a line.

Merge order: the base model's YAML < likeness.yaml < overrides (`-s training.rank=32`).  One
validation, no interpolation, no dotted class paths, no environment variables.  The keys themselves are in
`settings.py`; their classes can be imported from here.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from portrait_lora import strict_yaml
from portrait_lora.errors import ConfigError
from portrait_lora.settings import (
    CaptionConfig,
    CheckConfig,
    CurateConfig,
    DatasetConfig,
    Fraction,
    GenerateConfig,
    LikenessConfig,
    Positive,
    Section,
    SelectConfig,
    SubjectConfig,
    TrainingConfig,
)

__all__ = [
    "FILE_NAME",
    "CaptionConfig",
    "CheckConfig",
    "CurateConfig",
    "DatasetConfig",
    "Fraction",
    "GenerateConfig",
    "LikenessConfig",
    "Positive",
    "Section",
    "SelectConfig",
    "SubjectConfig",
    "TrainingConfig",
    "Tree",
    "base_defaults",
    "configs_dir",
    "dump",
    "load",
    "merge",
    "short",
]

Tree = dict[str, object]

FILE_NAME: Final = "likeness.yaml"


def configs_dir() -> Path:
    """The packaged `configs` folder: inside the package when installed, beside it in a checkout."""
    inside = Path(__file__).parent / "configs"
    return inside if inside.is_dir() else Path(__file__).parents[1] / "configs"


def load(
    file: Path | None, overrides: Sequence[str] = (), *, defaults: Mapping[str, object] | None = None
) -> LikenessConfig:
    """Load and validate a configuration.

    `overrides` are `dotted.key=value` with YAML values.  Raises `ConfigError` for an unreadable file,
    an unknown key (suggesting the nearest one) or an invalid value, with file and line.
    """
    own, nodes = _read(file) if file else ({}, None)
    override_tree = _overrides(overrides)
    chosen = override_tree.get("base", own.get("base", (defaults or {}).get("base", "embedded")))
    tree = merge(base_defaults(str(chosen)), defaults or {}, own, override_tree)
    try:
        return LikenessConfig.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        raise _explain(first, file, nodes, override_tree) from error


def base_defaults(base: str) -> Tree:
    """The YAML of a base model; a base without one (a folder of the user's) starts from the schema."""
    known = {path.stem: path for path in configs_dir().glob("*.yaml")}
    return _read(known[base])[0] if base in known else {}


def merge(*trees: Mapping[str, object]) -> Tree:
    """Deep merge, later wins."""
    out: Tree = {}
    for tree in trees:
        for key, value in tree.items():
            old = out.get(key)
            if isinstance(old, dict) and isinstance(value, Mapping):
                out[key] = merge(cast(Tree, old), cast(Mapping[str, object], value))
            else:
                out[key] = value
    return out


def dump(config: LikenessConfig) -> str:
    """The configuration as YAML, in schema order."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def short(config: LikenessConfig, folder: Path | None = None) -> str:
    """The configuration as a short, commented YAML: the models, the subject, and what differs from defaults.

    Loading it gives `config` again.
    """
    defaults = LikenessConfig.model_validate(merge(base_defaults(config.base), {"base": config.base}))
    own, usual = config.model_dump(mode="json"), defaults.model_dump(mode="json")
    place = f" {folder}" if folder else ""
    lines = [f"# What differs from the defaults; every setting: portrait-lora config show{place}"]
    for key, value in own.items():
        field = LikenessConfig.model_fields[key]
        if isinstance(value, dict):
            section = _differing(cast(Tree, value), cast(Tree, usual[key]), key)
            if section:
                lines += ["", f"{key}:", *_commented(section, field.annotation, "  ")]
        elif value != usual[key] or key in _ALWAYS:
            lines += _commented({key: value}, LikenessConfig)
    return "\n".join(lines) + "\n"


_ALWAYS: Final = ("base", "face_pack", "subject.kind", "subject.trigger")


def _differing(own: Tree, usual: Tree, path: str) -> Tree:
    out: Tree = {}
    for key, value in own.items():
        where = f"{path}.{key}"
        if isinstance(value, dict):
            inner = _differing(cast(Tree, value), cast(Tree, usual[key]), where)
            out |= {key: inner} if inner else {}
        elif value != usual[key] or where in _ALWAYS:
            out[key] = value
    return out


def _commented(tree: Tree, model: object, indent: str = "") -> list[str]:
    """The YAML lines of a mapping; one-line keys get their description as a comment."""
    lines: list[str] = []
    known = model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}
    for key, value in tree.items():
        text = yaml.safe_dump({key: value}, sort_keys=False, allow_unicode=True, width=10_000)
        rows = [f"{indent}{row}" for row in text.rstrip("\n").split("\n")]
        meaning = known[key].description if key in known else None
        if meaning and len(rows) == 1:
            rows[0] += f"  # {meaning}"
        lines += rows
    return lines


def _read(path: Path) -> tuple[Tree, yaml.Node | None]:
    nodes = strict_yaml.compose(path, "configuration")
    tree = strict_yaml.value_of(nodes, path)
    if tree is None:
        return {}, None
    if not isinstance(tree, dict):
        raise ConfigError(
            "not a configuration", where=path, got=type(tree).__name__, needed="a mapping of keys to values"
        )
    return sections(cast(Tree, tree), LikenessConfig), nodes


def _overrides(pairs: Sequence[str]) -> Tree:
    out: Tree = {}
    for pair in pairs:
        key, sep, text = pair.partition("=")
        if not sep or not key.strip():
            raise ConfigError("not an override", where=f"-s {pair}", needed="dotted.key=value")
        leaf: Tree = {key.strip().split(".")[-1]: strict_yaml.parse(text, f"-s {key}", "value")}
        for part in reversed(key.strip().split(".")[:-1]):
            leaf = {part: leaf}
        out = merge(out, leaf)
    return sections(out, LikenessConfig)


def sections(tree: Tree, model: type[BaseModel]) -> Tree:
    """The tree with an empty section wherever one has no keys (all of them commented out)."""
    out = dict(tree)
    for key in tree.keys() & model.model_fields.keys():
        inner = model.model_fields[key].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            value: object = tree[key]
            if value is None:
                out[key] = {}
            elif isinstance(value, dict):
                out[key] = sections(cast(Tree, value), inner)
    return out


def _line(nodes: yaml.Node | None, path: Sequence[str | int]) -> int | None:
    """The line (from 1) of a dotted key in the composed YAML."""
    node, line = nodes, None
    for part in path:
        if not isinstance(node, yaml.MappingNode):
            return line
        pairs = cast(list[tuple[yaml.Node, yaml.Node]], node.value)
        hit = next(((k, v) for k, v in pairs if k.value == part), None)
        if hit is None:
            return line
        line, node = hit[0].start_mark.line + 1, hit[1]
    return line


def _known_keys(path: Sequence[str | int]) -> list[str]:
    model: type[BaseModel] = LikenessConfig
    for part in path:
        inner = model.model_fields[str(part)].annotation if part in model.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)


def _set_by_override(override_tree: Tree, path: Sequence[str | int]) -> bool:
    tree = override_tree
    for part in path:
        if str(part) not in tree:
            return False
        inner = tree[str(part)]
        tree = cast(Tree, inner) if isinstance(inner, dict) else {}
    return True


def _explain(
    error: ErrorDetails, file: Path | None, nodes: yaml.Node | None, override_tree: Tree
) -> ConfigError:
    path = error["loc"]
    key = ".".join(str(p) for p in path)
    line = _line(nodes, path)
    where = (
        f"-s {key}"
        if _set_by_override(override_tree, path)
        else f"{file}:{line}"
        if file and line
        else str(file or key)
    )
    if error["type"] == "extra_forbidden":
        known = _known_keys(path[:-1])
        close = difflib.get_close_matches(str(path[-1]), known, 1, cutoff=0.5)
        hint = f"Did you mean {close[0]!r}?" if close else f"Known here: {', '.join(known)}."
        return ConfigError(f"unknown configuration key {key!r}", where=where, remedy=hint)
    needed = error["msg"][0].lower() + error["msg"][1:]
    return ConfigError(f"invalid value of {key!r}", where=where, got=repr(error["input"]), needed=needed)
