"""The consent of a person, recorded in the studio, and what it covers today.

Photographs need one before anything is trained on them; made-up people have none and need none.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portrait_lora.errors import ArtifactError, InputError, PortraitError
from portrait_lora.rights import consent

if TYPE_CHECKING:
    from portrait_lora.web.studio import Person

PURPOSES: Final = consent.PURPOSES
STATEMENT: Final = consent.STATEMENT
MEANINGS: Final = {
    "training": "Training an image model on these photos",
    "portraits": "Generating portraits with it",
    "commercial": "Commercial use of the portraits",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """What is recorded, and whether it covers training on every photo today; `problem` says what not.

    `needed` is False when all photos are the studio's.  `photos` counts those covered, `missing` those not.
    """

    needed: bool
    recorded: bool = False
    covers: bool = False
    problem: str = ""
    who: str = ""
    purposes: tuple[str, ...] = ()
    until: str = ""
    recorded_on: str = ""
    by: str = ""
    guardian: str = ""
    born: str = ""
    photos: int = 0
    missing: int = 0


def standing(person: Person, *, commercial: bool = False) -> Standing:
    """How the consent stands today; a damaged record is a problem, not an error."""
    from portrait_lora.web.services.photos import sha256_of

    files = consent.photographs(person.folder / "photos")
    try:
        recorded = consent.read(person.folder)
    except ArtifactError as error:
        return Standing(needed=bool(files), problem=error.message(), missing=len(files))
    covered = set(recorded.photos) if recorded else set()
    missing = sum(sha256_of(path) not in covered for path in files)
    problem = ""
    try:
        consent.require(person.folder, person.folder / "photos", commercial=commercial)
    except PortraitError as error:
        problem = _in_words(error, missing, len(files), recorded is not None)
    if recorded is None:
        return Standing(needed=bool(files), covers=not files, problem=problem, missing=missing)
    return Standing(
        needed=bool(files), recorded=True, covers=not problem, problem=problem, who=recorded.who,
        purposes=recorded.purposes, until=recorded.until, recorded_on=recorded.given, by=recorded.by,
        guardian=recorded.guardian, born=recorded.born,
        photos=len(files) - missing, missing=missing,
    )  # fmt: skip


def record(
    person: Person,
    *,
    subject: bool,
    who: str,
    purposes: Sequence[str] = PURPOSES,
    until: str = "",
    statement: str = STATEMENT,
    guardian: str = "",
    born: str = "",
) -> Standing:
    """Record a consent for the photographs that are there now, in place of an earlier one.

    `subject`: the person at the screen is the one in the photos; else `who` has agreed to `statement`
    elsewhere.  `guardian` consents for a minor, who cannot; `born` is the date of birth.  Without `until`
    it holds for a year.  Raises `InputError` when something is missing or the date has passed.
    """
    today = dt.date.today()
    if guardian.strip() and subject:
        raise InputError(
            "a minor does not consent alone", where="guardian", got=guardian[:60],
            needed="the guardian's statement, with who",
        )  # fmt: skip
    name = " ".join(who.split()) or person.name
    values = {
        "who": name,
        "purposes": list(purposes),
        "until": until or consent.of_subject(name, today).until,
        "statement": statement if not subject else STATEMENT,
        "guardian": guardian,
        "born": born,
    }
    new = consent.of_values(values, today, by="subject" if subject else "file")
    if dt.date.fromisoformat(new.until) < today:
        raise InputError(
            "this day has passed already", where="until", got=new.until, needed="today or a later day"
        )
    if not consent.photographs(person.folder / "photos"):
        raise InputError(
            "there are no photographs yet that a consent could cover", where="photos",
            remedy="Add the photos first: the consent is recorded for them.",
        )  # fmt: skip
    consent.write(person.folder, new)
    return standing(person)


def _in_words(error: PortraitError, missing: int, photos: int, recorded: bool) -> str:
    """The sentence of a page: without names of files and of options of the command line."""
    if recorded and missing and missing < photos:
        return f"{missing} of {photos} photos were added after the consent was recorded."
    what = error.what[:1].upper() + error.what[1:]
    return f"{what}{f' ({error.got})' if error.got and not missing else ''}."
