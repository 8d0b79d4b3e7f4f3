"""Photographs need somebody's consent, and it has to cover the use today."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from portrait_lora.commands import care, readiness
from portrait_lora.errors import ArtifactError, ConfigError, InputError
from portrait_lora.generation import publish
from portrait_lora.likeness import open_likeness
from portrait_lora.rights import consent
from portrait_lora.stages.context import Context
from portrait_lora.stages.generate import generate, purposes_of
from portrait_lora.tasks import exchange, finished
from tests.tasks.made_up import make_likeness, noise

TODAY = dt.date(2026, 11, 21)
GOOD = "who: Anna\npurposes: [training, portraits]\nuntil: 2027-01-31\nstatement: I agree.\n"


def require(folder: Path, *, commercial: bool = False, today: dt.date = TODAY) -> None:
    consent.require(folder, folder / "photos", commercial=commercial, today=today)


def test_studio_pictures_need_none_and_photographs_do(tmp_path: Path) -> None:
    require(make_likeness(tmp_path / "studio", studio=True))
    with pytest.raises(InputError, match="--i-am-the-subject") as caught:
        require(make_likeness(tmp_path / "real"))
    assert caught.value.exit_code == 2


def test_the_subject_agrees_for_a_year(tmp_path: Path) -> None:
    folder = make_likeness(tmp_path / "me")
    consent.write(folder, consent.of_subject("Anna", TODAY))
    require(folder, commercial=True)
    agreement = consent.read(folder)
    assert agreement is not None and agreement.until == "2027-11-21" and len(agreement.statement_sha256) == 64
    with pytest.raises(InputError, match="expired"):
        require(folder, today=dt.date(2027, 11, 22))


def test_photos_that_are_added_later_are_not_covered(tmp_path: Path) -> None:
    folder = make_likeness(tmp_path / "me")
    consent.write(folder, consent.of_subject("Anna", TODAY))
    first = folder / "photos" / "anna_0.png"
    first.rename(first.with_name("renamed.png"))
    (folder / "photos" / "anna_1.png").unlink()
    (folder / "photos" / "anna_2.txt").write_text("a caption")
    require(folder)
    (folder / "photos" / "IMG_1.HEIC").write_bytes(b"another photo, in a format that nobody reads here")
    with pytest.raises(InputError, match=r"does not cover these photos.*1 of 3 photos, such as IMG_1.HEIC"):
        require(folder)
    consent.write(folder, consent.of_subject("Anna", TODAY))
    require(folder)


def test_a_record_of_an_earlier_version_names_no_photos(tmp_path: Path) -> None:
    folder = make_likeness(tmp_path / "me")
    record = asdict(consent.of_subject("Anna", TODAY))
    del record["photos"]
    (folder / consent.NAME).write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"lists no photos.*--i-am-the-subject"):
        require(folder)


@pytest.mark.parametrize("name", ["IMG_1.HEIC", "IMG_2.jpg", "IMG_3", "IMG_4.jxl"])
def test_a_file_that_nobody_can_read_is_no_studio_picture(tmp_path: Path, name: str) -> None:
    folder = make_likeness(tmp_path / "studio", studio=True)
    (folder / "photos" / name).write_bytes(b"\0\0\0\x18ftypheic and no more")
    with pytest.raises(InputError, match="no consent is recorded"):
        require(folder)
    with pytest.raises(InputError, match="no consent is recorded"):
        consent.require_valid(folder)


def test_what_is_handed_on_needs_a_consent_that_has_not_ended(tmp_path: Path) -> None:
    consent.require_valid(make_likeness(tmp_path / "studio", studio=True))
    folder = make_likeness(tmp_path / "me")
    consent.write(folder, consent.of_subject("Anna", TODAY))
    consent.require_valid(folder, today=TODAY)
    with pytest.raises(InputError, match="expired"):
        consent.require_valid(folder, today=dt.date(2027, 11, 22))


DOORS: dict[str, Callable[[Path], object]] = {
    "generate": lambda folder: generate(Context(open_likeness(folder))),
    "fix, vary and reproduce": lambda folder: finished.open_picture(picture_in(folder), folder, []),
    "dataset export": lambda folder: exchange.export_dataset(folder, folder / "out", 1),
    "publish": lambda folder: publish.publish([picture_in(folder)], folder / "out"),
    "export": lambda folder: care.export(folder, "diffusers"),
}


def picture_in(folder: Path) -> Path:
    file = folder / "portraits" / "headshots" / "a.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    noise(1).save(file)
    return file


@pytest.mark.parametrize("door", DOORS)
def test_nothing_is_drawn_or_handed_on_once_the_consent_has_ended(tmp_path: Path, door: str) -> None:
    folder = make_likeness(tmp_path / "me")
    consent.write(folder, consent.of_subject("Anna", TODAY - dt.timedelta(days=3650)))
    with pytest.raises(InputError, match="expired"):
        DOORS[door](folder)


@pytest.mark.parametrize("door", DOORS)
def test_each_use_asks_for_its_purpose_and_names_the_command(tmp_path: Path, door: str) -> None:
    folder = make_likeness(tmp_path / "my me")
    trains = door in ("dataset export", "export")
    missing, has = ("training", "portraits") if trains else ("portraits", "training")
    consent.write(folder, replace(consent.of_subject("Anna", dt.date.today()), purposes=(has, "commercial")))
    with pytest.raises(InputError, match="does not cover this purpose") as refused:
        DOORS[door](folder)
    assert refused.value.needed == missing
    assert f"portrait-lora check '{folder}' --consent FILE" in refused.value.remedy


def test_a_series_of_a_commercial_purpose_is_drawn_with_consent_to_it(tmp_path: Path) -> None:
    folder = make_likeness(tmp_path / "me")
    sheet = tmp_path / "campaign.yaml"
    sheet.write_text("series: campaign\npurpose: commercial\nshots:\n- {name: a, prompt: a portrait}\n")
    mine = consent.of_subject("Anna", dt.date.today())
    consent.write(folder, replace(mine, purposes=("training", "portraits")))
    ctx = Context(open_likeness(folder, [f"generate.series={sheet}"]))
    with pytest.raises(InputError, match="does not cover this purpose") as refused:
        generate(ctx)
    assert refused.value.needed == "commercial"
    assert purposes_of(Context(open_likeness(folder))) == ("portraits",)
    sheet.write_text(sheet.read_text().replace("commercial", "fun"))
    with pytest.raises(ConfigError, match="no such purpose"):
        purposes_of(ctx)


def test_check_records_what_was_agreed_to(tmp_path: Path) -> None:
    folder = make_likeness(tmp_path / "me")
    agreed = tmp_path / "agreed.yaml"
    agreed.write_text("who: Ann\nguardian: Eve\npurposes: [portraits]\nuntil: 2999-01-01\nstatement: we do\n")
    readiness.record_for(folder, [], False, agreed)
    consent.require_purposes(folder, "portraits")
    assert consent.of_a_minor(folder)
    with pytest.raises(InputError, match="recorded in a likeness folder"):
        readiness.record_for(tmp_path, [], False, agreed)


def test_a_file_says_for_what(tmp_path: Path) -> None:
    folder, file = make_likeness(tmp_path / "anna"), tmp_path / "consent.yaml"
    file.write_text(GOOD)
    consent.write(folder, consent.of_file(file, TODAY))
    require(folder)
    with pytest.raises(InputError, match="does not cover"):
        require(folder, commercial=True)
    assert "I agree" not in (folder / consent.NAME).read_text()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "who: Anna\n",
        GOOD + "extra: 1\n",
        GOOD.replace("Anna", "''"),
        GOOD.replace("training", "everything"),
        GOOD.replace("[training, portraits]", "training"),
        GOOD.replace("2027-01-31", "next year"),
        GOOD.replace("2027-01-31", "2027-06-31"),
        GOOD.replace("2027-01-31", "null"),
        GOOD.replace("Anna", "true"),
        GOOD.replace("I agree.", "''"),
        "who: [\n",
    ],
)
def test_an_incomplete_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "consent.yaml").write_text(text)
    with pytest.raises(InputError):
        consent.of_file(tmp_path / "consent.yaml", TODAY)


def test_a_damaged_record_is_an_error(tmp_path: Path) -> None:
    good = asdict(consent.of_subject("Anna", TODAY))
    assert consent.write(tmp_path, consent.of_subject("Anna", TODAY)).is_file() and consent.read(tmp_path)
    wrong = [good | {"until": None}, good | {"until": 20270131}, good | {"purposes": [7]}, {"who": "x"}, []]
    nan = json.dumps({**good, "until": float("nan")})
    for value in ("{", "[" * 200_000, nan, "null", *map(json.dumps, wrong), json.dumps({"purposes": 3})):
        (tmp_path / consent.NAME).write_text(value)
        with pytest.raises(ArtifactError, match=r"damaged|not valid JSON"):
            consent.read(tmp_path)


def test_a_key_that_stands_twice_widens_nothing(tmp_path: Path) -> None:
    (tmp_path / "consent.yaml").write_text(GOOD + "purposes: [training, portraits, commercial]\n")
    with pytest.raises(InputError, match=r"'purposes' stands twice: got lines \d and \d"):
        consent.of_file(tmp_path / "consent.yaml", TODAY)


@pytest.mark.parametrize(("who", "kept"), [("No", "No"), ("007", "007"), ("2024", "2024"), ("1.10", "1.10")])
def test_a_name_is_kept_as_it_was_written(tmp_path: Path, who: str, kept: str) -> None:
    (tmp_path / "consent.yaml").write_text(GOOD.replace("Anna", who))
    assert consent.of_file(tmp_path / "consent.yaml", TODAY).who == kept
