"""What is left of removed files: stretches of their bytes in other files, and pictures that look the same.

Nothing that a searched file holds stops the search: what cannot be read, or is too large, is told.
Archives, text encodings, git objects and encrypted files hide bytes from it; it says where some of them lie.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from portrait_lora import log, provenance, removal
from portrait_lora.families.adapter_file import read_header

WINDOW: Final = 48
_DISTINCT: Final = 24
_PLACES: Final = (0.2, 0.5, 0.8)
_MOST_BYTES: Final = 16 << 30
_CHUNK: Final = 8 << 20
_NO_MARKS: Final = (".json", ".yaml", ".csv", ".jsonl", ".txt", ".lock")
PICTURES: Final = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".heic", ".avif")
_ARCHIVES: Final = (".zip", ".tar", ".gz", ".tgz", ".xz", ".bz2", ".zst", ".7z", ".rar", ".iso")
LOOK_PX: Final = 256
ALIKE: Final = 0.9
"""Agreement of the copy search from which a picture is shown as a copy; it only asks."""
_MOST_PIXELS: Final = 100_000_000
_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Mark:
    """Stretches of one removed file; `page`: of HTML, which shows faces in small; `original`: of a photo."""

    stretches: tuple[bytes, ...]
    page: bool = False
    original: bool = False


@dataclass(slots=True)
class Remains:
    """The outcome of one search: files with bytes of the person, and what nobody could look into."""

    searched: int = 0
    inside: list[Path] = field(default_factory=list)
    outside: list[Path] = field(default_factory=list)
    unread: list[Path] = field(default_factory=list)
    opaque: list[Path] = field(default_factory=list)


def mark_of(path: Path, *, original: bool) -> Mark | None:
    """A few stretches of a file's bytes that are unlikely anywhere else; None for short and plain files."""
    if path.suffix.lower() in _NO_MARKS:
        return None
    size = path.stat().st_size
    windows: list[bytes] = []
    with path.open("rb") as stream:
        for place in _PLACES if size >= 4 * WINDOW else ():
            stream.seek(int(place * (size - WINDOW)))
            window = stream.read(WINDOW)
            if len(set(window)) >= _DISTINCT:
                windows.append(window)
    return Mark(tuple(windows), path.suffix.lower() == ".html", original) if windows else None


def search(root: Path, others: Sequence[Path], kept: Sequence[Path], marks: Sequence[Mark]) -> Remains:
    """Look for marks in all files below `root` and `others`, except below `kept`.

    Below `root`, adapters and portraits of this program count as the person's too, and one stretch is enough;
    elsewhere lie other people's files, and a header may be common to both, so two stretches are needed, and
    pages, which are alike in their style sheets, do not count.
    """
    remains = Remains()
    index = _Index(marks)
    for path in _files([root, *others], kept, remains.unread):
        inside = path.is_relative_to(root)
        if path.suffix.lower() in _ARCHIVES or ".git" in path.parts:
            remains.opaque.append(path)
        try:
            remains.searched += 1
            if (inside and _is_own(path)) or index.betrays(path, inside):
                (remains.inside if inside else remains.outside).append(path)
        except Exception as error:  # whatever a hostile file makes of a reader, the others are searched
            _log.debug("%s cannot be searched: %r", path, error)
            remains.unread.append(path)
    return remains


def _files(roots: Sequence[Path], kept: Sequence[Path], unread: list[Path]) -> Iterator[Path]:
    for root in dict.fromkeys(roots):
        for path in removal.files_below(root, unread) if root.is_dir() else []:
            if not path.is_symlink() and path.is_file() and not any(path.is_relative_to(k) for k in kept):
                yield path


def _is_own(path: Path) -> bool:
    """Whether this is an adapter or a portrait that this program made."""
    try:
        if path.suffix == ".safetensors":
            return "portrait_lora.trigger" in read_header(path).get("__metadata__", {})
        if path.suffix.lower() in PICTURES:
            return provenance.source_type(path) == provenance.TRAINED
    except Exception as error:
        _log.debug("%s does not say what it is: %r", path, error)
    return False


class _Index:
    """Finds any of many stretches in one pass over a file, by their first four bytes."""

    def __init__(self, marks: Sequence[Mark]):
        self._marks = marks
        self._by_start: dict[int, list[tuple[int, bytes]]] = {}
        for number, mark in enumerate(marks):
            for stretch in mark.stretches:
                start = int.from_bytes(stretch[:4], "little")
                self._by_start.setdefault(start, []).append((number, stretch))
        self._starts = np.fromiter(sorted(self._by_start), np.uint32, len(self._by_start))
        self._maybe = np.zeros(1 << 16, np.bool_)
        self._maybe[self._starts & 0xFFFF] = True

    def betrays(self, path: Path, inside: bool) -> bool:
        """Whether a file holds enough stretches of one mark.  Raises `OSError`, also for one too large."""
        size = path.stat().st_size
        if not size:
            return False
        if size > _MOST_BYTES:
            raise OSError(f"{size} bytes are more than are searched")
        seen: dict[int, set[bytes]] = {}
        with path.open("rb") as stream:
            before = b""
            while chunk := stream.read(_CHUNK):
                data = before + chunk
                for number, stretch in self._hits(data):
                    mark, group = self._marks[number], seen.setdefault(number, set())
                    group.add(stretch)
                    needed = 1 if inside else min(2, len(set(mark.stretches)))
                    if len(group) >= needed and (inside or not mark.page):
                        return True
                before = data[-WINDOW + 1 :]
        return False

    def _hits(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        for offset in range(4):
            count = (len(data) - offset) // 4
            words = np.frombuffer(data, "<u4", max(0, count), min(offset, len(data)))
            places = np.flatnonzero(self._maybe[words & 0xFFFF])
            for i in places[np.isin(words[places], self._starts)]:
                at = offset + 4 * int(i)
                for number, stretch in self._by_start[int(words[i])]:
                    if data.startswith(stretch, at):
                        yield number, stretch


def records_beside(copies: Iterable[Path]) -> list[Path]:
    """The sidecars of portraits and of exported adapters that are to go: they tell trigger and prompts."""
    beside: list[Path] = []
    for path in dict.fromkeys(p.with_suffix(".json") for p in copies):
        try:
            value: Any = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(value, dict) and not {"digital_source_type", "activation text"}.isdisjoint(value):
            beside.append(path)
    return beside


def look_of(path: Path) -> bytes | None:
    """A picture made small and grey, as PNG bytes; None when it cannot be read or is too large."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                return None
            picture.draft("L", (2 * LOOK_PX, 2 * LOOK_PX))
            small = picture.convert("L")
            small.thumbnail((LOOK_PX, LOOK_PX))
            buffer = io.BytesIO()
            small.save(buffer, "PNG")
            return buffer.getvalue()
    except Exception as error:
        _log.debug("%s cannot be looked at: %r", path, error)
        return None


def lookalikes(looks: Sequence[bytes], kept: Sequence[bytes], candidates: Iterable[Path]) -> list[Path]:
    """Those of the candidates that show what a removed picture showed, by the copy search.

    One that is like a picture in `kept` is left out: it is a copy of that.
    """
    from portrait_lora.evaluation.copysearch import ViewIndex

    if not looks:
        return []
    removed, stays = (ViewIndex([_view(look) for look in some]) for some in (looks, kept))
    alike: list[Path] = []
    for path in candidates:
        if (look := look_of(path)) is None:
            continue
        probe = [_view(look)]
        if removed.best(probe, above=ALIKE)[0][1] > ALIKE >= stays.best(probe, above=ALIKE)[0][1]:
            alike.append(path)
    return alike


def _view(look: bytes):
    """The whole picture as the copy search sees a head: five points whose square covers it."""
    from PIL import Image

    from portrait_lora.evaluation.copyview import REACH, view

    with Image.open(io.BytesIO(look)) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    height, width = pixels.shape[:2]
    span = max(height, width) / (8 * REACH)
    x, y = width / 2, height / 2
    points = [(x - span, y), (x + span, y), (x, y), (x, y - span / 2), (x, y + span / 2)]
    return view(pixels, np.asarray(points, np.float32))
