"""From a roster to `HOME/people/`: a likeness folder for everybody, made once, and followed from then on.

What a person decided in their own folder stands, and nobody's folder is ever removed here: who has left the
roster stays until they are forgotten.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from pathlib import Path

from portrait_lora import likeness, manifest, provenance, recipe
from portrait_lora.errors import PortraitError
from portrait_lora.fleet import enrolment, forgotten, sources, studio_list, taking_over
from portrait_lora.fleet.enrolment import Enrolment, SourceFile
from portrait_lora.fleet.roster import Entry, Roster
from portrait_lora.pictures.reader import list_photos
from portrait_lora.rights import consent as consents
from portrait_lora.tasks.propose import proposed_settings
from portrait_lora.tasks.shard import files
from portrait_lora.yaml_edit import scalar


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What enrolling did for one person; with a `problem` there may be no folder.

    `added` and `put_aside` are file names in `photos/`; `notes` what a person should know.
    """

    entry: Entry
    folder: Path
    is_new: bool = False
    added: tuple[str, ...] = ()
    put_aside: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problem: PortraitError | None = None
    is_forgotten: bool = False


def enrol(roster: Roster, home: Path, *, renew_consents: bool = False) -> tuple[Enrolled, ...]:
    """Everybody of the roster, in its order; what has not changed is left as it is.

    One person's missing photos are their `problem` and nobody else's.  `renew_consents` records the consent
    files again, for photos that came later.
    """
    manifest.make_folder(home / files.PEOPLE)
    sources.clean_leftovers(home)
    before = enrolment.everybody(home)
    proposals = {record.studio: record.proposed for record in before}
    gone = forgotten.those_of(home, roster)
    people: list[Enrolled] = []
    for entry in roster.entries:
        if entry.person in gone:
            people.append(Enrolled(entry, files.folder(home, entry.person), is_forgotten=True))
        else:
            people.append(_enrolled(roster, entry, home, proposals, renew_consents))
    studio_list.add(home, {one.entry.person: one.entry.name for one in people if one.folder.is_dir()})
    return tuple(people)


def no_longer_listed(roster: Roster, home: Path) -> tuple[str, ...]:
    """People with a folder who are not on the roster (any more): they stay."""
    listed = {entry.person for entry in roster.entries}
    place = home / files.PEOPLE
    there = sorted(p.name for p in place.iterdir() if (p / "photos").is_dir()) if place.is_dir() else []
    return tuple(name for name in there if name not in listed)


def overrides_of(roster: Roster) -> tuple[str, ...]:
    """What goes over everybody's `likeness.yaml`, as in the plan of the fleet."""
    whole = {"generate.series": roster.series, "generate.brand": roster.brand}
    own = [f"{key}={scalar(value)}" for key, value in whole.items() if value]
    return (*own, *roster.settings)


def settings_of(roster: Roster, entry: Entry) -> tuple[str, ...]:
    """What a person's `likeness.yaml` says: what is set for all, what the columns say, their own settings."""
    person = [f"subject.name={scalar(entry.name)}", f"subject.kind={entry.kind}"]
    return (*overrides_of(roster), *person, *entry.settings)


def _enrolled(
    roster: Roster, entry: Entry, home: Path, proposals: dict[bool, tuple[str, ...]], renew: bool
) -> Enrolled:
    folder = files.folder(home, entry.person)
    try:
        before = enrolment.read(home, entry.person) or Enrolment(person=entry.person)
        if not (folder / "photos").is_dir():
            return _begun(roster, entry, home, proposals)
        held = files.hold(home, entry.person)
        if held is None:
            note = "somebody is working on this person: changes of the roster are taken over later"
            return Enrolled(entry, folder, notes=(note,))
        with held:
            return _followed(roster, entry, home, before, renew)
    except PortraitError as error:
        return Enrolled(entry, folder, problem=error)


def _begun(roster: Roster, entry: Entry, home: Path, proposals: dict[bool, tuple[str, ...]]) -> Enrolled:
    """A new folder, with everything in it or not there at all."""
    folder = files.folder(home, entry.person)
    agreed = None if entry.consent is None else consents.of_file(entry.consent, dt.date.today())
    settings = settings_of(roster, entry)
    with sources.photos_of(entry, home) as photos:
        studio = not any(provenance.is_unmarked_picture(p) for p in list_photos(photos))
        if studio not in proposals:  # one base for all of a kind, whatever else this machine could do
            proposals[studio] = tuple(proposed_settings(photos, settings)[0])
        named = {pair.partition("=")[0].strip() for pair in settings}
        proposed = tuple(p for p in proposals[studio] if p.partition("=")[0] not in named)
        recipe.init(folder, photos, overrides=[*proposed, *settings])
        seen = taking_over.seen_files(photos, {})
    if agreed is not None:
        consents.write(folder, agreed)
    copies = {name: one.model_copy(update={"copy_name": name}) for name, one in seen.items()}
    record = Enrolment(person=entry.person, files=copies, settings=settings, proposed=proposed, studio=studio)
    enrolment.write(home, _as_of(entry, record))
    added = tuple(p.name for p in list_photos(folder / "photos"))
    return Enrolled(entry, folder, True, added, notes=tuple(_left_out(entry)))


def _followed(roster: Roster, entry: Entry, home: Path, before: Enrolment, renew: bool) -> Enrolled:
    """What changed since, taken over; only for who holds the person."""
    folder, settings = files.folder(home, entry.person), settings_of(roster, entry)
    result = Enrolled(
        entry, folder, notes=tuple(taking_over.take_settings(folder, before.settings, settings))
    )
    now = before.model_copy(update={"settings": settings})
    if not entry.photos.exists():
        note = f"the roster's photos are not there any more: {entry.photos}; those enrolled stay"
        result = replace(result, notes=(*result.notes, note))
    elif not before.is_as_seen(entry.photos):
        with sources.photos_of(entry, home) as photos:
            seen = taking_over.seen_files(photos, before.files)
            taken, added, aside, notes = taking_over.take_photos(photos, folder, seen, before.files)
        now = now.model_copy(update={"files": taken})
        notes = (*result.notes, *notes, *_left_out(entry))
        result = replace(result, added=tuple(added), put_aside=tuple(aside), notes=notes)
    if entry.consent is not None:
        sha256 = manifest.sha256_file(entry.consent) if entry.consent.is_file() else ""
        if renew or sha256 != before.consent_sha256:
            consents.write(folder, consents.of_file(entry.consent, dt.date.today()))
    enrolment.write(home, _as_of(entry, now))
    return result


def _as_of(entry: Entry, record: Enrolment) -> Enrolment:
    """The record with the state of the roster's files as they are now."""
    status = entry.photos.stat() if entry.photos.is_file() else None
    packed = None
    if status is not None:
        sha256 = manifest.sha256_file(entry.photos)
        packed = SourceFile(size=status.st_size, mtime_ns=status.st_mtime_ns, sha256=sha256)
    agreed = entry.consent is not None and entry.consent.is_file()
    return record.model_copy(
        update={
            "name": entry.name,
            "source": str(entry.photos),
            "archive": packed,
            "consent_sha256": manifest.sha256_file(entry.consent) if agreed and entry.consent else "",
        }
    )


def _left_out(entry: Entry) -> list[str]:
    return sources.left_out(entry.photos) if entry.photos.is_dir() else []


def photo_count(folder: Path) -> int:
    """How many photos a person has in their folder."""
    return len(likeness.picture_files(folder / "photos")) if (folder / "photos").is_dir() else 0
