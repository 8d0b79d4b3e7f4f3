"""What is delivered to whom: the accepted, with a consent that holds, and a table of all."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from portrait_lora import cli, manifest, provenance
from portrait_lora.errors import ArtifactError
from portrait_lora.fleet import deliver, roster
from portrait_lora.fleet.deliver import HEADER, TABLE, publish
from portrait_lora.rights import consent as consents
from portrait_lora.tasks import deliver as handing
from portrait_lora.tasks import outside
from portrait_lora.tasks.shard import files
from portrait_lora.tasks.shard.records import PersonRecord, PersonState
from tests.fleet.delivered import accepted
from tests.fleet.folders import SETTINGS, consent, listed, picture, pictures


def table(out: Path) -> list[dict[str, str]]:
    with (out / TABLE).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> roster.Roster:
    """Anna and Bo have portraits; in `home`."""
    pictures(tmp_path / "a", 3, 0)
    pictures(tmp_path / "b", 3, 100)
    consent(tmp_path / "anna.yaml")
    consent(tmp_path / "bo.yaml", "Bo")
    rows = [f"Anna Lee,a,anna.yaml,{SETTINGS},North", f"Bo,b,bo.yaml,{SETTINGS},=South"]
    read = listed(tmp_path, rows, "name,photos,consent,settings,group")
    accepted(read, tmp_path / "home", monkeypatch)
    return read


def test_everybody_gets_their_series_once(fleet: roster.Roster, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = publish(fleet, tmp_path / "home", out)
    assert result.count == 2
    names = [
        "anna-lee/portrait-001.jpg",
        "anna-lee/portrait-002.jpg",
        "bo/portrait-001.jpg",
        "bo/portrait-002.jpg",
    ]
    rows = table(out)
    assert [row["file"] for row in rows] == names
    assert tuple(rows[0]) == HEADER
    for row in rows:
        assert manifest.sha256_file(out / row["file"]) == row["sha256"]
        assert provenance.source_type(out / row["file"]) == provenance.TRAINED
        assert row["reason"] == ""
    assert rows[2]["group"] == "'=South"  # no formula in a spreadsheet
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.jpg")}
    assert publish(fleet, tmp_path / "home", out).people == result.people
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.jpg")} == before
    folder = files.folder(tmp_path / "home", "bo")
    assert {row.path.name for row in outside.written_for(folder)} == {"portrait-001.jpg", "portrait-002.jpg"}


def test_archives_hold_the_same(fleet: roster.Roster, tmp_path: Path) -> None:
    out = tmp_path / "out"
    publish(fleet, tmp_path / "home", out, "png", archives=True, only=["bo"])
    assert [row["file"] for row in table(out)] == ["bo.zip"]
    with zipfile.ZipFile(out / "bo.zip") as archive:
        assert archive.namelist() == ["portrait-001.png", "portrait-002.png"]
        assert archive.testzip() is None
    publish(fleet, tmp_path / "home", out, "png", archives=True)
    assert [row["file"] for row in table(out)] == ["anna-lee.zip", "bo.zip"]
    assert not list((tmp_path / "home").glob(".unpacked-*"))


def test_nobody_without_acceptance_or_consent(fleet: roster.Roster, tmp_path: Path) -> None:
    home, out = tmp_path / "home", tmp_path / "out"
    record = PersonRecord(person="anna-lee", digest="d", state=PersonState.NEEDS_PHOTOS)
    files.write(home, record)
    folder = files.folder(home, "bo")
    consent(tmp_path / "bo.yaml", "Bo", until="2020-01-01")
    consents.write(folder, consents.of_file(tmp_path / "bo.yaml", consents.dt.date.today()))
    result = publish(fleet, home, out)
    assert [one.reason for one in result.people] == [
        "not accepted (needs photos)",
        "the consent has expired (2020-01-01)",
    ]
    assert [row["reason"] for row in table(out)] == [one.reason for one in result.people]
    assert sorted(path.name for path in out.iterdir()) == [TABLE]


def test_a_series_for_commercial_use_asks_for_that_consent(
    fleet: roster.Roster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = files.folder(tmp_path / "home", "bo")
    consent(tmp_path / "bo.yaml", "Bo", purposes="training, portraits, commercial")
    consents.write(folder, consents.of_file(tmp_path / "bo.yaml", consents.dt.date.today()))
    monkeypatch.setattr("portrait_lora.generation.series.is_commercial", lambda name: True)
    result = publish(fleet, tmp_path / "home", tmp_path / "out")
    assert [bool(one.files) for one in result.people] == [False, True]
    assert result.people[0].reason == "the consent does not cover this purpose (training, portraits)"


def test_photos_that_came_after_the_consent_keep_one_back(fleet: roster.Roster, tmp_path: Path) -> None:
    home = tmp_path / "home"
    picture(files.folder(home, "bo") / "photos" / "new.png", 999)
    result = publish(fleet, home, tmp_path / "out")
    assert [bool(one.files) for one in result.people] == [True, False]
    assert "does not cover these photos" in result.people[1].reason


def test_a_later_delivery_keeps_the_rows_of_others(fleet: roster.Roster, tmp_path: Path) -> None:
    home, out = tmp_path / "home", tmp_path / "out"
    publish(fleet, home, out)
    publish(fleet, home, out, only=["bo"])
    assert [row["person"] for row in table(out)] == ["anna-lee", "anna-lee", "bo", "bo"]
    (out / TABLE).write_text("a,b\n1,2\n")
    with pytest.raises(ArtifactError, match="a table of something else"):
        publish(fleet, home, out)
    assert (out / TABLE).read_text() == "a,b\n1,2\n"


def test_forgetting_takes_one_out_of_every_delivery(fleet: roster.Roster, tmp_path: Path) -> None:
    home = tmp_path / "home"
    publish(fleet, home, tmp_path / "out")
    publish(fleet, home, tmp_path / "zips", archives=True)
    assert deliver.forget(home, "bo") == 3
    for out in (tmp_path / "out", tmp_path / "zips"):
        assert {row["person"] for row in table(out)} == {"anna-lee"}
        assert not [path for path in out.iterdir() if path.name.startswith("bo")]
    assert deliver.forget(home, "bo") == 0


def test_for_the_eu_everybody_has_the_label_and_a_record_of_it(
    fleet: roster.Roster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handing, "_faces", lambda ctx, picture: [])
    home, out = tmp_path / "home", tmp_path / "out"
    words = ["fleet", "publish", str(fleet.path), "--home", str(home), "--out", str(out), "--for", "eu"]
    done = CliRunner().invoke(cli.app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    publish(fleet, home, tmp_path / "plain")
    for person in ("anna-lee", "bo"):
        handed = json.loads((out / person / handing.NAME).read_text())
        assert (handed["audience"], handed["purpose"], handed["finished"]) == ("eu", "portraits", False)
        assert [row["labelled"] for row in handed["pictures"]] == [True, True]
        assert str(tmp_path) not in json.dumps(handed)  # it goes to others
        for row in handed["pictures"]:
            assert manifest.sha256_file(out / person / row["file"]) == row["sha256"]
            pair = [
                np.asarray(Image.open(place / person / row["file"])) for place in (out, tmp_path / "plain")
            ]
            assert np.abs(pair[0].astype(int) - pair[1]).max() > 100  # the label
        assert not (tmp_path / "plain" / person / handing.NAME).exists()
    assert [row["file"] for row in table(out)][:3] == [
        "anna-lee/portrait-001.jpg", "anna-lee/portrait-002.jpg", "anna-lee/delivery.json",
    ]  # fmt: skip
    before = table(out)
    publish(fleet, home, out, audience="eu")
    assert table(out) == before
    # one folder never holds pictures with the label and without
    turned: list[tuple[Path, handing.Audience]] = [(out, "anywhere"), (tmp_path / "plain", "eu")]
    for place, audience in turned:
        result = publish(fleet, home, place, audience=audience)
        assert {one.reason.split(" (")[0] for one in result.people} == {
            "copies for another audience are here"
        }
    publish(fleet, home, tmp_path / "zips", audience="eu", label=False, archives=True, only=["bo"])
    with zipfile.ZipFile(tmp_path / "zips/bo.zip") as archive:
        handed = json.loads(archive.read(handing.NAME))
    assert [row["labelled"] for row in handed["pictures"]] == [False, False]
