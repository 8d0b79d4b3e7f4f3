"""Base models and face packs: licences, sizes, what is here; and what a download would bring."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from portrait_lora.errors import PortraitError
from portrait_lora.faces.table import pack_table
from portrait_lora.families import catalog
from portrait_lora.hub.hub import Hub
from portrait_lora.stages.usual import memory_range_gb
from portrait_lora.tasks import pull

_lock: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class Model:
    """One base of the catalogue; sizes in GB, `here` when nothing of it is missing."""

    row: dict[str, Any]
    memory_gb: tuple[float, float]
    here: bool
    missing_gb: float
    open_points: tuple[str, ...]


def bases(home: Path) -> tuple[Model, ...]:
    """The catalogue, with what is on this machine; uses no network."""
    hub = Hub.from_environment(offline=True)
    return tuple(_model(row, home, hub) for row in catalog.table())


def _model(row: Any, home: Path, hub: Hub) -> Model:
    name = str(row["name"])
    with _lock:
        missing = _missing(name, home, hub)
    return Model(
        row=dict(row),
        memory_gb=_memory(name),
        here=not missing,
        missing_gb=sum(need.gigabytes for need in missing),
        open_points=tuple(map(str, row["unverified"])),
    )


def _missing(name: str, home: Path, hub: Hub) -> list[pull.Need]:
    try:
        return list(pull.needs([name], home, hub))
    except PortraitError:
        return []


@lru_cache(maxsize=64)
def _memory(name: str) -> tuple[float, float]:
    least, quickest = memory_range_gb(next(b for b in catalog.bases() if b.name == name))
    return round(least, 1), round(quickest, 1)


def packs() -> list[dict[str, Any]]:
    """The face packs."""
    return [dict(row) for row in pack_table()]
