"""Where a fleet has sent its people: stores, and the clusters whose nodes work from them; for `fleet forget`.

`HOME/elsewhere.json` names no people.  A folder that all workers share is nowhere else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from portrait_lora import manifest, strict_json
from portrait_lora.fleet.objects import is_folder
from portrait_lora.results import Value

FILE: Final = "elsewhere.json"


class Elsewhere(Value):
    """A store; `address` of the Ray cluster whose nodes keep copies in `scratch` while they work (empty: this
    machine, or workers that were started by job files; the usual place)."""

    store: str
    address: str = ""
    scratch: str = ""


class _Record(Value):
    places: tuple[Elsewhere, ...] = ()


def remember(home: Path, place: Elsewhere) -> None:
    """Note a place before anybody is sent there; a folder is none."""
    if is_folder(place.store):
        return
    with manifest.locked(home / FILE):
        places = read(home)
        if place not in places:
            record = _Record(places=(*places, place))
            manifest.write_json_atomic(home / FILE, record.model_dump(mode="json"))


def read(home: Path) -> tuple[Elsewhere, ...]:
    """Every place that was noted.  Raises `ArtifactError` for a damaged list."""
    file = home / FILE
    return (
        _Record.read(strict_json.load_object(file, "list of places"), file).places if file.is_file() else ()
    )
