"""What a portrait can be asked for by name: packaged series and looks, with what is in each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import cast

from portrait_lora import strict_yaml
from portrait_lora.config import configs_dir


@dataclass(frozen=True, slots=True)
class PackagedSeries:
    """A shipped series and the names of its shots."""

    name: str
    shots: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PackagedLook:
    """A shipped look and the names of its steps."""

    name: str
    about: str
    steps: tuple[str, ...]


@cache
def packaged_series() -> tuple[PackagedSeries, ...]:
    """The shipped series, by name."""
    from portrait_lora.generation.series import read_series

    files = sorted((configs_dir() / "series").glob("*.yaml"))
    return tuple(PackagedSeries(f.stem, tuple(e.name for e in read_series(f).entries)) for f in files)


@cache
def packaged_looks() -> tuple[PackagedLook, ...]:
    """The shipped looks of finishing, by name; without the steps themselves, which are heavy to import."""
    looks: list[PackagedLook] = []
    for path in sorted((configs_dir() / "looks").glob("*.yaml")):
        top = cast(Mapping[str, object], strict_yaml.load(path, "look"))
        steps = cast(list[object], top.get("steps") or [])
        names = [
            str(next(iter(cast(dict[str, object], s)))) if isinstance(s, dict) else str(s) for s in steps
        ]
        looks.append(PackagedLook(str(top.get("name", path.stem)), str(top.get("about", "")), tuple(names)))
    return tuple(looks)
