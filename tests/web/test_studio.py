"""People and their owners, and what of their folders can be reached by id."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from portrait_lora.errors import ArtifactError, InputError, PortraitError
from portrait_lora.web.ids import digest_id
from portrait_lora.web.problems import Forbidden, NotFound
from portrait_lora.web.studio import Studio
from portrait_lora.web.users import OWNER, Role, User

ANN, BEN = User("ann", Role.MEMBER), User("ben", Role.MEMBER)
VIEWER = User("dan", Role.VIEWER, ("ann",))


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path / "home")


def test_a_person_has_an_owner_whom_nobody_else_sees(studio: Studio) -> None:
    person = studio.create(ANN, "  Änna\nLee ")
    assert person.name == "Änna Lee" and person.id.startswith("anna-lee-") and person.owner == "ann"
    assert (person.folder / "likeness.yaml").is_file() and (person.folder / "photos").is_dir()
    assert studio.people(ANN) == studio.people(OWNER) == studio.people(VIEWER) == [person]
    assert studio.people(BEN) == []
    with pytest.raises(NotFound):
        studio.person(BEN, person.id)
    with pytest.raises(NotFound):
        studio.person(BEN, person.id, change=True)
    with pytest.raises(Forbidden):
        studio.person(VIEWER, person.id, change=True)
    with pytest.raises(Forbidden):
        studio.create(VIEWER, "Dan")
    assert person.likeness.folder == person.folder and "folder" not in person.json_value()


def test_the_list_outlives_the_studio_and_is_shared_by_two(studio: Studio) -> None:
    other = Studio(studio.home)
    person = studio.create(ANN, "Ann")
    assert other.person(ANN, person.id) == person
    renamed = other.rename(person, "Ann Two")
    assert studio.person(ANN, person.id) == renamed and renamed.id == person.id
    studio.drop(person)
    assert other.people(ANN) == [] and person.folder.is_dir()
    assert (studio.home / "studio.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["", "  ", "\0", "x" * 81, "\u202e"])
def test_no_name_and_a_very_long_one(studio: Studio, name: str) -> None:
    with pytest.raises(InputError, match="not a name"):
        studio.create(ANN, name)
    assert list((studio.home / "people").iterdir()) == []


@pytest.mark.parametrize("id", ["..", "../people", "people", "", "a/b", "x" * 300, "studio.json"])
def test_ids_are_no_paths(studio: Studio, id: str) -> None:
    with pytest.raises(NotFound):
        studio.person(OWNER, id)


def test_a_home_of_a_later_version_a_damaged_one_and_what_is_no_home(tmp_path: Path) -> None:
    studio = Studio(tmp_path / "home")
    person = studio.create(ANN, "Ann")
    record = studio.home / "studio.json"
    whole = json.loads(record.read_text())
    for change, error in (
        ({"version": 2}, "later version"),
        ({"version": None}, "later version"),
        ({"people": []}, "damaged"),
        ({"people": {"../x": whole["people"][person.id]}}, "damaged"),
        ({"people": {"x": {}}}, "damaged"),
    ):
        record.write_text(json.dumps(whole | change))
        with pytest.raises(PortraitError, match=error):
            Studio(studio.home)
    record.write_text("[")
    with pytest.raises(ArtifactError):
        Studio(studio.home)
    with pytest.raises(InputError, match="folder of one person"):
        Studio(person.folder)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        Studio(tmp_path / "file")


def test_a_likeness_folder_elsewhere(studio: Studio, tmp_path: Path) -> None:
    (tmp_path / "me" / "photos").mkdir(parents=True)
    person = studio.open_folder(tmp_path / "me")
    assert person.folder == (tmp_path / "me").resolve() and studio.open_folder(tmp_path / "me") == person
    with pytest.raises(InputError, match="not a likeness folder"):
        studio.open_folder(tmp_path)
    with pytest.raises(InputError, match="inside the home"):
        studio.open_folder(studio.create(ANN, "Ann").folder)


def test_pictures_are_reached_by_id_and_nothing_else_is(studio: Studio, tmp_path: Path) -> None:
    person = studio.create(ANN, "Ann")
    inside = person.folder / "portraits" / "headshots" / "a.png"
    inside.parent.mkdir(parents=True)
    inside.write_bytes(b"1")
    photo = person.folder / "photos" / "IMG 1.heic"
    photo.write_bytes(b"1")
    assert studio.picture(person, studio.picture_id(person, inside)) == inside
    assert studio.photo(person, studio.photo_id(person, "IMG 1.heic")) == photo
    with pytest.raises(NotFound):  # a portrait is no photo
        studio.photo(person, studio.picture_id(person, inside))
    for path in (person.folder / "likeness.yaml", studio.home / "studio.json", tmp_path / "x.png"):
        with pytest.raises(NotFound):
            studio.picture(person, digest_id(os.path.relpath(path, person.folder)))
    inside.unlink()
    with pytest.raises(NotFound):
        studio.picture(person, studio.picture_id(person, inside))


@pytest.mark.parametrize("place", ["photos", "portraits", "portraits/series"])
def test_links_lead_nowhere(studio: Studio, tmp_path: Path, place: str) -> None:
    person = studio.create(ANN, "Ann")
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "a.png").write_bytes(b"secret")
    folder = person.folder / place
    folder.parent.mkdir(exist_ok=True)
    if place == "photos":
        (folder / "a.png").symlink_to(secret / "a.png")
    else:
        folder.symlink_to(secret)
    for id in (studio.picture_id(person, folder / "a.png"), studio.photo_id(person, "a.png")):
        with pytest.raises(NotFound):
            studio.picture(person, id)


def test_a_picture_replaced_by_a_link_is_gone(studio: Studio, tmp_path: Path) -> None:
    person = studio.create(ANN, "Ann")
    photo = person.folder / "photos" / "a.png"
    photo.write_bytes(b"1")
    id = studio.photo_id(person, "a.png")
    assert studio.photo(person, id) == photo
    photo.unlink()
    (tmp_path / "secret.png").write_bytes(b"secret")
    photo.symlink_to(tmp_path / "secret.png")
    with pytest.raises(NotFound):
        studio.photo(person, id)


def test_a_demo_that_was_only_begun_gets_its_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from portrait_lora import recipe

    taken: list[int] = []

    def take(folder: Path, person_seed: int) -> None:
        taken.append(person_seed)
        (folder / "photos").mkdir()

    monkeypatch.setattr(recipe, "open_demo", take)
    studio = Studio(tmp_path / "home")
    begun = studio.begin_demo(OWNER, 7)
    assert studio.open_demo(OWNER, 7) == begun == studio.open_demo(OWNER, 7)
    assert taken == [7] and len(studio.people(OWNER)) == 1
