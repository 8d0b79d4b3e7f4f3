"""The check of passport photographs: sizes, backdrop, face, and generated portraits refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_lora import provenance
from portrait_lora.errors import InputError
from portrait_lora.synthetic.identity import sample_people
from portrait_lora.synthetic.taking import picture_of, plain_photo
from portrait_lora.tasks import finish, passport

_PACKAGE = """
def countries():
    rule = dict(dpi=300, background="White", bgColor="#ffffff", bgColorLabel="White",
                requirements=["Neutral expression"])
    return [
        dict(id="us", name="United States", documents=[
            dict(id="us-visa", name="Visa", slug="us-visa-photo", widthMm=51, heightMm=51,
                 widthPx=600, heightPx=600, **rule),
            dict(id="us-passport", name="Passport", slug="us-passport-photo", widthMm=51, heightMm=51,
                 widthPx=600, heightPx=600, **rule)]),
        dict(id="germany", name="Germany", documents=[
            dict(id="germany-passport", name="Passport", slug="germany-passport-photo", widthMm=35,
                 heightMm=45, widthPx=413, heightPx=531, **rule)])]
"""


@pytest.fixture(autouse=True)
def package(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts of passport-photo-specs 1.3 that are read, with two of its countries."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "passport_photo_specs.py").write_text(_PACKAGE)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(__import__("sys").modules, "passport_photo_specs", raising=False)


def _photo(path: Path, size: tuple[int, int] = (600, 600), shade: int = 250) -> Path:
    pixels = np.full((size[1], size[0], 3), shade, np.uint8)
    pixels[size[1] // 3 :, size[0] // 3 : 2 * size[0] // 3] = (190, 140, 120)
    Image.fromarray(pixels).save(path, quality=95)
    return path


def _failed(result: passport.PassportResult) -> list[str]:
    return [one.rule for one in result.checks if one.passed is False]


def test_sizes_and_backdrop(tmp_path: Path) -> None:
    fine = passport.check(_photo(tmp_path / "a.jpg"), "us", [])
    assert fine.passed
    assert fine.document == "United States, Passport"
    assert fine.by_eye == ("Neutral expression",)
    assert _failed(passport.check(_photo(tmp_path / "b.jpg", (500, 500)), "us", [])) == ["pixels"]
    assert _failed(passport.check(_photo(tmp_path / "c.jpg", (600, 700)), "us-visa", [])) == ["shape"]
    assert _failed(passport.check(_photo(tmp_path / "d.jpg", shade=90), "us", [])) == ["backdrop colour"]


def test_an_uneven_backdrop_fails(tmp_path: Path) -> None:
    path = _photo(tmp_path / "a.png")
    pixels = np.array(Image.open(path))
    pixels[:, :300] = np.minimum(pixels[:, :300], 215)
    Image.fromarray(pixels).save(path)
    assert _failed(passport.check(path, "us", [])) == ["even backdrop"]


def test_faces_are_not_checked_by_a_pack_of_another_world(tmp_path: Path) -> None:
    checks = {one.rule: one for one in passport.check(_photo(tmp_path / "a.jpg"), "us", []).checks}
    assert checks["one face"].passed is None
    assert "face_pack" in checks["one face"].needed


def test_a_face_is_checked_by_a_pack_that_knows_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    picture = picture_of(plain_photo(sample_people([3]), 3, 2)).resize((512, 658))
    picture.save(path, quality=95)
    settings = ["allow_synthetic_models=true"]
    checks = {one.rule: one.passed for one in passport.check(path, "germany", settings).checks}
    assert [checks[rule] for rule in ("one face", "centred", "upright", "whole head")] == [True] * 4
    picture.rotate(20).save(path, quality=95)
    assert "upright" in _failed(passport.check(path, "germany", settings))
    sideways = Image.new("RGB", (512, 658), "white")
    sideways.paste(picture, (170, 0))
    sideways.save(path, quality=95)
    assert "centred" in _failed(passport.check(path, "germany", settings))


def test_generated_and_finished_portraits_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    picture_of(plain_photo(sample_people([3]), 3, 0)).resize((192, 240)).save(
        path, pnginfo=provenance.png_info(None)
    )
    with pytest.raises(InputError, match="authorities accept photographs only: got trainedAlgorithmicMedia"):
        passport.check(path, "us", [])
    plain = tmp_path / "plain.png"
    Image.open(path).save(plain)
    done = finish.finish(plain, "noir", None, tmp_path, ["allow_synthetic_models=true"]).pictures[0].file
    with pytest.raises(InputError, match="a record of this program"):
        passport.check(Path(str(done)), "us", [])


def test_an_unknown_country_names_near_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Near: germany"):
        passport.check(_photo(tmp_path / "a.jpg"), "germny", [])


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passport, "_MODULE", "passport_photo_specs_not_there")
    with pytest.raises(InputError, match=r"portrait-lora\[passport\]"):
        passport.check(_photo(tmp_path / "a.jpg"), "us", [])
