"""From a roster to folders: once, again, and after the roster and its folders have changed."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from portrait_lora import config, holding, manifest
from portrait_lora.errors import ConfigError, InputError, PhotosError
from portrait_lora.fleet import enrol as enrolling
from portrait_lora.fleet import enrolment, forgotten, sources
from portrait_lora.fleet.enrol import Enrolled, enrol, no_longer_listed
from portrait_lora.rights import consent as consents
from portrait_lora.tasks.shard import files
from tests.fleet.folders import SETTINGS, consent, listed, picture, pictures


def state(folder: Path) -> dict[str, tuple[str, int]]:
    """Bytes and times of every file."""
    return {
        p.relative_to(folder).as_posix(): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns)
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not p.name.endswith((".lock", ".person"))
    }


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def only(people: tuple[Enrolled, ...]) -> Enrolled:
    (one,) = people
    assert one.problem is None
    return one


def test_a_folder_for_everybody_once(tmp_path: Path) -> None:
    pictures(tmp_path / "a")
    consent(tmp_path / "anna.yaml")
    roster = listed(tmp_path, [f"Anna Lee,a,anna.yaml,{SETTINGS}; training.rank=4", f"李明,a,,{SETTINGS}"])
    home = tmp_path / "home"
    anna, li = enrol(roster, home)
    assert (anna.is_new, anna.added, anna.problem) == (True, ("p0.png", "p1.png", "p2.png"), None)
    settings = config.load(anna.folder / config.FILE_NAME)
    assert (settings.subject.name, settings.training.rank, settings.base) == ("Anna Lee", 4, "embedded")
    recorded = consents.read(anna.folder)
    assert recorded is not None
    assert len(recorded.photos) == 3
    assert consents.read(li.folder) is None
    before = state(home)
    assert [one.is_new for one in enrol(roster, home)] == [False, False]
    assert state(home) == before  # nothing is even touched


def test_the_studio_lists_those_of_a_fleet(tmp_path: Path) -> None:
    from portrait_lora.web.studio import Studio
    from portrait_lora.web.users import OWNER

    pictures(tmp_path / "a")
    home = tmp_path / "home"
    enrol(listed(tmp_path, [f"Ólafur Þór,a,,{SETTINGS}"]), home)
    (person,) = Studio(home).people(OWNER)
    assert (person.name, person.owner, person.folder.is_dir()) == ("Ólafur Þór", OWNER.name, True)
    Studio(home).rename(person, "Other")
    enrol(listed(tmp_path, [f"Ólafur Þór,a,,{SETTINGS}", f"Bo,a,,{SETTINGS}"]), home)
    assert [one.name for one in Studio(home).people(OWNER)] == ["Bo", "Ólafur Þór"]


def test_one_without_photos_keeps_nobody_waiting(tmp_path: Path) -> None:
    pictures(tmp_path / "b")
    pictures(tmp_path / "two" / "x")
    pictures(tmp_path / "two" / "y")
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.txt").write_text("hello")
    rows = [
        f"{name},{place},,"
        for name, place in (("A", "lost"), ("C", "empty"), ("D", "two"), ("E", "note.txt"))
    ]
    people = enrol(
        listed(tmp_path, [*rows, f"B,b,,{SETTINGS}", f"F,b,lost.yaml,{SETTINGS}"]), tmp_path / "home"
    )
    problems = [one.problem for one in people]
    kinds = [InputError, PhotosError, PhotosError, InputError, type(None), ConfigError]
    assert [type(one) for one in problems] == kinds
    assert problems[0] is not None
    assert problems[0].got == "no such folder"
    assert problems[2] is not None
    assert problems[2].got == "0 photos, x: 3, y: 3"
    assert names(tmp_path / "home" / "people") == ["b"]


def test_the_one_folder_with_photos_is_taken_and_others_are_named(tmp_path: Path) -> None:
    pictures(tmp_path / "a" / "Camera")
    (tmp_path / "a" / "notes").mkdir()
    pictures(tmp_path / "b")
    pictures(tmp_path / "b" / "old", 2)
    inner, beside = enrol(listed(tmp_path, [f"A,a,,{SETTINGS}", f"B,b,,{SETTINGS}"]), tmp_path / "home")
    assert len(inner.added) == 3
    assert beside.notes == ("not taken: 2 pictures in the subfolder old",)


def test_photos_that_come_and_go_are_followed(tmp_path: Path) -> None:
    pictures(tmp_path / "a", 4)
    roster, home = listed(tmp_path, [f"A,a,,{SETTINGS}"]), tmp_path / "home"
    folder = only(enrol(roster, home)).folder
    own = picture(folder / "photos" / "mine.png", 900)  # added in the studio: nobody's to put aside
    picture(tmp_path / "a" / "new.png", 77)
    picture(tmp_path / "a" / "p1.png", 500)  # another picture of the same name
    os.rename(tmp_path / "a" / "p2.png", tmp_path / "a" / "renamed.png")
    (tmp_path / "a" / "p3.png").unlink()
    one = only(enrol(roster, home))
    assert sorted(one.added) == ["new.png", "p1-2.png"]
    assert sorted(one.put_aside) == ["p1.png", "p3.png"]
    assert names(folder / "removed") == ["p1.png", "p3.png"]
    assert names(folder / "photos") == ["mine.png", "new.png", "p0.png", "p1-2.png", "p2.png"]
    assert own.is_file()
    assert only(enrol(roster, home)).added == ()


def test_a_photo_removed_in_the_studio_stays_removed(tmp_path: Path) -> None:
    pictures(tmp_path / "a")
    roster, home = listed(tmp_path, [f"A,a,,{SETTINGS}"]), tmp_path / "home"
    folder = only(enrol(roster, home)).folder
    (folder / "photos" / "p1.png").unlink()
    picture(tmp_path / "a" / "new.png", 77)
    assert only(enrol(roster, home)).added == ("new.png",)
    assert names(folder / "photos") == ["new.png", "p0.png", "p2.png"]
    shutil.copy(tmp_path / "a" / "p1.png", folder / "photos")  # and one brought back there is theirs
    (tmp_path / "a" / "p1.png").unlink()
    assert only(enrol(roster, home)).put_aside == ()


def test_a_photo_that_the_settings_name_is_not_put_aside(tmp_path: Path) -> None:
    pictures(tmp_path / "a")
    roster, home = listed(tmp_path, [f"A,a,,{SETTINGS}"]), tmp_path / "home"
    folder = only(enrol(roster, home)).folder
    file = folder / config.FILE_NAME
    file.write_text(file.read_text() + "dataset:\n  curate:\n    use_anyway: [p0.png]\n")
    (tmp_path / "a" / "p0.png").unlink()
    one = only(enrol(roster, home))
    assert one.put_aside == ()
    assert "p0.png left the roster's folder, and stays" in one.notes[0]


def test_a_folder_that_went_away_loses_nobody(tmp_path: Path) -> None:
    pictures(tmp_path / "a")
    roster, home = listed(tmp_path, [f"A,a,,{SETTINGS}"]), tmp_path / "home"
    folder = only(enrol(roster, home)).folder
    shutil.rmtree(tmp_path / "a")
    one = only(enrol(roster, home))
    assert "not there any more" in one.notes[0]
    assert len(names(folder / "photos")) == 3


def test_people_who_left_the_roster_stay_and_are_named(tmp_path: Path) -> None:
    pictures(tmp_path / "a")
    home = tmp_path / "home"
    enrol(listed(tmp_path, [f"A,a,,{SETTINGS}", f"B,a,,{SETTINGS}"]), home)
    shorter = listed(tmp_path, [f"B,a,,{SETTINGS}", f"C,a,,{SETTINGS}"])
    assert [one.is_new for one in enrol(shorter, home)] == [False, True]
    assert no_longer_listed(shorter, home) == ("a",)
    assert len(names(home / "people" / "a" / "photos")) == 3


def test_settings_follow_the_roster_but_not_over_what_was_changed_by_hand(tmp_path: Path) -> None:
    pictures(tmp_path / "a")
    home = tmp_path / "home"
    first = f"{SETTINGS}; training.rank=4; training.alpha=4; select.probes=2"
    file = only(enrol(listed(tmp_path, [f"A,a,,{first}"]), home)).folder / config.FILE_NAME
    file.write_text(file.read_text().replace("alpha: 4", "alpha: 9") + "# mine\n")
    second = f"{SETTINGS}; training.rank=6; training.alpha=5"
    one = only(enrol(listed(tmp_path, [f"A,a,,{second}"]), home))
    settings = config.load(file)
    assert (settings.training.rank, settings.training.alpha) == (6, 9)
    assert settings.select.probes == config.load(None).select.probes  # taken out of the roster: the default
    assert "# mine" in file.read_text()
    assert one.notes == ("training.alpha was changed by hand, and stays: 9.0",)


def test_a_consent_is_recorded_once_and_covers_what_was_there(tmp_path: Path) -> None:
    pictures(tmp_path / "a")
    file = consent(tmp_path / "a.yaml")
    roster, home = listed(tmp_path, [f"A,a,a.yaml,{SETTINGS}"]), tmp_path / "home"
    folder = only(enrol(roster, home)).folder
    picture(tmp_path / "a" / "new.png", 77)
    assert only(enrol(roster, home)).added == ("new.png",)
    with pytest.raises(InputError, match="does not cover these photos"):
        consents.require(folder, folder / "photos", commercial=False)
    enrol(roster, home, renew_consents=True)
    consents.require(folder, folder / "photos", commercial=False)
    consent(file, until="2998-01-01")
    enrol(roster, home)
    recorded = consents.read(folder)
    assert recorded is not None
    assert recorded.until == "2998-01-01"


def test_who_is_worked_on_is_left_alone(tmp_path: Path) -> None:
    pictures(tmp_path / "a")
    roster, home = listed(tmp_path, [f"A,a,,{SETTINGS}"]), tmp_path / "home"
    folder = only(enrol(roster, home)).folder
    picture(tmp_path / "a" / "new.png", 77)
    held = files.hold(home, "a")
    assert held is not None
    with held:
        assert "working on this person" in only(enrol(roster, home)).notes[0]
    assert len(names(folder / "photos")) == 3
    assert only(enrol(roster, home)).added == ("new.png",)


class Killed(BaseException):
    """What a kill does, at a place."""


@pytest.mark.parametrize("place", ["consents.write", "enrolment.write", "manifest.new_files"])
def test_stopped_anywhere_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    pictures(tmp_path / "a")
    consent(tmp_path / "a.yaml")
    roster, home = listed(tmp_path, [f"A,a,a.yaml,{SETTINGS}; training.rank=4"]), tmp_path / "home"
    if place == "manifest.new_files":
        enrol(roster, home)
        picture(tmp_path / "a" / "new.png", 77)

    def kill(*_: object, **__: object) -> None:
        raise Killed

    owner, name = place.split(".")
    with monkeypatch.context() as patch:
        module = {"consents": consents, "enrolment": enrolment, "manifest": manifest}[owner]
        patch.setattr(module, name, kill)
        with pytest.raises(Killed):
            enrol(roster, home)
    folder = only(enrol(roster, home, renew_consents=True)).folder
    count = 4 if place == "manifest.new_files" else 3
    assert len(names(folder / "photos")) == count
    assert config.load(folder / config.FILE_NAME).training.rank == 4
    consents.require(folder, folder / "photos", commercial=False)
    assert enrolment.read(home, "a") is not None


def test_one_base_for_all_of_a_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(tmp_path / "a")
    home = tmp_path / "home"
    calls = iter(["base=sdxl", "base=sd15"])
    monkeypatch.setattr(enrolling, "proposed_settings", lambda *_: ([next(calls)], []))
    enrol(listed(tmp_path, ["A,a,,"]), home)
    people = enrol(listed(tmp_path, ["A,a,,", "B,a,,", "C,a,,base=sd35_medium"]), home)
    bases = [config.load(one.folder / config.FILE_NAME).base for one in people]
    assert bases == ["sdxl", "sdxl", "sd35_medium"]


def test_what_a_killed_enrolment_unpacked_goes(tmp_path: Path) -> None:
    pictures(tmp_path / "a")
    home = tmp_path / "home"
    left, used = (pictures(home / f"{sources.UNPACKED}{name}") for name in ("left", "used"))
    held = holding.hold(used, alone=True)
    assert held is not None
    with held:
        enrol(listed(tmp_path, [f"A,a,,{SETTINGS}"]), home)
    assert (left.exists(), used.exists()) == (False, True)


def test_the_forgotten_are_not_enrolled_again(tmp_path: Path) -> None:
    pictures(tmp_path / "a")
    roster, home = listed(tmp_path, [f"Anna Lee,a,,{SETTINGS}", f"Bo,a,,{SETTINGS}"]), tmp_path / "home"
    home.mkdir()
    forgotten.remember(home, roster.entries[0])
    anna, bo = enrol(roster, home)
    assert (anna.is_forgotten, anna.folder.exists(), bo.is_new) == (True, False, True)
    text = (home / forgotten.FILE).read_text()
    assert "anna" not in text.lower()
    assert forgotten.welcome(home, roster.entries[0])
    assert not forgotten.welcome(home, roster.entries[0])
    assert enrol(roster, home)[0].is_new
