"""What stands between a person and an hour of training is stated before it: consent, rights, downloads."""

from __future__ import annotations

import datetime as dt
import functools
import io
import json
import os
from pathlib import Path

import pytest
import typer

from portrait_lora import cli, config, provenance
from portrait_lora.commands import readiness
from portrait_lora.families import catalog
from portrait_lora.families.base_model import BaseModel
from portrait_lora.likeness import open_likeness
from portrait_lora.rights import consent
from portrait_lora.settings import CAPTION_ADVICE
from portrait_lora.tasks.propose import proposed_settings
from tests.tasks.made_up import make_likeness, noise


class Command:
    """Exit code and output of one command, run in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]):
        self._capsys = capsys
        self.out, self.err = "", ""

    def __call__(self, *arguments: str | Path) -> int:
        code = cli._run(functools.partial(cli.app, [str(a) for a in arguments]))
        self.out, self.err = self._capsys.readouterr()
        assert "Traceback" not in self.err
        return code


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "0")  # set, so that what --offline sets is undone
    return Command(capsys)


def test_photographs_need_consent_before_anything_is_trained(call: Command, tmp_path: Path) -> None:
    from portrait_lora.stages import Context, train

    folder = make_likeness(tmp_path / "anna")
    with pytest.raises(Exception, match="no consent is recorded"):
        train.train(Context(open_likeness(folder)))


def test_a_download_is_shown_and_needs_confirmation(call: Command, tmp_path: Path) -> None:
    folder = make_likeness(tmp_path / "anna", base="sdxl")
    (folder / "likeness.yaml").write_text("base: sdxl\nface_pack: auraface\n")
    assert call("run", folder, "--i-am-the-subject") == 2
    assert "sdxl: about 13.9 GB, about 9 min" in call.err and "openrail++" in call.err
    assert "auraface: about 0.3 GB" in call.err
    assert f"portrait-lora pull sdxl auraface --into {folder}" in call.err
    recorded = consent.read(folder)
    assert recorded is not None and recorded.by == "subject"
    assert call("run", folder, "--offline") == 2
    assert "network is disabled" in call.err
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert not (folder / "portrait-lora.lock").exists()


class Person:
    """Somebody at a terminal, who answers one question."""

    def __init__(self, answer: str):
        self._answer = answer

    def isatty(self) -> bool:
        return True

    def readline(self, *_: object) -> str:
        return f"{self._answer}\n"


@pytest.mark.parametrize(("answer", "fetched"), [("n", []), ("y", ["sdxl", "auraface"])])
def test_a_person_confirms_and_the_answer_counts(
    answer: str, fetched: list[str], call: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from portrait_lora.tasks import pull

    folder, taken = make_likeness(tmp_path / "anna"), []
    monkeypatch.setattr(pull, "pull", lambda name, *_: taken.append(name))
    monkeypatch.setattr("sys.stdin", Person(answer))
    if answer == "n":
        with pytest.raises(typer.Abort):
            readiness.fetch_missing(["sdxl", "auraface"], folder, yes=False, offline=False)
    else:
        readiness.fetch_missing(["sdxl", "auraface"], folder, yes=False, offline=False)
    assert taken == fetched


def test_a_captioning_model_needs_confirmation_like_a_base(call: Command, tmp_path: Path) -> None:
    folder = make_likeness(tmp_path / "anna")
    blip = ("-s", "dataset.captions.captioner=blip")
    assert call("run", folder, "--i-am-the-subject", *blip) == 2
    assert "Salesforce/blip-image-captioning-base: about 1.0 GB" in call.err
    assert "hf download Salesforce/blip-image-captioning-base" in call.err
    own = "dataset.captions.model=me/mine"
    assert call("run", folder, "--offline", *blip, "-s", own) == 2
    assert "me/mine: size not known" in call.err and "network is disabled" in call.err


@pytest.mark.parametrize("base", catalog.bases(), ids=lambda b: b.name)
def test_one_name_shows_every_field_of_the_catalogue(base: BaseModel, call: Command) -> None:
    assert call("models", base.name) == 0
    for part in (base.repo, base.generate_repo, base.licence, base.licence_url, base.terms, base.recipe):
        assert part in call.out
    assert f"{base.steps} steps, guidance {base.guidance_scale:g}, {base.resolution_px} px" in call.out
    assert base.synthetic or "never run with its real weights" in call.out
    assert f"may be sold?   {base.commercial}." in call.out
    assert ("log in first?  yes" in call.out) == base.gated
    assert call("models", base.name, "--json") == 0
    assert json.loads(call.out)["model"]["unverified"] == list(base.unverified)


def test_one_name_shows_everything_about_a_pack_and_a_typo_is_an_error(call: Command) -> None:
    assert call("models", "buffalo_l") == 0
    assert "no, not even for measuring" in call.out and "non-commercial research only" in call.out
    assert "selects with" in call.out and "antelopev2-glintr100" in call.out and "pose" in call.out
    assert call("models", "sd1.5") == 2
    assert "Did you mean 'sd15'" in call.err


def test_the_rights_are_shown_and_commercial_use_is_refused(call: Command, tmp_path: Path) -> None:
    settings = config.load(None, ["base=flux1-dev", "commercial=true"])
    with pytest.raises(Exception, match="commercial use is requested"):
        readiness.show_rights(settings)
    readiness.show_rights(config.load(None, []))
    with pytest.raises(Exception, match="two consents"):
        readiness.record_consent(tmp_path, True, tmp_path / "x", "")


def test_init_chooses_and_says_why(call: Command, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    noise(1).save(tmp_path / "photos" / "a.png")
    anna = tmp_path / "anna"
    options = ("--photos", tmp_path / "photos", "--commercial", "--i-am-the-subject", "-s", "device=cpu")
    assert call("init", anna, *options, "--json") == 0
    summary = json.loads(call.out)
    assert [d["name"] for d in summary["downloads"]] == ["sd15", "auraface"]
    assert CAPTION_ADVICE in summary["reasons"] and "captioner to florence2" in CAPTION_ADVICE
    assert "commercial=true" in summary["chosen"] and any("no GPU" in r for r in summary["reasons"])
    settings = config.load(anna / "likeness.yaml")
    assert (settings.base, settings.face_pack, settings.commercial) == ("sd15", "auraface", True)
    assert (anna / consent.NAME).is_file()
    ben = tmp_path / "ben"
    assert (
        call("init", ben, "--photos", tmp_path / "photos", "-s", "base=z-image", "-s", "face_pack=sface") == 0
    )
    assert "before training: " in call.out and "--i-am-the-subject" in call.out, "what is asked for later"
    assert "downloads needed first:" in call.out and "sface: about" in call.out
    settings = config.load(ben / "likeness.yaml")
    assert (settings.base, settings.face_pack, settings.training.rank) == ("z-image", "sface", 32)


def test_init_recommends_a_captioning_model_for_photographs_only(tmp_path: Path) -> None:
    noise(1).save(tmp_path / "a.png")
    assert CAPTION_ADVICE in proposed_settings(tmp_path, [])[1]
    decided = ["dataset.captions.captioner=attributes"]
    assert CAPTION_ADVICE not in proposed_settings(tmp_path, decided)[1]
    buffer = io.BytesIO()
    noise(1).save(buffer, "PNG")
    (tmp_path / "a.png").write_bytes(provenance.studio_marked(buffer.getvalue()))
    assert CAPTION_ADVICE not in proposed_settings(tmp_path, [])[1]


def test_care_commands_answer_in_json(call: Command, tmp_path: Path) -> None:
    folder = make_likeness(tmp_path / "anna")
    consent.write(folder, consent.of_subject("Anna", dt.date.today()))
    assert call("models", "--json") == 0
    listing = json.loads(call.out)
    assert len(listing["models"]) >= 15 and len(listing["face_packs"]) == 5
    assert call("export", folder, "--for", "kohya", "--json") == 0
    assert json.loads(call.out)["layers"] == 1
    assert call("inspect", folder / "exports" / "kohya" / "likeness.safetensors", "--json") == 0
    assert json.loads(call.out)["kind"] == "adapter"
    assert call("pull", "embedded", "--into", folder, "--json") == 0
    assert json.loads(call.out)["models"] == []
    assert call("export", folder, "--for", "comfy", "--name", "../x") == 2
    assert call("forget", folder, "--photos") == 2
    assert "--yes" in call.err and (folder / "photos").is_dir()
    assert call("forget", folder, "--photos", "--yes", "--json") == 0
    assert json.loads(call.out)["residual_files"] == 0 and not (folder / "photos").exists()
    assert call("gallery", "embedded", "--people", tmp_path) == 2
