"""`dataset import` and `dataset export` through the command line."""

import datetime as dt
import json

import pytest
import yaml
from typer.testing import CliRunner

from portrait_lora.cli import app
from portrait_lora.dataset.build import build_dataset
from portrait_lora.dataset.curate import curate
from portrait_lora.errors import ArtifactError, InputError, PortraitError
from portrait_lora.likeness import open_likeness
from portrait_lora.rights import consent
from portrait_lora.tasks import exchange

from .made_up import SAME, draw, embedding, report, save


@pytest.fixture
def likeness(tmp_path):
    root = tmp_path / "ann"
    (root / "photos").mkdir(parents=True)
    reports = [
        report(root / "photos", i, pixels=draw(i, (420, 530)), embedding=embedding(1, i)) for i in range(6)
    ]
    curated = curate(reports, SAME)
    build_dataset(curated, root / "dataset", size_px=64, trigger="sks", subject="woman")
    consent.write(root, consent.of_subject("Ann", dt.date.today()))
    return root


def call(*words):
    result = CliRunner().invoke(app, [str(w) for w in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_prepared_likeness_goes_out_and_comes_in_under_its_own_names(likeness, tmp_path):
    summary = json.loads(
        call("dataset", "export", likeness, "--out", tmp_path / "out", "--repeats", 4, "--json")
    )
    assert (summary["for"], summary["crops"], summary["kind"]) == ("kohya", 8, "woman")
    assert summary["folder"].endswith("img/4_sks woman")
    text = call("dataset", "import", tmp_path / "out", tmp_path / "bea", "-s", "seed=3")
    assert "8 photos and 8 captions" in text
    assert f"Next: portrait-lora check {tmp_path / 'bea'}" in text
    config = yaml.safe_load((tmp_path / "bea/likeness.yaml").read_text("utf-8"))
    assert config["subject"]["trigger"] == "sks" and config["subject"]["kind"] == "woman"
    assert config["dataset"]["captions"]["captioner"] == "sidecar"
    assert config["seed"] == 3
    again = ["dataset", "import", tmp_path / "out", tmp_path / "bea"]
    assert call(*again, "-s", "seed=3") == text  # stopped at its very end, it was given once more
    assert "lives here already" in refused(*again)
    next(p for p in (tmp_path / "bea/photos").iterdir()).write_bytes(b"another photo")
    assert "already" in refused(*again, "-s", "seed=3")
    (tmp_path / "bea/likeness.yaml").unlink()
    assert "lives here already" in refused(*again)


def kohya_set(folder, subject="10_sks woman", names=("a.png", "b.png")):
    """A dataset of another trainer, whose captions come from files beside the pictures."""
    (folder / subject).mkdir(parents=True)
    for name in names:
        (folder / subject / name).write_bytes(save(folder / "picture.png", draw(1)).read_bytes())
        (folder / subject / name).with_suffix(".txt").write_text("sks woman")
    (folder / "picture.png").unlink()
    return folder


def refused(*words):
    result = CliRunner().invoke(app, [str(w) for w in words])
    assert isinstance(result.exception, PortraitError), result.exception
    return str(result.exception)


def test_an_import_that_fails_leaves_nothing_in_the_way_of_the_next(tmp_path):
    source = tmp_path / "set"
    (source / "train").mkdir(parents=True)
    for name in ("a.png", "b.png"):
        save(source / "train" / name, draw(1))
    rows = [{"file_name": "a.png", "text": "sks woman"}, {"file_name": "b.png", "text": "half a face \ud83d"}]
    table = source / "train" / "metadata.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "metadata.jsonl:2: " in refused("dataset", "import", source, tmp_path / "me")
    assert "invalid value" in refused("dataset", "import", source, tmp_path / "me", "-s", "seed=none")
    assert not (tmp_path / "me" / "photos").exists() and not (tmp_path / "me" / "likeness.yaml").exists()
    table.write_text(json.dumps(rows[0]) + "\n")
    assert "2 photos and 1 captions" in call("dataset", "import", source, tmp_path / "me")


def test_an_import_that_was_stopped_before_the_photos_took_their_name_is_repeated(tmp_path, monkeypatch):
    source = kohya_set(tmp_path / "set")

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.rename", stopped)
    with pytest.raises(KeyboardInterrupt):
        exchange.import_dataset(source, tmp_path / "me")
    monkeypatch.undo()
    assert exchange.import_dataset(source, tmp_path / "me").photos == 2
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "likeness.yaml").write_text("seed: 4\n")
    with pytest.raises(InputError, match="another configuration"):
        exchange.import_dataset(source, tmp_path / "other")
    assert (tmp_path / "other" / "likeness.yaml").read_text() == "seed: 4\n"
    assert not (tmp_path / "other" / "photos").exists()


@pytest.mark.parametrize("trigger", ["o'hw\"x", "007", "ja:x", "#sks", "ünï"])
def test_a_trigger_with_quotes_or_digits_comes_in_as_it_is(tmp_path, trigger):
    source = kohya_set(tmp_path / "set", f"10_{trigger} woman")
    assert exchange.import_dataset(source, tmp_path / "me").trigger == trigger
    assert open_likeness(tmp_path / "me").config.subject.trigger == trigger


def test_names_as_long_as_a_disk_allows_are_imported(tmp_path):
    source = kohya_set(tmp_path / "set", names=("n" * 246 + ".png", "n" * 251 + ".png"))
    twin = source / "5_sks woman"
    twin.mkdir()
    save(twin / ("n" * 251 + ".png"), draw(1))
    assert exchange.import_dataset(source, tmp_path / "me").photos == 3


def test_without_a_prepared_dataset_the_export_says_what_to_run(tmp_path):
    (tmp_path / "photos").mkdir()
    words = ["dataset", "export", str(tmp_path), "--out", str(tmp_path / "out")]
    with pytest.raises(ArtifactError, match="portrait-lora prepare"):
        CliRunner().invoke(app, words, catch_exceptions=False)
