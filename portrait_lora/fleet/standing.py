"""What `fleet check` finds of everybody, as values: `HOME/reports/roster.json`, the page and `--json`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Final

from portrait_lora import manifest, strict_json
from portrait_lora.results import Number, Value
from portrait_lora.tasks.shard.records import ErrorRecord

FILE: Final = Path("reports") / "roster.json"


class Standing(StrEnum):
    """Whether a person's portraits can be made; the last four keep nobody else waiting."""

    READY = "ready"
    NEEDS_PHOTOS = "needs_photos"
    NEEDS_CONSENT = "needs_consent"
    PROBLEM = "problem"
    FORGOTTEN = "forgotten"


class PhotoProblem(Value):
    """A photo that is not used, why in two words, and what to do about it in a photographer's."""

    file: str
    title: str
    advice: str


class Agreement(Value):
    """How the consent of a person stands: `problem` in a line, `until` an ISO date, `days_left` from today;
    `ends_soon` and `ends_during_run` say what the fleet has to know of it."""

    needed: bool
    problem: str = ""
    who: str = ""
    until: str = ""
    days_left: int | None = None
    ends_soon: bool = False
    ends_during_run: bool = False


class PersonCheck(Value):
    """One person of the roster: where they stand, and what they have to send.

    `accepted` of `sent` photos are usable, `needed` at least; `advice` says which to add, `notes` are about
    their row.  `mail` is the path of the text to them, or empty.
    """

    person: str
    name: str
    line: int
    standing: Standing
    group: str = ""
    email: str = ""
    sent: int = 0
    accepted: int = 0
    needed: int = 0
    few: bool = False
    problems: tuple[PhotoProblem, ...] = ()
    advice: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    put_aside: tuple[str, ...] = ()
    is_new: bool = False
    consent: Agreement = Agreement(needed=False)
    error: ErrorRecord | None = None
    base: str = ""
    face_pack: str = ""
    report: str = ""
    mail: str = ""


class Question(Value):
    """Whether two names are one person: `similarity` of their photos, the pack's `threshold`, and the
    answer, `same_person` where it was given."""

    people: tuple[str, str]
    names: tuple[str, str]
    similarity: Number
    threshold: Number
    answer: str = ""


class RosterCheck(Value):
    """Everybody of a roster, questions about them, and remarks about the whole.

    `unlisted` are people with a folder who are not on the roster; `pairs` how many were compared.
    `expected_chance_pairs` is how many pairs of strangers reach the threshold at its false-match rate,
    `seconds` the forecast that consents were held against; 0 without any.
    """

    roster: str
    home: str
    on: str
    people: tuple[PersonCheck, ...]
    questions: tuple[Question, ...] = ()
    remarks: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    pairs: int = 0
    expected_chance_pairs: Number | None = None
    seconds: Number = 0
    page: str = ""

    def of(self, standing: Standing) -> tuple[PersonCheck, ...]:
        """Those who stand there."""
        return tuple(one for one in self.people if one.standing is standing)

    @property
    def is_ready(self) -> bool:
        """Whether nobody has to do anything."""
        open_questions = any(not question.answer for question in self.questions)
        done = (Standing.READY, Standing.FORGOTTEN)
        return not open_questions and all(one.standing in done for one in self.people)

    def without(self, person: str) -> RosterCheck:
        """The same without one person."""
        return self.model_copy(
            update={
                "people": tuple(one for one in self.people if one.person != person),
                "questions": tuple(q for q in self.questions if person not in q.people),
                "unlisted": tuple(name for name in self.unlisted if name != person),
            }
        )


def read(home: Path) -> RosterCheck | None:
    """The last check; None before one."""
    file = home / FILE
    if not file.is_file():
        return None
    raw = strict_json.load_object(file, "check of a roster", max_bytes=64 << 20, file_names=True)
    people = [_named(one) for one in raw.get("people", ())]  # pyright: ignore
    return RosterCheck.read({**raw, "people": people}, file)


def _named(row: dict[str, object]) -> dict[str, object]:
    return {**row, "standing": Standing(str(row["standing"]))}


def write(home: Path, check: RosterCheck) -> None:
    """Write the check, whole or not at all."""
    manifest.write_json_atomic(home / FILE, check.model_dump(mode="json"))
