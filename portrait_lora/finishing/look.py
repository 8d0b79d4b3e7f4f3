"""Looks: a named chain of steps in a YAML file.

    name: noir
    about: black and white, deep shadows, fine grain
    steps:
      - grade: {monochrome: [0.35, 0.45, 0.20], contrast: 0.35, grain: 0.02}
      - format: {preset: linkedin}

The steps are carried out in their order; one may stand in it twice.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from pydantic import ValidationError

from portrait_lora import strict_yaml
from portrait_lora.config import configs_dir
from portrait_lora.errors import ConfigError
from portrait_lora.finishing import steps
from portrait_lora.finishing.step import Step, settings_record
from portrait_lora.removal import plain_name
from portrait_lora.settings import Section

MAX_STEPS: Final = 32
_KEYS: Final = ("name", "about", "steps")


@dataclass(frozen=True, slots=True)
class Planned:
    """One step of a look with its settings."""

    step: Step
    settings: Section

    @property
    def entry(self) -> dict[str, object]:
        """As in a record: `{step name: settings}`."""
        return {self.step.name: settings_record(self.settings)}


@dataclass(frozen=True, slots=True)
class Look:
    """A chain of steps; files that it names are relative to `folder`."""

    name: str
    about: str
    steps: tuple[Planned, ...]
    folder: Path


def looks_folder() -> tuple[Path, ...]:
    """Where the shipped looks lie, and files that they name."""
    return (configs_dir() / "looks",)


def packaged_looks() -> dict[str, Path]:
    """The shipped looks by name."""
    return {path.stem: path for path in sorted((configs_dir() / "looks").glob("*.yaml"))}


def load_look(name: str | Path, where: str = "--look") -> Look:
    """A shipped look by name, or a YAML file.  Raises `ConfigError` naming file, step and key.

    And `InputError` for a `name` that is none for a folder.
    """
    path, shipped = Path(name), packaged_looks()
    if not (path.suffix in (".yaml", ".yml") and path.is_file()):
        if str(name) not in shipped:
            close = difflib.get_close_matches(str(name), shipped, 1, cutoff=0.5)
            hint = f"Did you mean {close[0]!r}?" if close else f"Shipped: {', '.join(shipped)}."
            raise ConfigError("no such look", where=where, got=repr(str(name)), remedy=hint)
        path = shipped[str(name)]
    top = strict_yaml.load(path, "look")
    if not isinstance(top, dict):
        raise ConfigError("not a look", where=path, got=type(top).__name__, needed="name, about and steps")
    entries = cast(Mapping[object, object], top)
    for key in entries:
        if key not in _KEYS:
            raise ConfigError(f"unknown key {key!r}", where=path, needed=", ".join(_KEYS))
    return Look(
        name=plain_name(str(entries.get("name", path.stem)), where=f"{path}: name"),
        about=str(entries.get("about", "")),
        steps=planned(entries.get("steps"), str(path)),
        folder=path.resolve().parent,
    )


def planned(raw: object, where: str) -> tuple[Planned, ...]:
    """The steps of a look or of a record.  Raises `ConfigError` naming the step and the key."""
    if not isinstance(raw, list) or not 0 < len(cast(list[object], raw)) <= MAX_STEPS:
        raise ConfigError("not a list of steps", where=where, needed=f"1 to {MAX_STEPS} steps")
    return tuple(_planned(one, f"{where}: step {i + 1}") for i, one in enumerate(cast(list[object], raw)))


def _planned(raw: object, where: str) -> Planned:
    entry = {raw: None} if isinstance(raw, str) else raw
    if not isinstance(entry, dict) or len(cast(dict[object, object], entry)) != 1:
        raise ConfigError("not a step", where=where, got=repr(raw)[:80], needed="such as `- grade: {…}`")
    ((name, values),) = cast(dict[object, object], entry).items()
    known = steps.by_name()
    if name not in known:
        close = difflib.get_close_matches(str(name), known, 1, cutoff=0.5)
        hint = f"Did you mean {close[0]!r}?" if close else f"Steps: {', '.join(known)}."
        raise ConfigError("no such step", where=where, got=repr(name), remedy=hint)
    step = known[str(name)]
    try:
        return Planned(step, step.settings.model_validate({} if values is None else values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        fields = ", ".join(step.settings.model_fields)
        needed = f"one of {fields}" if first["type"] == "extra_forbidden" else first["msg"]
        got = repr(first["input"])[:80]
        raise ConfigError(
            f"wrong setting of {name}", where=f"{where}: {key}", got=got, needed=needed
        ) from error
