"""The photos that a roster names: a folder, the one folder in it that has any, or an archive unpacked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from portrait_lora import holding, manifest, removal
from portrait_lora.errors import InputError, PhotosError
from portrait_lora.fleet import archive
from portrait_lora.fleet.roster import Entry
from portrait_lora.pictures.reader import list_photos, photos_in_subfolders

UNPACKED: Final = ".unpacked-"
_NEEDED: Final = "10-20 pictures of one person"


@contextmanager
def photos_of(entry: Entry, home: Path) -> Iterator[Path]:
    """A folder with the photos of the entry, for as long as the body of the `with` runs.

    Raises `InputError` for a path that is not there or an archive that cannot be read, `PhotosError` where
    there are none.
    """
    if entry.photos.is_dir():
        yield folder_with_photos(entry.photos)
        return
    if not entry.photos.is_file() or not archive.is_archive(entry.photos):
        got = "a file that is no archive" if entry.photos.is_file() else "no such folder"
        needed = f"a folder of photos, or an archive ({', '.join(archive.ENDINGS)})"
        raise InputError("no photos of this person", where=entry.photos, got=got, needed=needed)
    with (
        TemporaryDirectory(dir=manifest.make_folder(home), prefix=UNPACKED) as place,
        holding.hold(Path(place), alone=True) or holding.Hold(None),
    ):
        archive.extract(entry.photos, Path(place))
        yield Path(place)


def clean_leftovers(home: Path) -> None:
    """Remove what was unpacked by somebody who was killed."""
    for place in home.glob(f"{UNPACKED}*"):
        held = holding.hold(place, alone=True)
        if held is not None:
            with held:
                removal.remove_whole(place, owner=home)


def folder_with_photos(folder: Path) -> Path:
    """The folder itself, or the one folder in it that has photos.  Raises `PhotosError`."""
    if list_photos(folder):
        return folder
    inner = photos_in_subfolders(folder)
    if len(inner) == 1:
        return folder / inner[0][0]
    got = ", ".join(["0 photos", *(f"{name}: {count}" for name, count in inner[:5])])
    remedy = "Put the photos that are meant into one folder." if inner else ""
    raise PhotosError("no photos in this folder", where=folder, got=got, needed=_NEEDED, remedy=remedy)


def left_out(folder: Path) -> list[str]:
    """A note for every folder beside the photos whose pictures are not taken."""
    used = folder_with_photos(folder)
    return [
        f"not taken: {count} {'pictures' if count > 1 else 'picture'} in the subfolder {name}"
        for name, count in photos_in_subfolders(used)
    ]
