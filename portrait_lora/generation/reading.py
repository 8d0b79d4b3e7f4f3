"""Parsing of the prompt book's YAML files: small checks whose errors name the file and the key."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from portrait_lora import strict_yaml
from portrait_lora.config import configs_dir
from portrait_lora.errors import ConfigError, InputError

MAX_PROMPTS_BYTES = 1_000_000


def packaged(kind: str, name: str | Path, where: str) -> Path:
    """The file of a packaged series or brand, or the path itself.  `ConfigError` suggests the nearest."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path
    files = {p.stem: p for p in sorted((configs_dir() / kind).glob("*.yaml"))}
    if str(name) in files:
        return files[str(name)]
    close = difflib.get_close_matches(str(name), files, 1, cutoff=0.5)
    hint = f"Did you mean {close[0]!r}?" if close else f"Packaged: {', '.join(files)}."
    singular = {"series": "series", "brands": "brand"}[kind]
    raise ConfigError(f"no such {singular}", where=where, got=repr(str(name)), remedy=hint)


def tree(path: Path, what: str) -> object:
    """The parsed YAML."""
    return strict_yaml.load(path, what)


def mapping(value: object, path: Path, where: str, known: Sequence[str]) -> dict[str, object]:
    """A mapping without unknown keys."""
    if not isinstance(value, dict):
        raise ConfigError(
            "not a mapping of keys and values", where=f"{path}: {where}", got=type(value).__name__
        )
    entries = {str(k): v for k, v in cast(dict[object, object], value).items()}
    for key in entries:
        if key not in known:
            close = difflib.get_close_matches(key, known, 1, cutoff=0.5)
            hint = f"Did you mean {close[0]!r}?" if close else f"Known here: {', '.join(known)}."
            raise ConfigError(f"unknown key {key!r}", where=f"{path}: {where}", remedy=hint)
    return entries


def words(value: object, path: Path, where: str, known: Sequence[str]) -> dict[str, str]:
    """A mapping to text values, with normalised spaces."""
    return {key: text(v, path, f"{where}.{key}") for key, v in mapping(value, path, where, known).items()}


def text(value: object, path: Path, where: str) -> str:
    """Words."""
    if not isinstance(value, str) or not value.strip():
        remedy = "Write it in quotes if it is text." if isinstance(value, int | float) else ""
        raise ConfigError("not text", where=f"{path}: {where}", got=repr(value), remedy=remedy)
    return " ".join(value.split())


def listed(value: object, path: Path, where: str) -> list[object]:
    """A list."""
    if not isinstance(value, list):
        raise ConfigError("not a list", where=f"{path}: {where}", got=type(value).__name__)
    return cast(list[object], value)


def whole(value: object, path: Path, where: str, least: int = 0) -> int:
    """A whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError("not a whole number", where=f"{path}: {where}", got=repr(value))
    return int(value)


def yes_or_no(value: object, path: Path, where: str) -> bool:
    """`true` or `false`."""
    if not isinstance(value, bool):
        raise ConfigError("neither true nor false", where=f"{path}: {where}", got=repr(value))
    return value


def share(value: object, path: Path, where: str) -> float:
    """A number from 0 to 1."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1:
        raise ConfigError(
            "not a fraction of the height", where=f"{path}: {where}", got=repr(value), needed="0 to 1"
        )
    return float(value)


def prompt_lines(path: Path) -> list[tuple[int, str]]:
    """(line number from 1, prompt) of a text file with one prompt per line; `#` begins a comment.

    Raises `InputError` for a file that is larger than `MAX_PROMPTS_BYTES` or not UTF-8 text.
    """
    try:
        if path.stat().st_size > MAX_PROMPTS_BYTES:
            raise InputError("too large for a prompt file", where=path, needed="at most 1 MB of text")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("the prompt file cannot be read", where=path, got=error) from error
    rows = [(i + 1, " ".join(line.split())) for i, line in enumerate(lines)]
    return [(i, line) for i, line in rows if line and not line.startswith("#")]


@dataclass(frozen=True, slots=True)
class Finish:
    """What a sheet says under `finish`: the name of a look, its file, or its steps.

    `path` is that of the sheet, `sheet` tells a series from a brand; `limit` and `seed` are None where it
    leaves them to the usual ones.
    """

    path: Path
    sheet: str
    look: str = ""
    steps: tuple[object, ...] | None = None
    limit: float | None = None
    seed: int | None = None


def finish(value: object, path: Path, sheet: str) -> Finish:
    """`NAME`, `FILE.yaml`, a list of steps, or a mapping with `look` or `steps`, `limit` and `seed`."""
    where = "finish"
    if isinstance(value, list):
        value = {"steps": cast(list[object], value)}
    elif not isinstance(value, dict):
        value = {"look": value}
    top = mapping(cast(object, value), path, where, ("look", "steps", "limit", "seed"))
    if ("look" in top) == ("steps" in top):
        raise ConfigError(
            "finishing needs a look or a list of steps", where=f"{path}: {where}", needed="one of them"
        )
    limit = top.get("limit")
    if limit is not None and (
        not isinstance(limit, int | float) or isinstance(limit, bool) or not 0 <= limit <= 1
    ):
        raise ConfigError("not a limit", where=f"{path}: {where}.limit", got=repr(limit), needed="0 to 1")
    return Finish(
        path=path,
        sheet=f"{sheet} {path.stem}",
        look=text(top["look"], path, f"{where}.look") if "look" in top else "",
        steps=tuple(listed(top["steps"], path, f"{where}.steps")) if "steps" in top else None,
        limit=limit,
        seed=whole(top["seed"], path, f"{where}.seed") if "seed" in top else None,
    )


def aspect(value: object, path: Path, where: str = "aspect") -> tuple[int, int]:
    """`W:H` within 1:4 and 4:1."""
    text = str(value)
    w, _, h = text.partition(":")
    if not (w.strip().isdigit() and h.strip().isdigit() and int(h) and 0.25 <= int(w) / int(h) <= 4):
        raise ConfigError("not an aspect ratio", where=f"{path}: {where}", got=text, needed='such as "3:4"')
    return int(w), int(h)


def no_overlap(layers: Mapping[str, object], locked: Mapping[str, str], path: Path, where: str) -> None:
    """Refuse a locked layer that is also set elsewhere."""
    both = sorted(set(layers) & set(locked))
    if both:
        raise ConfigError(
            "a locked layer is set again",
            where=f"{path}: {where}",
            got=", ".join(both),
            remedy="Set it in one place.",
        )


def slug(name: str) -> str:
    """A name for a file: lower-case letters, digits and single hyphens."""
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower())
    return "-".join(part for part in kept.split("-") if part) or "shot"
