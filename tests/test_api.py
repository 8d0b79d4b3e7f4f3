"""The journey from Python: the methods call the stages, and read what those left."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import resources
from pathlib import Path
from xml.etree import ElementTree

import pytest

import portrait_lora
from portrait_lora import recipe
from portrait_lora.api import Likeness
from portrait_lora.errors import ArtifactError, InputError
from tests.conftest import Journey
from tests.tasks.made_up import make_likeness, noise

SVG = "{http://www.w3.org/2000/svg}"


def test_the_import_is_light_and_typed() -> None:
    heavy = "torch diffusers onnxruntime numpy PIL"
    probe = f"import sys, portrait_lora.api; print([m for m in '{heavy}'.split() if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert resources.files("portrait_lora").joinpath("py.typed").is_file()


def test_the_package_resolves_the_name_on_first_use() -> None:
    assert portrait_lora.Likeness is Likeness
    with pytest.raises(AttributeError, match="no attribute 'Portrait'"):
        portrait_lora.Portrait  # type: ignore[attr-defined]  # noqa: B018


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(2):
        noise(i).save(folder / f"{i}.png")
    return folder


def test_create_copies_records_the_consent_and_proposes_models(photos: Path, tmp_path: Path) -> None:
    me = Likeness.create(tmp_path / "me", photos, i_am_the_subject=True, settings=["training.rank=3"])
    assert {p.name for p in (me.folder / "photos").iterdir()} == {"0.png", "1.png"}
    assert json.loads((me.folder / "consent.json").read_text())["by"] == "subject"
    again = Likeness.open(me.folder)
    assert again.config.training.rank == 3 and again.config.face_pack == "auraface"
    assert Likeness.open(me.folder, settings=["training.rank=5"]).config.training.rank == 5
    with pytest.raises(InputError, match="a likeness here already"):
        Likeness.create(me.folder, photos)


def test_a_wrong_consent_is_refused_before_anything_is_copied(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two consents"):
        Likeness.create(tmp_path / "me", photos, i_am_the_subject=True, consent="anna.yaml")
    assert not (tmp_path / "me").exists()
    with pytest.raises(InputError, match="not a likeness folder"):
        Likeness.open(tmp_path)


def test_what_was_drawn_last_is_what_is_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, ...]] = []

    def note(name: str):
        return lambda folder, *, overrides, force: calls.append((name, *overrides)) or {}

    for name in ("generate", "score", "train"):
        monkeypatch.setattr(recipe, name, note(name))
    me = Likeness.open(make_likeness(tmp_path / "anna", studio=True), settings=["seed=4"])
    me.generate(prompts="as an astronaut", brand="example", aspect="2:3")
    me.score()
    me.train()
    (written,) = (me.folder / "portraits").glob("*.yaml")
    series = (f"generate.series={written}", "generate.brand=example")
    assert calls == [
        ("generate", "seed=4", *series),
        ("score", "seed=4", *series),
        ("train", "seed=4"),
    ]
    assert "aspect: '2:3'" in written.read_text() and "as an astronaut" in written.read_text()
    me.generate("drift")
    assert calls[-1] == ("generate", "seed=4", "generate.series=drift")
    for wrong in ({"series": "drift", "prompts": ["x"]}, {"series": "drift", "aspect": "2:3"}):
        with pytest.raises(InputError):
            me.generate(**wrong)


def test_a_series_that_was_refused_is_not_the_one_to_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path, *, overrides: list[str], force: bool) -> None:
        raise InputError("no")

    monkeypatch.setattr(recipe, "generate", refuse)
    me = Likeness.open(make_likeness(tmp_path / "anna", studio=True))
    with pytest.raises(InputError):
        me.generate("drift")
    assert [p.parent.name for p in me.portraits()] == ["headshots"] * 2


def test_training_for_sale_on_research_models_is_refused(tmp_path: Path) -> None:
    settings = ["commercial=true", "base=flux1-dev"]
    me = Likeness.open(make_likeness(tmp_path / "anna", studio=True), settings=settings)
    for start in (me.train, me.run):
        with pytest.raises(InputError, match="commercial use is requested"):
            start()


def test_a_missing_result_names_the_method_that_produces_it(photos: Path, tmp_path: Path) -> None:
    me = Likeness.create(tmp_path / "me", photos)
    for read, method in (
        (lambda: me.adapter, "train"),
        (me.portraits, "generate"),
        (me.contact_sheet, "generate"),
        (me.drift, "score"),
        (me.summary, "score"),
        (me.plot_loss, "train"),
    ):
        with pytest.raises(InputError, match=rf"Call {method}\(\)"):
            read()


def test_a_damaged_record_of_training_is_an_error(tmp_path: Path) -> None:
    me = Likeness.open(make_likeness(tmp_path / "anna"))
    metrics = me.folder / "adapters" / "main" / "metrics.jsonl"
    for text in ("", '{"step": 1}\n', "half a li"):
        metrics.write_text(text)
        with pytest.raises(ArtifactError, match="record of training"):
            me.plot_loss()


@pytest.mark.journey
def test_the_results_of_a_journey_are_at_hand(journey: Journey) -> None:
    me = Likeness.open(journey.folder)
    raw = json.loads((journey.folder / "reports" / "drift.json").read_text())
    report = me.drift()
    assert (report.mean, report.share_of_ceiling) == (raw["mean"], raw["share_of_ceiling"])
    assert [s.portrait for s in report.scores] == [p.name for p in me.portraits()]
    assert me.summary().portraits == len(me.pictures()) == journey.summary["portraits"]
    assert {picture.size for picture in me.pictures()} == {(128, 128)}
    assert me.contact_sheet().width > 128 and me.comparison().height > 3 * 64
    assert me.adapter.is_file()


@pytest.mark.journey
def test_the_plots_show_every_step_and_every_prompt(journey: Journey, tmp_path: Path) -> None:
    me = Likeness.open(journey.folder)
    steps = (journey.folder / "adapters" / "main" / "metrics.jsonl").read_text().splitlines()
    drawn = ElementTree.fromstring(me.plot_loss()._repr_svg_())
    each, smooth = (line.attrib["points"].split() for line in drawn.iter(f"{SVG}polyline"))
    assert len(each) == len(smooth) == len(steps)
    assert each[0] == smooth[0] and each[1:] != smooth[1:]
    report = me.drift()
    shown = ElementTree.parse(me.plot_similarity().save(tmp_path / "likeness.svg")).getroot()
    dots = [float(dot.attrib["cx"]) for dot in shown.iter(f"{SVG}circle")]
    assert len(dots) == 1 + len(report.prompts) and dots[1:] == sorted(dots[1:], reverse=True)
    words = [text.text for text in shown.iter(f"{SVG}text")]
    assert f"real photos {report.ceiling:.2f}" in words and "all prompts" in words
