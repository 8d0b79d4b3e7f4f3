"""Reference photos in a likeness folder: which are shown, without training, to the byte again, and scored.

The base is a tiny random one in the layout of FLUX.2, at the resolution of the journey's dataset, so that its
check and its dataset hold for it.
"""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from portrait_lora import manifest, provenance, recipe
from portrait_lora.cli import app
from portrait_lora.dataset import build
from portrait_lora.errors import ConfigError, InputError
from portrait_lora.generation import in_context
from portrait_lora.likeness import open_likeness
from portrait_lora.results import CheckResult, GenerateResult, ScoreResult
from portrait_lora.stages import referring
from portrait_lora.stages.context import Context
from portrait_lora.tasks import edit as editing
from tests.conftest import REDUCED, Journey
from tests.tiny_families import make_tiny

pytestmark = pytest.mark.journey


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_tiny("flux2", tmp_path_factory.mktemp("flux2") / "base")
    file = folder / "transformer" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"sample_size": 16}))
    return folder


@pytest.fixture(scope="module")
def folder(journey: Journey, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(journey.folder, tmp_path_factory.mktemp("references") / "me"))


@pytest.fixture(scope="module")
def settings(base: Path) -> list[str]:
    small = ["generate.series=avatars", "generate.num_inference_steps=1", "generate.references=3"]
    return [*REDUCED, *small, f"base={base}"]


def _tree(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): manifest.sha256_file(p) for p in folder.rglob("*") if p.is_file()}


def _sources(folder: Path, split: str) -> dict[str, str]:
    """sha256 of a picture of the dataset -> the photo that it was made from."""
    rows = [json.loads(r) for r in (folder / "dataset" / split / "metadata.jsonl").read_text().splitlines()]
    place = folder / "dataset" / split
    return {manifest.sha256_file(place / row["file_name"]): row["source"] for row in rows}


def test_references_alone_need_no_training_and_leave_the_rest_alone(
    folder: Path, settings: list[str]
) -> None:
    shutil.move(folder / "adapters", folder.parent / "adapters")  # nothing was trained
    before = _tree(folder)
    result = recipe.generate(folder, overrides=settings, adapter=False).of(GenerateResult)
    shutil.move(folder.parent / "adapters", folder / "adapters")
    drawn = Path(result.folder)
    assert drawn.name == "avatars-references" and before.items() <= _tree(folder).items()
    trained, held = _sources(folder, "train"), _sources(folder, "holdout")
    rejected = Context(open_likeness(folder)).journal.result(CheckResult).photos.rejected
    codes = {code for one in rejected for code in one.codes}
    assert {"no_face", "other_person"} <= codes and len(rejected) > 4
    for file in sorted(drawn.glob("*.png")):
        record = provenance.read_record(file)
        shown = [trained[digest] for digest in in_context.recorded(record)]
        assert record["adapter_sha256"] is None and len(shown) == len(set(shown)) == 3
        assert not {*shown} & ({*held.values()} | {one.file for one in rejected})
    done = recipe.generate(folder, overrides=settings, adapter=False)
    assert done.of(GenerateResult) == result


def test_a_portrait_is_made_again_with_its_references_or_says_what_is_gone(
    folder: Path, settings: list[str], tmp_path: Path
) -> None:
    file = sorted((folder / "portraits" / "avatars-references").glob("*.png"))[0]
    digest = in_context.recorded(provenance.read_record(file))[1]
    crops = (folder / "dataset" / "train").glob("*.png")
    crop = next(path for path in crops if manifest.sha256_file(path) == digest)
    shutil.move(crop, tmp_path / "kept.png")
    with pytest.raises(InputError, match=r"1 of 3 reference photos.*--reference FILE"):
        editing.reproduce(file, None, None, settings)
    assert editing.reproduce(file, None, None, settings, references=[tmp_path / "kept.png"]).same
    shutil.move(tmp_path / "kept.png", crop)


def test_the_report_lies_apart_and_a_copied_reference_is_flagged(folder: Path, settings: list[str]) -> None:
    drawn = folder / "portraits" / "avatars-references"
    file, sealed = sorted(drawn.glob("*.png"))[0], manifest.read(drawn)
    digest = in_context.recorded(provenance.read_record(file))[0]
    crops = (folder / "dataset" / "train").glob("*.png")
    shutil.copy(next(path for path in crops if manifest.sha256_file(path) == digest), file)
    assert sealed is not None
    manifest.finish(drawn, kind="portraits", inputs=sealed.inputs, extra=sealed.extra, names=[*sealed.files])
    before = {
        name: (folder / "reports" / name).read_bytes() for name in ("drift.json", "run.json", "stages.json")
    }
    done = recipe.score(folder, overrides=settings, adapter=False).of(ScoreResult)
    assert Path(done.report) == folder / "reports" / "references" / "drift.html"
    assert done.series == "avatars-references" and "References alone" in Path(done.report).read_text()
    assert done.likeness.copy_score == 1 / len(list(drawn.glob("*.png")))
    assert before == {name: (folder / "reports" / name).read_bytes() for name in before}


def test_with_fewer_photos_all_are_shown_and_it_is_told_once(
    folder: Path, settings: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    crops = build.load_dataset_folder(folder / "dataset")[0]
    two = sorted({c.source for c in crops})[:2]
    few = [c for c in crops if c.source in two]
    monkeypatch.setattr(build, "load_dataset_folder", lambda _: (few, []))
    ctx = Context(open_likeness(folder, settings))
    with caplog.at_level(logging.WARNING, "portrait_lora"):
        assert {len(paths) for paths in ctx.references.values()} == {2} and len(ctx.references) > 1
        assert ctx.references
    assert [r.getMessage()[:40] for r in caplog.records].count(
        "3 reference photos were wanted, 2 can be"
    ) == 1
    monkeypatch.setattr(build, "load_dataset_folder", lambda _: ([], []))
    with pytest.raises(InputError, match="no photo can be shown"):
        referring.references_of(ctx, ctx.shots)


def test_what_cannot_be_is_refused_before_anything_is_done(folder: Path, settings: list[str]) -> None:
    before = _tree(folder)
    usual = ["generate.references=2"]
    for call in (recipe.generate, recipe.score):
        with pytest.raises(ConfigError, match=r"does not take reference photos.*got sd15; needed flux2"):
            call(folder, overrides=usual, adapter=False)
        with pytest.raises(ConfigError, match=r"nothing shows who.*--reference-photos N"):
            call(folder, overrides=[*settings, "generate.references=0"], adapter=False)
    done: Any = CliRunner().invoke(app, ["generate", str(folder), "--no-adapter", "--reference-photos", "9"])
    assert done.exit_code == 2 and _tree(folder) == before
