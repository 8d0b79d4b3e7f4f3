"""The pictures of a person that were drawn: portraits, edits and finished ones, and what is known of each.

Paths inside are relative to the likeness folder; outside of this machine a picture goes by its id.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

from portrait_lora import strict_json
from portrait_lora.errors import ArtifactError
from portrait_lora.generation import save
from portrait_lora.web import ids

PictureKind = Literal["portrait", "edit", "finished"]
SUFFIXES: Final = frozenset({".png", ".jpg", ".webp", ".tif"})
Similarities = Mapping[tuple[str, str], float]
"""(series, file name) → similarity to the held-out photos."""
_EDITS: Final = "-edits"
_FINISHED: Final = "-finished"


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture by its place: `file` relative to the likeness folder, `series` the name of its series."""

    id: str
    file: str
    series: str
    kind: PictureKind
    look: str = ""

    @property
    def name(self) -> str:
        """The file name."""
        return self.file.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class Details:
    """What the sidecar says of a picture; `similarity` to the held-out photos, where it was scored."""

    size_px: tuple[int, int] | None
    prompt: str
    seed: int | None
    source: str
    history: tuple[Mapping[str, object], ...]
    similarity: float | None


@dataclass(frozen=True, slots=True)
class SeriesFolder:
    """A series that was drawn: how many of each kind there are."""

    name: str
    portraits: int
    edits: int
    finished: int


def drawn(root: Path, series: str = "", kind: str = "") -> list[Drawn]:
    """The pictures of a likeness folder by file name, of one series and kind where these are named."""
    rows = (one for folder in _folders(root) for one in _in_folder(root, folder))
    return sorted(
        (one for one in rows if series in ("", one.series) and kind in ("", one.kind)),
        key=lambda one: one.file,
    )


def find(root: Path, picture_id: str) -> Drawn | None:
    """The picture with this id."""
    return next((one for one in drawn(root) if one.id == picture_id), None)


def series(root: Path) -> list[SeriesFolder]:
    """Every series that has pictures, by name."""
    counts: dict[str, dict[str, int]] = {}
    for one in drawn(root):
        row = counts.setdefault(one.series, {"portrait": 0, "edit": 0, "finished": 0})
        row[one.kind] += 1
    return [
        SeriesFolder(name, row["portrait"], row["edit"], row["finished"])
        for name, row in sorted(counts.items())
    ]


def similarities(root: Path) -> Similarities:
    """(series, file name) → similarity to the held-out photos, of the series that was scored last."""
    from portrait_lora.errors import PortraitError
    from portrait_lora.likeness import Journal
    from portrait_lora.results import ScoreResult

    try:
        report = strict_json.load_object(root / "reports" / "drift.json", "drift report", file_names=True)
        scored = Journal.open(root / "reports").result(ScoreResult).series
    except PortraitError:
        return {}
    rows = cast(list[Mapping[str, object]], report.get("scores") or [])
    return {
        (scored, str(row.get("portrait"))): float(cast(float, row["similarity"]))
        for row in rows
        if row.get("similarity") is not None
    }


def details(root: Path, one: Drawn, known: Similarities) -> Details:
    """What the sidecar says; a picture without one, or with a damaged one, has only its size."""
    path = root / one.file
    try:
        raw = strict_json.load_object(save.sidecar_of(path), "sidecar", file_names=True)
    except ArtifactError:
        raw = {}
    recipe = cast(Mapping[str, object], raw.get("recipe") if isinstance(raw.get("recipe"), dict) else {})
    history = raw.get("history")
    steps = cast(list[object], history) if isinstance(history, list) else []
    seed = recipe.get("seed")
    return Details(
        size_px=_size(path),
        prompt=str(recipe.get("prompt") or ""),
        seed=seed if isinstance(seed, int) else None,
        source=str(raw.get("digital_source_type") or ""),
        history=tuple(cast(Mapping[str, object], step) for step in steps if isinstance(step, dict)),
        similarity=known.get((one.series, one.name)) if one.kind == "portrait" else None,
    )


def _size(path: Path) -> tuple[int, int] | None:
    """(W, H) as the header says; None for a file that is no picture."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return picture.size
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def _folders(root: Path) -> Iterator[str]:
    """`portraits/<series>` and, of finished ones, `portraits/<series>-finished/<look>`."""
    top = root / "portraits"
    for name in _subfolders(top):
        yield f"portraits/{name}"
        if name.endswith(_FINISHED):
            for look in _subfolders(top / name):
                yield f"portraits/{name}/{look}"


def _subfolders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                e.name for e in entries if e.is_dir(follow_symlinks=False) and not e.name.startswith(".")
            )
    except OSError:
        return []


def _in_folder(root: Path, folder: str) -> Iterator[Drawn]:
    """The pictures of one folder: those with a sidecar, as everything has that was drawn here."""
    try:
        with os.scandir(root / folder) as entries:
            names = {e.name for e in entries if e.is_file(follow_symlinks=False)}
    except OSError:
        return
    parts = folder.split("/")
    top, look = parts[1], parts[2] if len(parts) > 2 else ""
    kind: PictureKind = "portrait"
    if top.endswith(_EDITS):
        top, kind = top.removesuffix(_EDITS), "edit"
    elif top.endswith(_FINISHED):
        top, kind = top.removesuffix(_FINISHED), "finished"
    for name in sorted(names):
        path = Path(name)
        if path.suffix in SUFFIXES and not name.startswith(".") and save.sidecar_of(path).name in names:
            file = f"{folder}/{name}"
            yield Drawn(ids.digest_id(file), file, top, kind, look)
