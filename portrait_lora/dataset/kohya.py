"""Datasets of other trainers: import and export of kohya's `10_sks person/` folders, import of imagefolders.

Layout read and written: one folder per subject, named `REPEATS_TRIGGER CLASS`, with a `.txt` of the same
name beside each picture (kohya-ss/sd-scripts, train_README).  Pictures are copied byte for byte; the
source is not changed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from portrait_lora import manifest
from portrait_lora.dataset import sidecars
from portrait_lora.dataset.photos import list_photos
from portrait_lora.dataset.sidecars import METADATA, read_metadata
from portrait_lora.errors import InputError
from portrait_lora.records import CaptionedCrop

KIND: Final = "kohya"
IMAGES: Final = "img"
MASKS: Final = "masks"
_FOLDER: Final = re.compile(r"^(\d+)_(\S+)(?: (.+))?$")
_MAX_REPEATS: Final = 1000
"""Maximum of REPEATS: `2024_anna` is a year and a name."""
_NEEDED: Final = "folders such as `10_sks person`, or captions or a metadata.jsonl beside the pictures"
_MOST_NAME_BYTES: Final = 255
"""Of a file name on the usual disks."""


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of an import; `trigger` and `subject` are empty when the source does not name them."""

    photos: int
    captions: int
    passed_over: tuple[str, ...]  # links, which are not followed
    trigger: str
    subject: str
    strange_rows: int = 0  # of metadata.jsonl, that name no picture


@dataclass(frozen=True, slots=True)
class _Source:
    path: Path
    caption: str


def export_kohya(
    crops: Sequence[CaptionedCrop], folder: Path, *, trigger: str, subject: str, repeats: int = 10
) -> Path:
    """Write `img/REPEATS_TRIGGER CLASS/*.png` with captions, and `masks/`; returns the pictures' folder.

    Held-out photos are excluded.  Raises InputError when `folder` contains anything but an earlier export.
    """
    if not crops:
        raise InputError(
            "nothing to export", where=folder, got="no crops", remedy="Run: portrait-lora prepare"
        )
    if folder.exists() and not _is_export(folder):
        raise InputError(
            "this folder contains other files",
            where=folder,
            needed="a new folder, or an earlier export",
            remedy="Choose another --out.",
        )
    name = f"{repeats}_{_safe(trigger)} {_safe(subject)}"
    inputs = {c.path.name: manifest.sha256_file(c.path) for c in crops}
    with manifest.writing(folder, kind=KIND, inputs=inputs, extra={"repeats": repeats}, shared=True) as part:
        pictures = part / IMAGES / name
        pictures.mkdir(parents=True)
        for crop in crops:
            (pictures / crop.path.name).write_bytes(crop.path.read_bytes())
            (pictures / crop.path.name).with_suffix(".txt").write_text(crop.caption + "\n", encoding="utf-8")
            if crop.mask_path is not None:
                (part / MASKS).mkdir(exist_ok=True)
                (part / MASKS / crop.path.name).write_bytes(crop.mask_path.read_bytes())
    return folder / IMAGES / name


def _is_export(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    existing = manifest.read(folder)
    return existing.kind == KIND if existing else not any(folder.iterdir())


def _safe(word: str) -> str:
    return re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", word)


def import_dataset(source: Path, photos: Path) -> Imported:
    """Copy the pictures of a kohya dataset or an imagefolder into `photos`, captions as `.txt` beside them.

    Raises InputError when `source` is neither, has several subjects, or `photos` is not empty.
    """
    if not source.is_dir():
        raise InputError("no such folder", where=source, needed=_NEEDED)
    if photos.exists() and any(not p.name.startswith(".") for p in photos.iterdir()):
        raise InputError("there are photos already", where=photos, needed="a new likeness folder")
    folders, trigger, subject = _subject_of(source)
    pictures = [one for folder in folders for one in _pictures(folder)]
    strange = sum(_warn_of_strangers(folder) for folder in folders)
    links = tuple(one.path.name for one in pictures if one.path.is_symlink())
    taken: set[str] = set()
    captions = 0
    for one in pictures:
        if one.path.is_symlink():
            continue
        name = _free_name(one.path.name, taken)
        manifest.write_bytes_atomic(photos / name, one.path.read_bytes())
        if one.caption:
            manifest.write_text_atomic((photos / name).with_suffix(".txt"), one.caption + "\n")
            captions += 1
    if not taken:
        raise InputError("no pictures in this dataset", where=source, needed=_NEEDED)
    return Imported(len(taken), captions, links, trigger, subject, strange)


def _subject_of(source: Path) -> tuple[list[Path], str, str]:
    """The folders that contain the pictures, trigger and class word.

    Subfolders take precedence over the folder's own name, which may be a date or a project.
    """
    inside = source / IMAGES if (source / IMAGES).is_dir() else source
    tables = [folder for folder in (source / "train", source) if (folder / METADATA).is_file()]
    own = [] if tables else [source]
    for candidates in (sorted(p for p in inside.iterdir() if p.is_dir()), own):
        named = [(p, match) for p in candidates if (match := _FOLDER.match(p.name)) and _repeats(match[1])]
        subjects = sorted({(m[2], m[3] or "") for _, m in named})
        if len(subjects) > 1:
            got = ", ".join(" ".join(s).strip() for s in subjects)
            remedy = "Pass the folder of one subject."
            raise InputError("several subjects in one dataset", where=source, got=got, remedy=remedy)
        if named:
            return [p for p, _ in named], *subjects[0]
    if tables:
        return tables[:1], "", ""
    if any(sidecars.caption_file(photo) for photo in list_photos(source)):
        return [source], "", ""
    remedy = "For plain photos use: portrait-lora init"
    raise InputError("not a dataset", where=source, needed=_NEEDED, remedy=remedy)


def _repeats(digits: str) -> bool:
    return len(digits) <= 4 and int(digits) <= _MAX_REPEATS


def _pictures(folder: Path) -> Iterator[_Source]:
    rows = read_metadata(folder / METADATA)
    for path in _photos(folder):
        yield _Source(path, sidecars.caption_of(path, rows))


def _photos(folder: Path) -> list[Path]:
    """The photos of a folder, and those below it that its metadata lists."""
    rows = read_metadata(folder / METADATA)
    parents = {PurePosixPath(name.replace("\\", "/")).parent for name in rows}
    below = sorted(p for p in parents if p.parts and not p.is_absolute() and ".." not in p.parts)
    folders = [folder, *(folder / p for p in below if ":" not in p.parts[0])]
    return [
        photo
        for one in folders
        if one.is_dir() and one.resolve().is_relative_to(folder.resolve())
        for photo in list_photos(one)
    ]


def _warn_of_strangers(folder: Path) -> int:
    rows = read_metadata(folder / METADATA)
    return sidecars.warn_of_strangers(folder / METADATA, rows, _photos(folder)) if rows else 0


def _free_name(name: str, taken: set[str]) -> str:
    """The name, or one with a number if a picture (or its caption file) of that name exists."""
    stem, suffix = Path(name).stem, Path(name).suffix
    number = 1
    while stem.lower() in taken:
        number += 1
        room = _MOST_NAME_BYTES - len(os.fsencode(f"_{number}")) - max(len(os.fsencode(suffix)), len(".txt"))
        stem = os.fsdecode(os.fsencode(Path(name).stem)[:room]) + f"_{number}"
    taken.add(stem.lower())
    return stem + suffix
