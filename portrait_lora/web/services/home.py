"""The first page: every person with what is there of them, from the files of their folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from portrait_lora import likeness, strict_json
from portrait_lora.errors import PortraitError
from portrait_lora.results import CheckResult, ScoreResult, SelectResult
from portrait_lora.web.services import photos

if TYPE_CHECKING:
    from portrait_lora.results import LikenessFigures
    from portrait_lora.web.studio import Person


@dataclass(frozen=True, slots=True)
class Measured:
    """The likeness for the little scale of a card; `ci95` None where no interval should be shown."""

    value: float
    ci95: tuple[float, float] | None
    impostor: float | None
    ceiling: float | None
    words: str


@dataclass(frozen=True, slots=True)
class Card:
    """One person; `href` is the page that comes next for them."""

    id: str
    name: str
    href: str
    meta: str
    cover: str
    chip: str = ""
    tone: str = ""
    likeness: Measured | None = None


def card(person: Person, address: Callable[[Path], str]) -> Card:
    """What is there of a person; `address` gives the address of a picture.

    A folder that was moved away or damaged makes a card that says so.
    """
    root, at = person.folder, f"/people/{person.id}"
    if not root.is_dir():
        return Card(person.id, person.name, f"{at}/photos", "The folder was moved away", "", "missing", "bad")
    files = photos.files_of(root)
    cover = cover_of(person)
    journal = likeness.Journal.open(root / "reports")
    usable = _result(journal, CheckResult)
    meta = [f"{len(files)} {'photo' if len(files) == 1 else 'photos'}"]
    meta += [f"{usable.photos.accepted} usable"] if usable else []
    drawn = series_of(root)
    meta += [f"{drawn} series"] if drawn else []
    trained = _result(journal, SelectResult) is not None
    scored = _result(journal, ScoreResult)
    page = "photos" if not usable else "training" if not trained else "portraits"
    chip, tone = ("trained", "accent") if trained else ("checked", "good") if usable else ("new", "")
    return Card(
        person.id, person.name, f"{at}/{page}", " · ".join(meta), address(cover) if cover else "",
        chip, tone, _measured(scored.likeness) if scored else None,
    )  # fmt: skip


def cover_of(person: Person) -> Path | None:
    """The best portrait of the series that was measured, else the first portrait, else the first photo."""
    root = person.folder
    if best := _best(root):
        return best
    for folder in sorted((root / "portraits").glob("*"), key=lambda p: -_changed(p)):
        first = sorted(p for p in folder.glob("*.png") if p.with_suffix(".json").is_file())
        if first:
            return first[0]
    files = photos.files_of(root)
    return files[0] if files else None


def _best(root: Path) -> Path | None:
    """The portrait of the last report that is most like the person, as long as it is there."""
    try:
        report = strict_json.load_object(root / "reports" / "drift.json", "report", file_names=True)
        rows = cast(list[dict[str, Any]], report["scores"])
        likest = max((r for r in rows if r["similarity"] is not None), key=lambda r: float(r["similarity"]))
        name = str(likest["portrait"])
    except (PortraitError, KeyError, TypeError, ValueError):
        return None
    files = [p for p in (root / "portraits").glob("*/*.png") if p.name == name or p.stem == name]
    return next((p for p in files if not p.parent.name.endswith("-base")), None)


def series_of(root: Path) -> int:
    """How many series have pictures."""
    return sum(1 for folder in (root / "portraits").glob("*") if any(folder.glob("*.png")))


def _result(journal: likeness.Journal, kind: Any) -> Any:
    try:
        return journal.result(kind)
    except PortraitError:
        return None


def _measured(figures: LikenessFigures) -> Measured:
    shown = not figures.no_interval
    ci95 = (float(figures.ci95[0]), float(figures.ci95[1])) if shown else None
    words = f"likeness {figures.adapter_mean:.2f}"
    words += f", 95 % {ci95[0]:.2f} to {ci95[1]:.2f}" if ci95 else ""
    impostor = None if figures.impostor is None else float(figures.impostor)
    return Measured(float(figures.adapter_mean), ci95, impostor, float(figures.ceiling), words)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
