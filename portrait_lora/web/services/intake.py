"""Photos on their way in and out: a file is kept as it came, once the safe reader can read it.

Names of files from elsewhere are made plain; the same bytes twice are one photo; nothing is ever replaced.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from portrait_lora import likeness, manifest
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.pictures import formats
from portrait_lora.pictures.reader import MAX_FILE_BYTES, list_photos, load_photo
from portrait_lora.results import CheckResult, PhotoVerdict
from portrait_lora.web.ids import digest_id
from portrait_lora.web.problems import TooLarge
from portrait_lora.web.uploads import clean_name

MOST_PHOTOS: Final = 1000
REMOVED: Final = "removed"
"""Subfolder of a likeness for photos that were taken out."""
_SUFFIX: Final[Mapping[str, str]] = {
    "JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "HEIC": ".heic", "AVIF": ".avif",
}  # fmt: skip
_LOOK_PX: Final = 256
_MOST_KNOWN: Final = 20_000
_known: dict[str, tuple[int, int, str]] = {}
_known_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Taken:
    """A photo that is here now: `added`, or `already` there with the same bytes, maybe by another name."""

    id: str
    name: str
    state: Literal["added", "already"]


@dataclass(frozen=True, slots=True)
class PhotoRow:
    """A photo and what the last check said of it (None: not checked since it came)."""

    id: str
    name: str
    sha256: str
    size_px: tuple[int, int] | None
    verdict: PhotoVerdict | None


def photo_id(name: str) -> str:
    """The id of the photo of that file name."""
    return digest_id(f"photos/{name}")


def add(folder: Path, name: str, data: bytes) -> Taken:
    """Keep a photo in `photos/` of a likeness folder.

    Raises `TooLarge`, `UnreadablePhoto` for what the safe reader refuses, `InputError` for too many photos.
    """
    if len(data) > MAX_FILE_BYTES:
        raise TooLarge(
            "the file is too large", where=clean_name(name), got=f"{len(data)} bytes",
            needed=f"{MAX_FILE_BYTES} bytes at most", remedy="Save a smaller JPEG of it.",
        )  # fmt: skip
    photos, digest = folder / "photos", hashlib.sha256(data).hexdigest()
    manifest.make_folder(photos)
    with manifest.locked(photos):
        there = list_photos(photos)
        for path in there:
            if sha256(path) == digest:
                return Taken(photo_id(path.name), path.name, "already")
        if len(there) >= MOST_PHOTOS:
            raise InputError(
                "too many photos", where=clean_name(name), got=len(there), needed=f"{MOST_PHOTOS} at most",
                remedy="10 to 20 good ones are better than many.",
            )  # fmt: skip
        target = _placed(photos, name, data)
    return Taken(photo_id(target.name), target.name, "added")


def _placed(photos: Path, name: str, data: bytes) -> Path:
    """Write under the first free name, and take it back when the reader refuses the file."""
    kind = formats.kind_of(data[: formats.HEAD_BYTES])
    suffix = _SUFFIX.get(kind or "", Path(clean_name(name)).suffix.lower() or ".bin")
    stem, number = Path(clean_name(name)).stem or "photo", 2
    target = photos / f".{stem}{suffix}.arriving"
    manifest.write_bytes_atomic(target, data)
    try:
        load_photo(target, _LOOK_PX, quick=True)
    except InputError as error:
        error.where = clean_name(name)
        raise
    finally:
        target.unlink(missing_ok=True)
    path = photos / f"{stem}{suffix}"
    while not manifest.write_bytes_new(path, data):
        path, number = photos / f"{stem}-{number}{suffix}", number + 1
    return path


def remove(folder: Path, path: Path) -> Path:
    """Move a photo to `removed/`, where it is kept and nothing looks; its new place."""
    removed, number = manifest.make_folder(folder / REMOVED), 2
    with manifest.locked(folder / "photos"):
        target = removed / path.name
        while target.exists():
            target, number = removed / f"{path.stem}-{number}{path.suffix}", number + 1
        os.rename(path, target)
    return target


def rows(folder: Path) -> list[PhotoRow]:
    """The photos of a likeness folder by name, with what the last check said."""
    from PIL import Image

    verdicts = _verdicts(folder)
    photos: list[PhotoRow] = []
    for path in list_photos(folder / "photos") if (folder / "photos").is_dir() else []:
        size = None
        try:
            with Image.open(path) as picture:
                width, height = picture.size
                size = (height, width) if picture.getexif().get(0x0112, 1) >= 5 else (width, height)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            pass  # HEIC, or damaged: the check says more
        photos.append(PhotoRow(photo_id(path.name), path.name, sha256(path), size, verdicts.get(path.name)))
    return photos


def sha256(path: Path) -> str:
    """Hex sha256 of a file, remembered as long as its time and size stay; empty when it is gone."""
    try:
        state = path.stat()
        key, mark = str(path), (state.st_mtime_ns, state.st_size)
        with _known_lock:
            known = _known.get(key)
        if known and known[:2] == mark:
            return known[2]
        digest = manifest.sha256_file(path)
    except OSError:
        return ""
    with _known_lock:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[key] = (*mark, digest)
    return digest


def _verdicts(folder: Path) -> Mapping[str, PhotoVerdict]:
    try:
        result = likeness.Journal.open(folder / "reports").result(CheckResult)
    except (ArtifactError, InputError):
        return {}
    return {verdict.file: verdict for verdict in result.findings}
