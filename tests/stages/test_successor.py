"""A finished adapter stays whole and in use until its successor is whole; drawing never trains over one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from portrait_lora import manifest, recipe
from portrait_lora.errors import InputError, Interrupted
from portrait_lora.results import SelectResult, TrainingResult
from portrait_lora.stages.context import folder_digest
from portrait_lora.training import loop
from tests.conftest import REDUCED, Journey

pytestmark = pytest.mark.journey
OTHER = (*REDUCED, "training.exposures_per_photo=1", "training.learning_rate=0.001",
         "training.identity_weight=0", "generate.num_inference_steps=2")  # fmt: skip
"""Three steps; that lessons are kept over an interruption is a test of the journey."""
LAST = "step-000009"
"""The last checkpoint of the journey: twelve photos, three times each, four at a time."""
ADAPTER = "adapters/main/adapter.safetensors"


@pytest.fixture
def copy(journey: Journey, tmp_path: Path) -> Path:
    """A finished likeness that a test may change."""
    folder = tmp_path / "demo"
    shutil.copytree(journey.folder, folder)
    return folder


def tree(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.endswith(".lock"))
    return {p.relative_to(folder).as_posix(): manifest.sha256_file(p) for p in files}


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    update = loop.Run._update

    def interrupted(self: loop.Run, number: int) -> object:
        if number == step:
            raise KeyboardInterrupt
        return update(self, number)

    monkeypatch.setattr(loop.Run, "_update", interrupted)


def test_a_stopped_retraining_leaves_the_old_adapter_and_goes_on_to_the_same_bytes(
    copy: Path, monkeypatch: pytest.MonkeyPatch
):
    before = tree(copy / "adapters" / "main")
    assert f"checkpoints/{LAST}/adapter.safetensors" in before
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3)
        with pytest.raises(Interrupted):
            recipe.train(copy, overrides=OTHER)
    assert tree(copy / "adapters" / "main") == before
    # the old one is in use: nothing is trained or chosen anew
    assert recipe.run(copy, overrides=REDUCED).skipped == recipe.likeness.STAGES

    trained = recipe.train(copy, overrides=OTHER).of(TrainingResult)
    assert trained.resumed_from == 2
    manifest.verify(copy / "adapters" / "main")
    assert [p.name for p in (copy / "adapters").iterdir() if p.is_dir()] == ["main"]
    assert not tree(copy / "adapters/main/checkpoints").keys() & {f"{LAST}/adapter.safetensors"}
    stages = json.loads((copy / "reports" / "stages.json").read_text())
    assert stages["train"]["summary"]["checkpoints"] == list(trained.checkpoints)
    recipe.train(copy, overrides=[*OTHER, "run=undisturbed"])
    for name in ("adapter.safetensors", "adapter_comfy.safetensors", "metrics.jsonl", "selection.json"):
        assert (copy / "adapters/main" / name).read_bytes() == (
            copy / "adapters/undisturbed" / name
        ).read_bytes()


def test_what_fails_at_once_costs_nothing(copy: Path):
    before = tree(copy)
    with pytest.raises(InputError, match="prodigyopt"):
        recipe.train(copy, overrides=[*REDUCED, "training.optimizer=prodigy"])
    assert tree(copy) == before


@pytest.mark.parametrize("command", [recipe.generate, recipe.score])
@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("training.learning_rate=0.001", "training.learning_rate 0.003 became 0.001"),
        ("seed=4", "seed 0 became 4"),
    ],
)
def test_drawing_never_trains_over_an_adapter(copy: Path, command, setting: str, named: str):
    before = tree(copy)
    with pytest.raises(InputError, match=f"trained differently: got {named}; needed.*portrait-lora train"):
        command(copy, overrides=[*REDUCED, setting])
    assert tree(copy) == before


def test_another_base_and_changed_photos_are_named(copy: Path):
    inputs = copy / "adapters/main/inputs.json"
    recorded = json.loads(inputs.read_text())
    inputs.write_text(json.dumps(recorded | {"base": "0" * 64}))
    with pytest.raises(InputError, match="got the base has other weights;"):
        recipe.generate(copy, overrides=REDUCED)
    inputs.write_text(json.dumps(recorded))
    captions = copy / "captions.csv"
    captions.write_text(captions.read_text().replace("ohwx", "ohwx, smiling", 1))
    with pytest.raises(InputError, match="photos, captions or crops have changed"):
        recipe.generate(copy, overrides=REDUCED)


def test_another_device_does_not_make_a_finished_adapter_another(copy: Path):
    run, stages = copy / "adapters/main", copy / "reports/stages.json"
    elsewhere = {"precision": "cuda:1 bf16"}  # as one of two processes once wrote it
    inputs = json.loads((run / "inputs.json").read_text()) | elsewhere
    (run / "inputs.json").write_text(json.dumps(inputs))
    sealed = manifest.read(run)
    assert sealed is not None
    manifest.finish(run, kind=sealed.kind, inputs=sealed.inputs, extra=sealed.extra)
    journal = json.loads(stages.read_text())
    journal["train"]["inputs"] |= elsewhere
    digests = [folder_digest(run / "checkpoints" / n) for n in journal["train"]["summary"]["checkpoints"]]
    journal["select"]["inputs"]["train"] = manifest.digest([journal["train"]["inputs"], digests])
    stages.write_text(json.dumps(journal))
    before = tree(copy / "adapters")
    assert recipe.generate(copy, overrides=REDUCED).of(SelectResult).selected_step
    assert tree(copy / "adapters") == before


def test_a_damaged_checkpoint_is_not_trained_again_by_drawing(copy: Path):
    (copy / "adapters/main/checkpoints" / LAST / "adapter.safetensors").write_bytes(b"damaged")
    before = tree(copy / "adapters")
    with pytest.raises(InputError, match="checkpoints of this adapter are missing or damaged"):
        recipe.generate(copy, overrides=REDUCED)
    assert tree(copy / "adapters") == before


def test_a_foreign_adapter_stays(copy: Path):
    own, foreign = (copy / ADAPTER).read_bytes(), b"of another tool"
    (copy / ADAPTER).write_bytes(foreign)
    recipe.generate(copy, overrides=REDUCED)
    assert (copy / ADAPTER).read_bytes() == own
    kept = list((copy / "adapters").rglob("*.kept-*"))
    assert [p.read_bytes() for p in kept] == [foreign]

    (copy / "adapters/new").mkdir()
    (copy / "adapters/new/adapter.safetensors").write_bytes(foreign)
    with pytest.raises(InputError, match="this adapter was not trained here"):
        recipe.generate(copy, overrides=[*OTHER, "run=new"])
    assert (copy / "adapters/new/adapter.safetensors").read_bytes() == foreign
    recipe.train(copy, overrides=[*OTHER, "run=new"])
    manifest.verify(copy / "adapters/new")
    assert [p.read_bytes() for p in (copy / "adapters/new").rglob("*.kept-*")] == [foreign]


def test_a_failed_selection_keeps_the_adapter_that_was_chosen_before(copy: Path, monkeypatch):
    from portrait_lora.stages import probing

    before = tree(copy / "adapters" / "main")

    def fail(*_: object) -> None:
        raise InputError("no power")

    monkeypatch.setattr(probing.Checkpoints, "score", fail)
    with pytest.raises(InputError, match="no power"):
        recipe.train(copy, overrides=[*REDUCED, "select.probes=3"])
    assert tree(copy / "adapters" / "main") == before
    manifest.verify(copy / "adapters" / "main")
