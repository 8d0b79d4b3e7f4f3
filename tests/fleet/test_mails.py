"""What is written to people: concrete, polite, and nothing that was measured of a face."""

from __future__ import annotations

import re
from pathlib import Path

from portrait_lora.fleet import mails
from portrait_lora.fleet.standing import Agreement, PersonCheck, PhotoProblem, Standing
from portrait_lora.tasks.shard.acceptance import MORE_PHOTOS
from portrait_lora.tasks.shard.records import ErrorRecord
from tests.fleet.folders import listed


def row(**fields: object) -> PersonCheck:
    usual: dict[str, object] = {
        "person": "anna-lee",
        "name": "Anna Lee",
        "line": 2,
        "standing": Standing.NEEDS_PHOTOS,
    }
    return PersonCheck.model_validate(usual | fields)


def text(folder: Path, **fields: object) -> str:
    return mails.text_of(row(**fields), listed(folder, ["Anna Lee,a,,"], "name,photos,consent,settings"))


ADVICE = (
    "Add two photos turned a little to your right, one of them smiling.",
    "9 of 12 photos show the same outfit: it will leak into the portraits. Add photos in other clothes.",
    "Captions: set dataset.captions.captioner to florence2.",
)


def test_it_asks_for_what_is_missing(tmp_path: Path) -> None:
    problems = (
        PhotoProblem(file="IMG 1.jpg", title="Blurred", advice="Sharper, or raise dataset.check.x."),
        PhotoProblem(file="b.jpg", title="Face too small", advice="Come closer. Lower dataset.check.x."),
    )  # fmt: skip
    mail = text(
        tmp_path, email="anna@example.org", sent=6, accepted=3, needed=5, advice=ADVICE, problems=problems
    )
    assert mail.startswith(
        "To: Anna Lee <anna@example.org>\nSubject: Photos for your portraits\n\nDear Anna Lee,\n"
    )
    assert "3 of the 6 can be used, and at least 5 are needed" in mail
    assert "  - Two photos turned a little to your right, one of them smiling\n" in mail
    assert "  - Photos in other clothes\n" in mail
    assert "  - IMG 1.jpg: blurred." in mail
    assert "  - b.jpg: face too small. Come closer.\n" in mail
    assert mails.SENDER in mail
    assert "dataset." not in mail
    assert "florence" not in mail
    assert not re.search(r"similarity|embedding|0\.\d", mail)


def test_none_and_all_of_too_few(tmp_path: Path) -> None:
    assert "So far none of them can be used" in text(tmp_path, sent=4, accepted=0, needed=5)
    assert "So far all 3 can be used" in text(tmp_path, sent=3, accepted=3, needed=5)
    assert "Some facing the camera" in text(tmp_path, sent=3, accepted=3, needed=5)  # a pack without poses


def test_who_has_sent_nothing_is_asked_for_photos(tmp_path: Path) -> None:
    lost = ErrorRecord(what="no photos of this person", where=str(tmp_path / "a"))
    mail = text(tmp_path, standing=Standing.PROBLEM, error=lost)
    assert "we need photos of you, and have none yet" in mail
    assert "Please send us:" in mail
    settings = ErrorRecord(what="unknown configuration key", where="people.csv:2")
    assert text(tmp_path, standing=Standing.PROBLEM, error=settings) == ""  # not theirs to mend


def test_consents_are_asked_for(tmp_path: Path) -> None:
    lacking = Agreement(needed=True, problem="no consent is recorded")
    assert "need your consent" in text(
        tmp_path, standing=Standing.NEEDS_CONSENT, sent=9, accepted=9, consent=lacking
    )
    over = Agreement(needed=True, problem="the consent has expired (2020-01-01)", until="2020-01-01")
    assert "does not cover this any more" in text(tmp_path, standing=Standing.NEEDS_CONSENT, consent=over)
    ends = Agreement(needed=True, until="2030-01-05", days_left=3, ends_soon=True)
    assert "ends on 2030-01-05" in text(tmp_path, standing=Standing.READY, sent=9, accepted=9, consent=ends)
    fine = Agreement(needed=True, until="2030-01-05", days_left=300)
    assert text(tmp_path, standing=Standing.READY, sent=9, accepted=9, consent=fine) == ""
    assert "tell us with the new ones" in text(tmp_path, sent=3, accepted=3, needed=5, consent=fine)


def test_a_mail_goes_when_nothing_is_left_to_ask(tmp_path: Path) -> None:
    roster, home = listed(tmp_path, ["Anna Lee,a,,"]), tmp_path / "home"
    asked_for = mails.written(home, row(sent=3, accepted=3, needed=5), roster)
    path = mails.file_of(home, "anna-lee")
    assert asked_for.mail == str(path)
    ready = mails.written(home, row(standing=Standing.READY, sent=9, accepted=9), roster)
    assert (ready.mail, path.exists()) == ("", False)


def test_whose_portraits_did_not_pass_is_asked_for_others(tmp_path: Path) -> None:
    mail = text(tmp_path, sent=12, accepted=12, needed=5, advice=MORE_PHOTOS)
    assert "do not look enough like you" in mail
    assert "Five or more other photos: sharp" in mail
