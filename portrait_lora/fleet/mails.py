"""A mail to everybody who has to send something: which photos, or a consent, in words that can be sent as is.

Nothing in it is measured of a face: it names files, views and expressions, never a similarity.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from portrait_lora import manifest
from portrait_lora.fleet.roster import Roster
from portrait_lora.fleet.standing import PersonCheck, Standing

FOLDER: Final = Path("reports") / "mails"
SENDER: Final = "[your name]"
_GOOD: Final = "ten to twenty photos give a good likeness"
_GENERAL: Final = (
    "Some facing the camera, some turned a little to each side",
    "Some with a neutral face, some smiling",
)
_ALWAYS: Final = (
    "sharp, in daylight or good light, of you alone",
    "your whole head in the picture, without sunglasses, mask or filter",
    "from different days and places, in different clothes",
)
_MOST_FILES: Final = 12


def file_of(home: Path, person: str) -> Path:
    """Where the mail to a person lies."""
    return home / FOLDER / f"{person}.txt"


def written(home: Path, row: PersonCheck, roster: Roster) -> PersonCheck:
    """Write the mail to one person, or take away one that nothing is left to say in; the row names it."""
    path = file_of(home, row.person)
    text = text_of(row, roster)
    if text:
        manifest.write_text_atomic(path, text)
        return row.model_copy(update={"mail": str(path.absolute())})
    path.unlink(missing_ok=True)
    return row


def text_of(row: PersonCheck, roster: Roster) -> str:
    """The mail to one person; empty where nothing is needed of them."""
    asks_for_photos = row.standing is Standing.NEEDS_PHOTOS or _has_none(row, roster)
    consent = _consent(row)
    if not asks_for_photos and not consent:
        return ""
    if not asks_for_photos:
        opening = "thank you for your photos: they are all we need."
        return _mail(row.name, row.email, "Your consent to the portraits", opening, (), (), consent)
    if row.sent == 0:
        opening = f"for your portraits we need photos of you, and have none yet: {_GOOD}."
        wishes = _GENERAL
    elif row.accepted >= row.needed:
        opening = (
            "thank you for your photos. We have made portraits from them, and they do not look enough like "
            "you yet. Other photos would help."
        )
        wishes = _wishes(row.advice)
    else:
        usable = {0: "none of them", row.sent: f"all {row.sent}"}.get(
            row.accepted, f"{row.accepted} of the {row.sent}"
        )
        opening = (
            f"thank you for your photos. So far {usable} can be used, and at least {row.needed} are needed: "
            f"{_GOOD}."
        )
        wishes = _wishes(row.advice)
    return _mail(row.name, row.email, "Photos for your portraits", opening, wishes, _unused(row), consent)


def _mail(
    name: str,
    email: str,
    subject: str,
    opening: str,
    wishes: Sequence[str],
    unused: Sequence[str],
    consent: str,
) -> str:
    parts = [f"To: {name} <{email}>" if email else f"To: {name}", f"Subject: {subject}"]
    paragraphs = ["\n".join(parts), f"Dear {name},", opening]
    if wishes:
        more = " more, if you can" if opening.startswith("thank you") else ""
        paragraphs.append("\n".join([f"Please send us{more}:", *(f"  - {wish}" for wish in wishes)]))
        paragraphs.append("\n".join(["What works best:", *(f"  - {hint}" for hint in _ALWAYS)]))
    if unused:
        paragraphs.append("\n".join(["These could not be used:", *unused]))
    paragraphs += [consent] if consent else []
    paragraphs.append(f"Thank you, and kind regards\n{SENDER}")
    return "\n\n".join(paragraphs) + "\n"


def _wishes(advice: Sequence[str]) -> list[str]:
    """What to add, from the advice of the check: its sentences that begin with "Add"."""
    sentences = [s.strip() for line in advice for s in re.split(r"(?<=\.)\s+", line)]
    wishes = [s.removeprefix("Add ").rstrip(".") for s in sentences if s.startswith("Add ")]
    sent = [s.removeprefix("Send ").rstrip(".") for s in sentences if s.startswith(("Send ", "Among them "))]
    return [f"{wish[:1].upper()}{wish[1:]}" for wish in (*wishes, *sent)] or list(_GENERAL)


def _unused(row: PersonCheck) -> list[str]:
    lines = [f"  - {p.file}: {p.title.lower()}. {_for_them(p.advice)}".rstrip() for p in row.problems]
    more = len(lines) - _MOST_FILES
    return [*lines[:_MOST_FILES], *([f"  - and {more} more"] if more > 0 else [])]


def _for_them(advice: str) -> str:
    """Without the sentences that name a setting: those are for whoever runs the program."""
    sentences = re.split(r"(?<=[.?!])\s+", advice)
    return " ".join(s for s in sentences if not re.search(r"\bdataset\.|--|\s-s\s|left out until", s))


def _consent(row: PersonCheck) -> str:
    state = row.consent
    if not state.needed:
        return ""
    if state.problem and not state.until:
        return (
            "We also need your consent before anything is made of your photos: please fill in and return the "
            "form. You can withdraw it at any time; then your photos and everything made of them are deleted."
        )
    if state.problem:
        return (
            f"Your consent of before does not cover this any more ({state.problem}). If you still agree, "
            "please fill in and return the form again; if not, you need not do anything."
        )
    if state.ends_during_run or state.ends_soon:
        return (
            f"Your consent ends on {state.until}. If you agree to go on, please fill in and return the form "
            "again; if not, you need not do anything."
        )
    if row.standing is Standing.NEEDS_PHOTOS:
        return (
            f"Your consent (until {state.until}) was for the photos you have sent. Please tell us with "
            "the new ones that it is for them too."
        )
    return ""


def _has_none(row: PersonCheck, roster: Roster) -> bool:
    """Whether what is wrong is that their photos are not there."""
    if row.error is None:
        return False
    entry = next((one for one in roster.entries if one.person == row.person), None)
    return entry is not None and row.error.where.startswith(str(entry.photos))
