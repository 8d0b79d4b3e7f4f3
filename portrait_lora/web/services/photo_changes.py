"""What a person does with their photos: add, turn, crop, take anyway, say who it is, remove and bring back.

No file in `photos/` is ever changed.  A removed one moves to `removed/`, with what was decided about it,
until the person is forgotten; adding is all or nothing, so a torn upload leaves no photo behind.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from portrait_lora import manifest, strict_json
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.pictures import formats
from portrait_lora.web import ids, uploads
from portrait_lora.web.services import photos, settings
from portrait_lora.yaml_edit import DEFAULT

if TYPE_CHECKING:
    from portrait_lora.web.studio import Person

REMOVED: Final = "removed"
MOST_PHOTOS: Final = 1000
"""Of one person; a likeness needs ten to twenty."""
_RECORD: Final = "removed.json"
_LISTS: Final = ("use_anyway", "same_person", "other_person")
_SUFFIX: Final[Mapping[str, tuple[str, ...]]] = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "HEIC": (".heic", ".heif", ".hif"),
    "AVIF": (".avif",),
}


@dataclass(frozen=True, slots=True)
class Received:
    """What became of a file: `added`, or `already` there, under this id and name."""

    state: Literal["added", "already"]
    id: str
    name: str


def add(person: Person, name: str, part: Path) -> Received:
    """Take the uploaded file `part` as a photo named like `name`; it is moved, or removed when not wanted.

    The file is decoded whole first.  Raises `UnreadablePhoto` (an `InputError`) for one that is no picture,
    damaged, or has too many bytes or pixels, and `InputError` when there are enough photos.
    """
    from portrait_lora.pictures.reader import load_photo

    try:
        photo, _ = load_photo(part, 256, quick=True)
        with _held(person):
            there = photos.files_of(person.folder)
            for path in there:
                if path.stat().st_size == part.stat().st_size and photos.sha256_of(path) == photo.sha256:
                    return Received("already", ids.digest_id(f"photos/{path.name}"), path.name)
            if len(there) >= MOST_PHOTOS:
                raise InputError(
                    "there are enough photos of this person", where=name, got=len(there) + 1,
                    needed=f"at most {MOST_PHOTOS}", remedy="Remove some first: ten to twenty good ones do.",
                )  # fmt: skip
            folder = manifest.make_folder(person.folder / "photos")
            new = _free_name(folder, clean_name(name, part))
            os.chmod(part, 0o600)
            _move(part, folder / new)
            photos.sha256_of(folder / new)  # remembered while the bytes are in memory
            return Received("added", ids.digest_id(f"photos/{new}"), new)
    finally:
        part.unlink(missing_ok=True)


def _move(part: Path, target: Path) -> None:
    """Also onto another disk, where a likeness folder from elsewhere may lie."""
    try:
        os.replace(part, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        manifest.write_bytes_atomic(target, part.read_bytes())
        part.unlink()


def clean_name(name: str, part: Path) -> str:
    """A plain file name for a picture: without folders, hidden starts, odd characters or a wrong ending."""
    with part.open("rb") as stream:
        kind = formats.kind_of(stream.read(formats.HEAD_BYTES))
    stem, dot, suffix = uploads.clean_name(name).rpartition(".")
    stem = stem if dot else suffix
    known = _SUFFIX[kind] if kind else (".jpg",)
    ending = f".{suffix.lower()}" if dot and f".{suffix.lower()}" in known else known[0]
    return (stem.strip(" .") or "photo") + ending


def turn(person: Person, photo_id: str, degrees: int) -> None:
    """Turn a photo clockwise by 90, 180 or 270 more degrees; its crop turns with it."""
    if degrees not in (90, 180, 270):
        raise InputError("photos turn by right angles", where="degrees", got=degrees, needed="90, 180 or 270")

    def change(now: int, crop: photos.Box) -> tuple[int, photos.Box]:
        for _ in range(degrees // 90):
            x0, y0, x1, y1 = crop
            crop = (1 - y1, x0, 1 - y0, x1)
        return (now + degrees) % 360, crop

    _edit(person, photo_id, change)


def crop(person: Person, photo_id: str, box: Sequence[float] | None) -> None:
    """Keep this part of a photo: x0, y0, x1, y1 in fractions of the whole turned picture; None: all of it.

    Raises `InputError` for a box outside, or with less than a twentieth of a side.
    """
    new = photos.WHOLE if box is None else tuple(round(float(v), 4) for v in box)
    if len(new) != 4 or not all(0 <= v <= 1 for v in new):
        raise InputError("not a crop", where="box", got=box, needed="four numbers from 0 to 1")
    x0, y0, x1, y1 = new
    _edit(person, photo_id, lambda now, _: (now, (x0, y0, x1, y1)))


def use_anyway(person: Person, photo_id: str, use: bool) -> None:
    """Use a photo in spite of what the check finds on it, or leave it to the check again."""
    name = photos.photo_of(person, photo_id).name
    with _held(person):
        _list(person.folder, "use_anyway", name, use)


def say_who(person: Person, photo_id: str, who: Literal["same", "other", ""]) -> None:
    """Answer whom a photo shows: the person, somebody else, or leave it to the check."""
    name = photos.photo_of(person, photo_id).name
    with _held(person):
        for key, wanted in (("same_person", "same"), ("other_person", "other")):
            if who != wanted:
                _list(person.folder, key, name, False)
        if who:
            _list(person.folder, f"{who}_person", name, True)


def remove(person: Person, photo_id: str) -> str:
    """Move a photo to `removed/`, with the decisions about it; the name under which it comes back."""
    path = photos.photo_of(person, photo_id)
    with _held(person):
        folder = manifest.make_folder(person.folder / REMOVED)
        kept = _free_name(folder, path.name)
        record = _record(folder) | {kept: {"name": path.name} | _decisions(person.folder, path.name)}
        manifest.write_json_atomic(folder / _RECORD, record)
        _forget_decisions(person.folder, path.name)
        os.replace(path, folder / kept)
    return kept


def restore(person: Person, kept: str) -> str:
    """Bring a removed photo back as it was; its id.  Raises `InputError` for one that is not there."""
    with _held(person):
        folder = person.folder / REMOVED
        rows = _record(folder)
        if kept not in {p.name for p in removed(person)}:
            raise InputError("no such removed photo", where=kept, remedy="Load the page again.")
        row = rows.pop(kept, {})
        was = row.get("name")
        photo_folder = manifest.make_folder(person.folder / "photos")
        name = _free_name(photo_folder, was if isinstance(was, str) and was == Path(was).name else kept)
        os.replace(folder / kept, photo_folder / name)
        _decide(person.folder, name, row)
        manifest.write_json_atomic(folder / _RECORD, rows)
    return ids.digest_id(f"photos/{name}")


def removed(person: Person) -> list[Path]:
    """The removed photos, last removed first."""
    folder = person.folder / REMOVED
    if not folder.is_dir():
        return []
    files = [p for p in folder.iterdir() if p.is_file() and not p.is_symlink() and p.name != _RECORD]
    return sorted((p for p in files if not p.name.startswith(".")), key=lambda p: -p.stat().st_ctime_ns)


def set_list(folder: Path, key: str, names: Sequence[str]) -> None:
    """Set a list of `dataset.curate` in the file; an empty one is taken out."""
    settings.set_one(folder, f"dataset.curate.{key}", sorted(names) if names else DEFAULT)


@contextmanager
def _held(person: Person) -> Iterator[None]:
    """One change of a person's photos at a time, whatever the tab or process."""
    with manifest.locked(person.folder / "photos"):
        yield


def _edit(person: Person, photo_id: str, change: Callable[[int, photos.Box], tuple[int, photos.Box]]) -> None:
    name = photos.photo_of(person, photo_id).name
    with _held(person):
        there = photos.edit_of(person.folder, name)
        degrees, box = change(there.turn_deg if there else 0, there.crop if there else photos.WHOLE)
        _set_edit(person.folder, name, degrees, box)


def _set_edit(folder: Path, name: str, degrees: int, box: photos.Box) -> None:
    edits = photos.settings_of(folder).dataset.edits
    rows = [edit.model_dump(mode="json") for edit in edits if edit.file != name]
    if degrees or box != photos.WHOLE:
        rows.append({"file": name, "turn_deg": degrees, "crop": [round(v, 4) for v in box]})
    rows.sort(key=lambda row: row["file"])
    settings.set_one(folder, "dataset.edits", rows or DEFAULT)


def _list(folder: Path, key: str, name: str, listed: bool) -> None:
    now: tuple[str, ...] = getattr(photos.settings_of(folder).dataset.curate, key)
    if (name in now) != listed:
        set_list(folder, key, [*now, name] if listed else [n for n in now if n != name])


def _decisions(folder: Path, name: str) -> dict[str, Any]:
    """What stands in the settings about a photo."""
    curate, edit = photos.settings_of(folder).dataset.curate, photos.edit_of(folder, name)
    return {
        "lists": [key for key in _LISTS if name in getattr(curate, key)],
        "edit": edit.model_dump(mode="json") if edit else None,
    }


def _forget_decisions(folder: Path, name: str) -> None:
    for key in _LISTS:
        _list(folder, key, name, False)
    if photos.edit_of(folder, name):
        _set_edit(folder, name, 0, photos.WHOLE)


def _decide(folder: Path, name: str, row: Mapping[str, Any]) -> None:
    """Set again what was decided about a removed photo; a damaged record decides nothing."""
    for key in row.get("lists") or ():
        if key in _LISTS:
            _list(folder, key, name, True)
    edit = row.get("edit")
    if isinstance(edit, dict):
        x0, y0, x1, y1 = (float(v) for v in edit.get("crop") or photos.WHOLE)
        _set_edit(folder, name, int(edit.get("turn_deg") or 0), (x0, y0, x1, y1))


def _record(folder: Path) -> dict[str, Any]:
    try:
        rows = strict_json.load_object(folder / _RECORD, "list of removed photos", file_names=True)
    except ArtifactError:
        return {}
    return {name: row for name, row in rows.items() if isinstance(row, dict)}


def _free_name(folder: Path, name: str) -> str:
    """The name, or with a number before its ending where there is one, in upper or lower case."""
    taken = {entry.name.casefold() for entry in os.scandir(folder)}
    stem, suffix = Path(name).stem, Path(name).suffix
    number, free = 2, name
    while free.casefold() in taken:
        free, number = f"{stem}-{number}{suffix}", number + 1
    return free
