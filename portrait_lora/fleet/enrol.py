"""From a roster to `HOME/people/`: a likeness folder for everybody, made once, and followed from then on.

New photos are taken over, those that left the roster's folder are put aside in `removed/`, and what a person
decided in their own folder (a photo removed, a setting changed by hand) stands.  Nobody's folder is ever
removed here: who has left the roster stays until they are forgotten.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from portrait_lora import manifest, recipe
from portrait_lora.errors import InputError, PhotosError, PortraitError
from portrait_lora.fleet import archive
from portrait_lora.fleet.roster import Entry, Roster
from portrait_lora.pictures.reader import list_photos, photos_in_subfolders
from portrait_lora.rights import consent as consents
from portrait_lora.tasks.propose import proposed_settings


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What enrolling did for one person; with a `problem` nothing was changed, and there may be no folder.

    `added` and `put_aside` are file names in `photos/`; `notes` what a person should know.
    """

    entry: Entry
    folder: Path
    is_new: bool = False
    added: tuple[str, ...] = ()
    put_aside: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problem: PortraitError | None = None


def enrol(roster: Roster, home: Path) -> tuple[Enrolled, ...]:
    """Everybody of the roster, in its order; what is there already is left as it is.

    A person's photos that are missing or cannot be read are their `problem` and nobody else's.
    """
    manifest.make_folder(home / "people")
    return tuple(_enrolled(roster, entry, home) for entry in roster.entries)


def _enrolled(roster: Roster, entry: Entry, home: Path) -> Enrolled:
    folder = home / "people" / entry.person
    try:
        if (folder / "photos").is_dir():
            return Enrolled(entry, folder)
        with photos_of(entry, home) as photos:
            settings = settings_of(roster, entry)
            proposed, _ = proposed_settings(photos, settings)
            recipe.init(folder, photos, overrides=[*proposed, *settings])
        if entry.consent is not None:
            consents.write(folder, consents.of_file(entry.consent, dt.date.today()))
        return Enrolled(entry, folder, True, tuple(p.name for p in list_photos(folder / "photos")))
    except PortraitError as error:
        return Enrolled(entry, folder, problem=error)


def settings_of(roster: Roster, entry: Entry) -> tuple[str, ...]:
    """What is set for all, then what the columns say of this person, then their own settings."""
    shown = {"generate.series": roster.series, "generate.brand": roster.brand}
    own = [f"{key}={config_text(value)}" for key, value in shown.items() if value]
    person = [f"subject.name={config_text(entry.name)}", f"subject.kind={entry.kind}"]
    return (*roster.settings, *own, *person, *entry.settings)


def config_text(value: str) -> str:
    """Text as the value of a `KEY=VALUE`."""
    from portrait_lora.yaml_edit import scalar

    return scalar(value)


@contextmanager
def photos_of(entry: Entry, home: Path) -> Iterator[Path]:
    """A folder with the photos of the entry: its own, the one folder in it that has any, or unpacked.

    Raises `InputError` for a path that is not there or an archive that cannot be read, `PhotosError` where
    there are none.
    """
    if entry.photos.is_dir():
        yield _folder_with_photos(entry.photos)
        return
    if not entry.photos.is_file() or not archive.is_archive(entry.photos):
        got = "a file that is no archive" if entry.photos.is_file() else "no such folder"
        needed = f"a folder of photos, or an archive ({', '.join(archive.ENDINGS)})"
        raise InputError("no photos of this person", where=entry.photos, got=got, needed=needed)
    with TemporaryDirectory(dir=manifest.make_folder(home), prefix=".unpacked-") as place:
        archive.extract(entry.photos, Path(place))
        yield Path(place)


def _folder_with_photos(folder: Path) -> Path:
    if list_photos(folder):
        return folder
    inner = photos_in_subfolders(folder)
    if len(inner) == 1:
        return folder / inner[0][0]
    got = ", ".join(["0 files", *(f"{name}: {count}" for name, count in inner[:5])])
    raise PhotosError("no photos in this folder", where=folder, got=got, needed="10-20 pictures")
