"""End to end on the embedded default: photos in, measured portraits out."""

import json
import math
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from portrait_lora import manifest, recipe
from portrait_lora.errors import Interrupted, PhotosError
from portrait_lora.results import TrainingResult
from portrait_lora.synthetic.photos import read_truth
from tests.conftest import PERSON_SEED, REDUCED, Journey

pytestmark = pytest.mark.journey

FIELDS = {
    "seconds": {"check", "prepare", "train", "select", "generate", "score", "total"},
    "photos": {"given", "accepted", "rejected", "held_out"},
    "training": {"base", "steps", "samples", "final_loss", "selected_step"},
    "likeness": {
        "embedder",
        "adapter_mean",
        "ci95",
        "base_mean",
        "ceiling",
        "impostor",
        "share_of_ceiling",
        "face_found_rate",
        "verified_rate",
        "threshold",
        "copy_score",
    },
}


def test_run_json_has_every_field(journey: Journey):
    summary = json.loads((journey.folder / "reports" / "run.json").read_text(encoding="utf-8"))
    for section, names in FIELDS.items():
        assert names <= set(summary[section]), section
    assert {"portraits", "device", "versions"} <= set(summary)
    assert summary["portraits"] == 8
    for value in summary["likeness"].values():
        assert isinstance(value, str | list) or math.isfinite(value)


def test_every_planted_photo_is_rejected_with_its_code_and_no_good_one(journey: Journey):
    truth = read_truth(journey.folder / "studio.json")
    assert truth is not None and truth.person_seed == PERSON_SEED
    rejected = {r["file"]: r["codes"] for r in journey.summary["photos"]["rejected"]}
    assert set(rejected) == set(truth.planted)
    for file, code in truth.planted.items():
        assert code in rejected[file], f"{file}: {rejected[file]} instead of {code}"


def test_photos_are_held_out_before_training(journey: Journey):
    rows = (journey.folder / "dataset" / "train" / "metadata.jsonl").read_text().splitlines()
    held = (journey.folder / "dataset" / "holdout" / "metadata.jsonl").read_text().splitlines()
    trained = {json.loads(r)["source"] for r in rows}
    kept_apart = {json.loads(r)["source"] for r in held}
    assert len(kept_apart) == journey.summary["photos"]["held_out"] == 4
    assert not trained & kept_apart


def test_the_folder_is_a_likeness_folder(journey: Journey):
    for name in (
        "likeness.yaml",
        "captions.csv",
        "adapters/main/adapter.safetensors",
        "adapters/main/adapter_comfy.safetensors",
        "adapters/main/metrics.jsonl",
        "portraits/headshots/contact_sheet.jpg",
        "reports/check.html",
        "reports/drift.html",
        "reports/drift.json",
    ):
        assert (journey.folder / name).is_file(), name
    for name in ("dataset", "adapters/main", "portraits/headshots"):
        manifest.verify(journey.folder / name)
    saved = sorted(p.name for p in (journey.folder / "adapters" / "main" / "checkpoints").iterdir())
    steps = journey.summary["training"]["steps"]
    begins = steps - round(steps / 4)  # of the identity loss
    assert saved == [f"step-{step:06d}" for step in (steps // 3, steps * 2 // 3, begins, steps)]


def test_the_pages_name_every_photo_and_prompt(journey: Journey):
    check = (journey.folder / "reports" / "check.html").read_text(encoding="utf-8")
    for photo in (journey.folder / "photos").iterdir():
        assert photo.name in check
    drift = json.loads((journey.folder / "reports" / "drift.json").read_text(encoding="utf-8"))
    page = (journey.folder / "reports" / "drift.html").read_text(encoding="utf-8")
    assert len(drift["prompts"]) == 8
    for row in drift["prompts"]:
        assert row["prompt"] in page
    assert "embedding" not in json.dumps(drift).replace("embedder", "")


def test_a_second_run_skips_everything_and_changes_nothing(journey: Journey):
    before = {p: p.stat().st_mtime_ns for p in journey.folder.rglob("*") if p.is_file()}
    again = recipe.demo(journey.folder, PERSON_SEED, overrides=REDUCED)
    assert list(again.skipped) == ["check", "prepare", "train", "select", "generate", "score", "showcase"]
    assert again.showcase is not None
    assert again.showcase.json_value() | (
        own := dict.fromkeys(("portrait", "picture", "sheet", "seconds"), "")
    ) == (journey.summary["showcase"] | own)
    assert again.likeness.json_value() == journey.summary["likeness"]
    records = {journey.folder / "reports" / n for n in ("run.json", "stages.json")}
    after = {p: p.stat().st_mtime_ns for p in journey.folder.rglob("*") if p.is_file()}
    assert {p for p in before if after.get(p) != before[p]} <= records
    assert set(after) == set(before)


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
def test_everything_in_the_folder_is_its_owners_alone(journey: Journey):
    modes = {p: stat.S_IMODE(p.stat().st_mode) for p in (journey.folder, *journey.folder.rglob("*"))}
    assert {p.suffix for p in modes} >= {".png", ".html", ".safetensors", ".jpg", ".json", ".jsonl", ".csv"}
    assert [p for p, mode in modes.items() if mode != (0o700 if p.is_dir() else 0o600)] == []


def test_the_adapter_loads_without_our_code(journey: Journey):
    base = Path(recipe.__file__).parent / "assets" / "base"
    code = (
        "import gc, sys; gc.disable(); sys.modules['bitsandbytes'] = None\n"  # it takes seconds to import
        "from diffusers import StableDiffusionPipeline as P\n"
        f"p = P.from_pretrained({str(base)!r})\n"
        f"p.load_lora_weights({str(journey.folder / 'adapters/main/adapter.safetensors')!r})\n"
        "n = sum(hasattr(m, 'lora_A') and len(m.lora_A) > 0 for m in p.unet.modules())\n"
        "assert 'portrait_lora' not in sys.modules\n"
        "print(n)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) > 20


def test_portraits_say_that_they_are_generated(journey: Journey):
    from portrait_lora import provenance

    pictures = sorted((journey.folder / "portraits" / "headshots").glob("*.png"))
    assert len(pictures) == 8
    for picture in pictures:
        assert provenance.source_type(picture) == "trainedAlgorithmicMedia"
        assert Image.open(picture).size == (128, 128)


@pytest.fixture
def copy(journey: Journey, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    folder = tmp_path / "demo"
    shutil.copytree(journey.folder, folder)
    return folder


def test_a_damaged_picture_is_regenerated(copy: Path):
    picture = next((copy / "portraits" / "headshots").glob("*.png"))
    before = picture.read_bytes()
    picture.write_bytes(b"not a picture")
    again = recipe.run(copy, overrides=REDUCED)
    assert list(again.skipped) == ["check", "prepare", "train", "select", "score"]
    assert picture.read_bytes() == before  # same seed, same bytes


def test_an_interrupted_training_resumes_and_ends_the_same(copy: Path, monkeypatch: pytest.MonkeyPatch):
    """Interrupted at the last step, the identity loss being at work: it looks at the same portraits."""
    from portrait_lora.training import loop

    whole = (copy / "adapters" / "main" / "adapter.safetensors").read_bytes()
    update, calls = loop.Run._update, []
    last = json.loads((copy / "reports" / "run.json").read_text())["training"]["steps"]

    def interrupted(self: object, step: int) -> object:
        calls.append(step)
        if len(calls) == last:
            raise KeyboardInterrupt
        return update(self, step)  # type: ignore[arg-type]

    monkeypatch.setattr(loop.Run, "_update", interrupted)
    with pytest.raises(Interrupted):
        recipe.train(copy, overrides=REDUCED, force=True)
    assert len(calls) == last
    monkeypatch.setattr(loop.Run, "_update", update)
    assert recipe.train(copy, overrides=REDUCED).of(TrainingResult).resumed_from
    assert (copy / "adapters" / "main" / "adapter.safetensors").read_bytes() == whole


def test_three_photos_are_too_few_and_nothing_is_lost(copy: Path):
    for photo in sorted((copy / "photos").iterdir())[3:]:
        photo.unlink()
    kept = (copy / "adapters" / "main" / "adapter.safetensors").read_bytes()
    with pytest.raises(PhotosError, match="needed at least 5"):
        recipe.run(copy, overrides=REDUCED)
    assert (copy / "reports" / "check.html").is_file()
    assert (copy / "adapters" / "main" / "adapter.safetensors").read_bytes() == kept
