"""A series as others get it: marked twice, labelled for the EU, nothing without consent for the purpose."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from portrait_lora import manifest
from portrait_lora.errors import InputError
from portrait_lora.rights import consent, marks
from portrait_lora.tasks import deliver, outside
from portrait_lora.tasks.detect import detect
from portrait_lora.tasks.export import exported_to
from tests.tasks.made_up import make_likeness, noise

UNTIL = ("2999-01-01", "0" * 64, "file", "2026-11-30")


@pytest.fixture
def person(tmp_path: Path) -> Path:
    """A likeness folder with two portraits of an earlier version, and consent to portraits."""
    root = make_likeness(tmp_path / "anna")
    consent.write(root, consent.Consent("Ann", ("training", "portraits"), *UNTIL))
    return root


def test_delivered_for_the_eu_and_elsewhere(
    person: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Image.Image] = []
    label = deliver.labelled

    def noted(picture: Image.Image, faces: list[deliver.Box]) -> Image.Image:
        seen.append(picture)
        return label(picture, faces)

    monkeypatch.setattr(deliver, "labelled", noted)
    out = tmp_path / "eu"
    handed = deliver.deliver(person, out, series="headshots", audience="eu")
    assert len(seen) == len(handed.pictures) == 2
    assert all(row.labelled and row.credentials == "valid" for row in handed.pictures)
    text = (out / deliver.NAME).read_text(encoding="utf-8")
    assert json.loads(text) == json.loads(json.dumps(handed.json_value()))
    for row in handed.pictures:
        assert marks.is_watermarked(out / row.file) and manifest.sha256_file(out / row.file) == row.sha256
    assert exported_to(person) == [out], "forget knows where to look"
    recorded = {row.file for row in outside.written_for(person)}
    assert recorded == {str(path) for path in out.iterdir()}, "and for what"
    again = deliver.deliver(person, out, series="headshots", audience="eu")
    assert again == handed and len(list(out.iterdir())) == 3, "repeated, nothing is written twice"
    plain = deliver.deliver(person, tmp_path / "plain", series="headshots")
    assert not any(row.labelled for row in plain.pictures) and len(seen) == 4
    bare = deliver.deliver(person, tmp_path / "bare", series="headshots", audience="eu", label=False)
    assert not any(row.labelled for row in bare.pictures)


def test_without_consent_for_the_purpose_nothing_leaves(person: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not cover this purpose.*needed commercial"):
        deliver.deliver(person, tmp_path / "out", series="headshots", commercial=True)
    consent.write(person, consent.Consent("Ann", ("training",), *UNTIL))
    with pytest.raises(InputError, match="does not cover this purpose"):
        deliver.deliver(person, tmp_path / "out", series="headshots")
    (person / consent.NAME).unlink()
    with pytest.raises(InputError, match="no consent is recorded"):
        deliver.deliver(person, tmp_path / "out", series="headshots")
    assert not (tmp_path / "out").exists()


def test_a_series_for_commercial_use_asks_for_that_consent(
    person: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portrait_lora.generation.series.is_commercial", lambda name: True)
    with pytest.raises(InputError, match=r"does not cover this purpose.*needed commercial"):
        deliver.deliver(person, tmp_path / "out", series="headshots")


def test_finished_pictures_are_what_is_delivered_and_the_label_knows_the_faces(
    person: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = person / "portraits" / "headshots-finished" / "noir"
    look.mkdir(parents=True)
    finished = look / "one.png"
    finished.write_bytes(marks.encode(noise(7), "PNG", marks.DRAWN))
    monkeypatch.setattr(deliver.finish, "pictures_of", lambda folder: {"one": finished})
    boxes: list[list[deliver.Box]] = []
    monkeypatch.setattr(deliver, "labelled", lambda picture, faces: boxes.append(faces) or picture)
    face = SimpleNamespace(box_xyxy_px=(1.0, 2.0, 3.0, 4.0))
    monkeypatch.setattr(deliver.Context, "finder", SimpleNamespace(find=lambda rgb: [face]))
    handed = deliver.deliver(person, tmp_path / "out", series="headshots", audience="eu")
    assert handed.finished and [row.source for row in handed.pictures] == [
        "portraits/headshots-finished/noir/one.png"
    ]
    assert boxes == [[(1.0, 2.0, 3.0, 4.0)]]


def test_detect_reads_a_folder_and_names_what_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(marks.encode(noise(1).resize((40, 40)), "PNG", marks.DRAWN))
    (tmp_path / "b.png").write_bytes(b"no picture")
    rows = {Path(row.file).name: row for row in detect(tmp_path).files}
    assert rows["b.png"].verdict == "not read" and not rows["b.png"].generated
    signed = rows["a.png"].credentials
    assert rows["a.png"].verdict == "metadata alone" and rows["a.png"].generated
    assert signed is not None and signed.origin == "this machine" and signed.actions == ("c2pa.created",)
    with pytest.raises(InputError, match="not a picture"):
        detect(tmp_path / "b.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no pictures"):
        detect(tmp_path / "empty")
