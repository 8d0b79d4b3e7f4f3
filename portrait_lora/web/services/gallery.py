"""The gallery of one person: what is shown of every picture, page by page, and which series can be drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from portrait_lora.config import LikenessConfig
from portrait_lora.errors import PortraitError
from portrait_lora.families import catalog
from portrait_lora.generation import prompts, reading, series
from portrait_lora.web.services import book, portraits
from portrait_lora.web.services.portraits import Drawn
from portrait_lora.web.services.series import packaged_series

PAGE: Final = 60


@dataclass(frozen=True, slots=True)
class Tile:
    """A picture in the gallery; `version` changes with the file, so that a browser may keep it."""

    id: str
    name: str
    series: str
    kind: str
    look: str
    prompt: str
    size_px: tuple[int, int]
    similarity: float | None
    liked: bool
    version: str


@dataclass(frozen=True, slots=True)
class Shelf:
    """One page of the gallery, and how many pictures there are on all of them."""

    tiles: tuple[Tile, ...]
    total: int
    page: int
    pages: int


@dataclass(frozen=True, slots=True)
class Drawable:
    """A series that can be chosen; `why_not` says why this base cannot draw it."""

    name: str
    shots: int
    own: bool
    why_not: str


def shelf(
    root: Path,
    rows: Sequence[Drawn],
    liked: frozenset[str],
    page: int,
    known: Mapping[tuple[str, str], float],
) -> Shelf:
    """A page of the pictures; a page that is not there is the last one."""
    pages = max(-(-len(rows) // PAGE), 1)
    page = min(max(page, 1), pages)
    shown = rows[(page - 1) * PAGE : page * PAGE]
    return Shelf(tuple(tile(root, one, liked, known) for one in shown), len(rows), page, pages)


def tile(root: Path, one: Drawn, liked: frozenset[str], known: Mapping[tuple[str, str], float]) -> Tile:
    """What is shown of one picture."""
    seen = portraits.details(root, one, known)
    return Tile(
        id=one.id,
        name=one.name,
        series=one.series,
        kind=one.kind,
        look=one.look,
        prompt=seen.prompt,
        size_px=seen.size_px or (1, 1),
        similarity=seen.similarity,
        liked=one.file in liked,
        version=version_of(root / one.file),
    )


def version_of(path: Path) -> str:
    """Changes with the file."""
    try:
        state = path.stat()
    except OSError:
        return "0"
    return f"{state.st_mtime_ns:x}{state.st_size:x}"


def drawable(root: Path, config: LikenessConfig) -> tuple[Drawable, ...]:
    """One's own series first, then the shipped ones, with the reason where the base cannot draw one."""
    own = [
        _drawable(config.base, book.own_file(root, name), name, own=True) for name in book.own_series(root)
    ]
    rows = (Drawable(s.name, len(s.shots), False, _why_not(config.base, s.name)) for s in packaged_series())
    return (*own, *rows)


def _drawable(base: str, path: Path, name: str, *, own: bool) -> Drawable:
    try:
        read = _read(base, path)
    except PortraitError as error:
        return Drawable(name, 0, own, error.message())
    return Drawable(name, len(read.entries), own, "")


@lru_cache(maxsize=256)
def _why_not(base: str, name: str) -> str:
    try:
        _read(base, series.series_path(name))
    except PortraitError as error:
        return error.message()
    return ""


def _read(base: str, path: Path) -> series.Series:
    known = prompts.known_words(catalog.resolve_base(base))
    return series.read_series(path, closed=known is not None, known=known)


def series_argument(root: Path, name: str) -> str:
    """What `generate` is given for a series of that name: its file, where it is one's own."""
    own = book.own_file(root, name)
    return str(own.resolve()) if own.is_file() and reading.slug(name) == name else name
