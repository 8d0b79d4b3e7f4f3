"""A series as others get it: marked twice, labelled for the EU, nothing without consent for the purpose."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_lora.errors import InputError
from portrait_lora.generation.label import place_of
from portrait_lora.rights import consent, marks
from portrait_lora.tasks import deliver
from portrait_lora.tasks.detect import detect
from tests.conftest import Journey

pytestmark = pytest.mark.journey


@pytest.fixture
def person(journey: Journey, tmp_path: Path) -> Path:
    return Path(shutil.copytree(journey.folder, tmp_path / "demo"))


def test_delivered_for_the_eu_and_elsewhere(
    person: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "labelled", lambda picture, faces: _noted(picture, faces, seen))
    seen: list[int] = []
    handed = deliver.deliver(person, tmp_path / "eu", audience="eu")
    assert len(seen) == len(handed.pictures) >= 4 and set(seen) == {1}, "each with its one face"
    assert all(row.labelled and row.credentials == "valid" for row in handed.pictures)
    written = json.loads((tmp_path / "eu" / deliver.NAME).read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(handed.json_value()))
    one = tmp_path / "eu" / handed.pictures[0].file
    assert marks.is_watermarked(one)
    plain = deliver.deliver(person, tmp_path / "plain")
    assert not any(row.labelled for row in plain.pictures) and len(seen) == len(handed.pictures)
    assert str(person) not in (tmp_path / "eu" / deliver.NAME).read_text(encoding="utf-8").replace(
        str(tmp_path / "eu"), ""
    )


def _noted(picture: Image.Image, faces: list[object], seen: list[int]) -> Image.Image:
    seen.append(len(faces))
    left, top, width, height = place_of(picture.size, [])
    pixels = np.asarray(picture).copy()
    pixels[top : top + height, left : left + width] = 0
    return Image.fromarray(pixels)


def test_without_consent_for_the_purpose_nothing_leaves(person: Path, tmp_path: Path) -> None:
    rest = ("2999-01-01", "0" * 64, "file", "2026-11-30")
    consent.write(person, consent.Consent("Ann", ("training", "portraits"), *rest))
    with pytest.raises(InputError, match=r"does not cover this purpose.*needed commercial"):
        deliver.deliver(person, tmp_path / "out", commercial=True)
    assert not (tmp_path / "out").exists()
    consent.write(person, consent.Consent("Ann", ("training",), *rest))
    with pytest.raises(InputError, match="does not cover this purpose"):
        deliver.deliver(person, tmp_path / "out")


def test_detect_reads_the_folder(person: Path, tmp_path: Path) -> None:
    (tmp_path / "few").mkdir()
    portrait = next((person / "portraits" / "headshots").glob("*.png"), None) or next(
        (person / "portraits").rglob("*.png")
    )
    shutil.copy(portrait, tmp_path / "few" / "a.png")
    (tmp_path / "few" / "b.png").write_bytes(b"no picture")
    rows = {Path(row.file).name: row for row in detect(tmp_path / "few").files}
    assert rows["b.png"].verdict == "not read" and rows["a.png"].generated
    signed = rows["a.png"].credentials
    assert signed is not None and signed.origin == "this machine" and signed.actions[0] == "c2pa.created"
