"""`dataset import` and `dataset export` through the command line."""

import json

import pytest
import yaml
from typer.testing import CliRunner

from portrait_lora.cli import app
from portrait_lora.dataset.build import build_dataset
from portrait_lora.dataset.curate import CurateSettings, curate
from portrait_lora.errors import ArtifactError, InputError

from .made_up import draw, embedding, report


@pytest.fixture
def likeness(tmp_path):
    root = tmp_path / "ann"
    (root / "photos").mkdir(parents=True)
    given = [
        report(root / "photos", i, pixels=draw(i, (420, 530)), embedding=embedding(1, i)) for i in range(6)
    ]
    curated = curate(given, CurateSettings(same_person_similarity=0.45))
    build_dataset(curated, root / "dataset", size_px=64, trigger="sks", subject="woman")
    return root


def call(*words):
    result = CliRunner().invoke(app, [str(w) for w in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_prepared_likeness_goes_out_and_comes_in_under_its_own_names(likeness, tmp_path):
    told = json.loads(
        call("dataset", "export", likeness, "--out", tmp_path / "out", "--repeats", 4, "--json")
    )
    assert (told["for"], told["crops"], told["kind"]) == ("kohya", 8, "woman")
    assert told["folder"].endswith("img/4_sks woman")
    text = call("dataset", "import", tmp_path / "out", tmp_path / "bea", "-s", "seed=3")
    assert "8 photos and 8 captions" in text
    assert f"Next: portrait-lora check {tmp_path / 'bea'}" in text
    config = yaml.safe_load((tmp_path / "bea/likeness.yaml").read_text("utf-8"))
    assert config["subject"]["trigger"] == "sks" and config["subject"]["kind"] == "woman"
    assert config["dataset"]["captions"]["captioner"] == "sidecar"
    assert config["seed"] == 3
    with pytest.raises(InputError, match="lives here already"):
        CliRunner().invoke(
            app, ["dataset", "import", str(tmp_path / "out"), str(tmp_path / "bea")], catch_exceptions=False
        )


def test_without_a_prepared_dataset_the_export_says_what_to_run(tmp_path):
    (tmp_path / "photos").mkdir()
    words = ["dataset", "export", str(tmp_path), "--out", str(tmp_path / "out")]
    with pytest.raises(ArtifactError, match="portrait-lora prepare"):
        CliRunner().invoke(app, words, catch_exceptions=False)
