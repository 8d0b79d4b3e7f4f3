"""A whole roster checked: by real faces once, and what the words and dates of it mean."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

import numpy as np
import pytest

from portrait_lora.errors import InputError
from portrait_lora.fleet import check as checking
from portrait_lora.fleet import mails, page, same_person, standing
from portrait_lora.fleet.begin import begin
from portrait_lora.fleet.check import Wishes, check, remarks
from portrait_lora.fleet.enrol import enrol
from portrait_lora.fleet.roster import Roster
from portrait_lora.fleet.same_person import pairs_above
from portrait_lora.fleet.standing import Agreement, PersonCheck, RosterCheck, Standing
from portrait_lora.rights import consent as consents
from portrait_lora.tasks.shard import files, identity
from portrait_lora.tasks.shard.acceptance import MORE_PHOTOS
from portrait_lora.tasks.shard.records import PersonRecord, PersonState
from tests.fleet.folders import SETTINGS, consent, listed, pictures
from tests.fleet.people import take

HEADER = "name,photos,kind"
NOON = dt.datetime(2030, 1, 1, 12)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of two people, one of them in two folders, and two photos of a third."""
    folder = tmp_path_factory.mktemp("faces")
    take(folder / "anna", 21, range(5))
    take(folder / "lena", 21, range(8, 13))
    take(folder / "bo", 22, range(5))
    take(folder / "cy", 23, range(2))
    return folder


@pytest.fixture(scope="module")
def checked(faces: Path) -> tuple[Roster, RosterCheck]:
    rows = ["Anna Lee,anna,woman", "Lena Lee,lena,woman", "Bo,bo,man", "Cy Ng,cy,man", "Di,lost,man"]
    roster = listed(faces, rows, HEADER)
    return roster, check(roster, roster.home)


def states(result: RosterCheck) -> dict[str, str]:
    return {one.person: one.standing.value for one in result.people}


def test_who_is_ready_and_who_is_not(checked: tuple[Roster, RosterCheck]) -> None:
    roster, result = checked
    assert states(result) == {
        "anna-lee": "ready", "lena-lee": "ready", "bo": "ready", "cy-ng": "needs_photos", "di": "problem",
    }  # fmt: skip
    cy = result.of(Standing.NEEDS_PHOTOS)[0]
    assert (cy.sent, cy.accepted, cy.needed) == (2, 2, 5)
    assert any("facing the camera" in line for line in cy.advice)
    assert "photos facing the camera" in Path(cy.mail).read_text()
    assert not result.is_ready
    assert standing.read(roster.home) == result


def test_one_person_under_two_names_is_asked_about(checked: tuple[Roster, RosterCheck]) -> None:
    roster, result = checked
    (question,) = result.questions
    assert question.people == ("anna-lee", "lena-lee")
    assert question.similarity >= question.threshold
    assert result.pairs == 6
    assert all(one.standing is Standing.READY for one in result.people if one.person in question.people)
    text = (roster.home / page.FILE).read_text()
    assert "--same anna-lee+lena-lee" in text
    assert text.count("data:image/jpeg") == 2
    assert "embedding" not in "".join(
        p.read_text() for p in roster.home.rglob("*.json") if "reports" in p.parts
    )


def test_an_answer_ends_the_question_and_a_later_one_counts(
    checked: tuple[Roster, RosterCheck], monkeypatch: pytest.MonkeyPatch
) -> None:
    roster, _ = checked
    known = {entry.person for entry in roster.entries}
    monkeypatch.setattr(same_person, "mean_embedding", lambda *_: pytest.fail("nobody has changed"))
    same_person.answer(roster.home, known, different=["lena-lee+anna-lee"])
    assert check(roster, roster.home).questions == ()
    same_person.answer(roster.home, known, same=["anna-lee + lena-lee"])
    (question,) = check(roster, roster.home).questions
    assert question.answer == "same_person"
    assert "Keep one of the two rows" in (roster.home / page.FILE).read_text()
    for wrong in ("anna-lee", "anna-lee+anna-lee", "anna-lee+nobody", "+"):
        with pytest.raises(InputError):
            same_person.answer(roster.home, known, same=[wrong])
    with pytest.raises(InputError, match="one pair with two answers"):
        same_person.answer(roster.home, known, same=["bo+anna-lee"], different=["anna-lee+bo"])


def test_pairs_are_those_of_mean_cosines() -> None:
    rng = np.random.default_rng(4)
    faces_PND = {name: rng.normal(size=(4, 16)) for name in "abcd"}
    faces_PND["e"] = faces_PND["a"] + 0.4 * rng.normal(size=(4, 16))
    units = {k: v / np.linalg.norm(v, axis=1, keepdims=True) for k, v in faces_PND.items()}
    means = {k: v.mean(axis=0).astype(np.float32) for k, v in units.items()}
    similarity = float((units["a"] @ units["e"].T).mean())
    (pair,) = [p for p in pairs_above(means, similarity - 1e-6) if p.people == ("a", "e")]
    assert pair.similarity == pytest.approx(similarity, abs=1e-4)
    assert ("a", "e") not in [p.people for p in pairs_above(means, similarity + 1e-3)]
    assert pairs_above({"a": means["a"]}, -1) == []


def row(**fields: object) -> PersonCheck:
    usual: dict[str, object] = {"person": "a", "name": "Anna Lee", "line": 2, "standing": Standing.READY}
    return PersonCheck.model_validate(usual | fields)


def test_mixed_bases_and_strange_consents_are_remarked_on() -> None:
    rows = [row(base="sdxl", face_pack="auraface") for _ in range(3)]
    rows.append(row(name="Bo", line=9, base="sd15", face_pack="auraface"))
    (mixed,) = remarks(rows)
    assert "Mixed base models (sdxl: 3, sd15: 1)" in mixed
    assert "Bo (line 9) has sd15" in mixed
    odd = row(consent=Agreement(needed=True, who="Cy Ng", until="2030-01-01"))
    assert remarks([odd]) == ["Anna Lee (line 2) has a consent of Cy Ng: is it theirs?"]
    assert remarks([row(consent=Agreement(needed=True, who="anna b. LEE"))]) == []
    assert "line 2" in remarks([row(standing=Standing.FORGOTTEN)])[0]


@pytest.mark.parametrize(
    ("until", "forecast_h", "soon", "during", "problem"),
    [
        ("2030-02-01", 1.0, False, False, ""),
        ("2030-01-31", 1.0, True, False, ""),
        ("2030-01-01", 11.9, True, False, ""),
        ("2030-01-01", 12.1, True, True, ""),
        ("2030-01-03", 59.9, True, False, ""),
        ("2030-01-03", 60.1, True, True, ""),
        ("2029-12-31", 1.0, False, False, "the consent has expired (2029-12-31)"),
    ],
)
def test_a_consent_that_ends_during_the_run(
    tmp_path: Path, until: str, forecast_h: float, soon: bool, during: bool, problem: str
) -> None:
    pictures(tmp_path / "a")
    consent(tmp_path / "a.yaml", until=until)
    (one,) = enrol(listed(tmp_path, [f"Anna Lee,a,a.yaml,{SETTINGS}"]), tmp_path / "home")
    state = checking.consent_state(one.folder, commercial=False, today=NOON.date())
    assert state.problem == problem
    dated = checking.with_dates(row(consent=state), Wishes(NOON), 3600 * forecast_h).consent
    assert (dated.ends_soon, dated.ends_during_run) == (soon, during)


def test_no_consent_one_for_others_and_a_damaged_one(tmp_path: Path) -> None:
    pictures(tmp_path / "a")
    consent(tmp_path / "a.yaml", purposes="training")
    roster = listed(tmp_path, [f"A,a,a.yaml,{SETTINGS}", f"B,a,,{SETTINGS}", f"C,a,a.yaml,{SETTINGS}"])
    people = enrol(roster, tmp_path / "home")
    (people[2].folder / consents.NAME).write_text("{")
    shown = [checking.consent_state(one.folder, commercial=False, today=NOON.date()) for one in people]
    assert [state.needed for state in shown] == [True] * 3
    assert "does not cover this" in shown[0].problem
    assert "no consent is recorded" in shown[1].problem
    assert shown[2].problem


def test_one_who_cannot_be_checked_keeps_nobody_waiting(faces: Path, tmp_path: Path) -> None:
    shutil.copytree(faces / "bo", tmp_path / "bo")
    roster = listed(tmp_path, ["Ed,bo,man", "Bo,bo,man"], HEADER)
    enrol(roster, roster.home)
    (roster.home / "people" / "ed" / "likeness.yaml").write_text("trainning: 1\n")
    result = check(roster, roster.home)
    assert states(result) == {"ed": "problem", "bo": "ready"}
    ed = result.people[0]
    assert ed.error is not None
    assert "trainning" in ed.error.what
    assert not mails.file_of(roster.home, "ed").exists()


def test_whose_portraits_did_not_pass_stays_until_something_changes(faces: Path, tmp_path: Path) -> None:
    shutil.copytree(faces / "bo", tmp_path / "bo")
    roster = listed(tmp_path, ["Bo,bo,man"], HEADER)
    home = begin(roster, roster.home).home
    digest = identity.digest_of(home.path, home.plan, "bo")
    record = PersonRecord(
        person="bo",
        digest=digest,
        state=PersonState.NEEDS_PHOTOS,
        reason="verified rate 0.50",
        advice=MORE_PHOTOS,
    )
    files.write(home.path, record)
    (one,) = check(roster, home.path).people
    assert (one.standing, one.notes) == (Standing.NEEDS_PHOTOS, ("verified rate 0.50",))
    assert "do not look enough like you" in Path(one.mail).read_text()
    files.write(home.path, record.model_copy(update={"digest": "of other photos"}))
    (one,) = check(roster, home.path).people
    assert (one.standing, one.mail) == (Standing.READY, "")


def test_the_page_escapes_what_people_are_called(tmp_path: Path) -> None:
    name = '<script>alert("x")</script>'
    asked_for = row(name=name, standing=Standing.NEEDS_PHOTOS, advice=(name,), notes=(name,), group=name)
    result = RosterCheck(
        roster="people.csv", home=str(tmp_path), on="2030-01-01", people=(asked_for, row(name=name))
    )
    text = page.write(tmp_path, result).read_text()
    assert "<script>" not in text
    assert text.count("&lt;script&gt;") >= 5
    assert (tmp_path / page.FILE).stat().st_mode & 0o077 == 0
