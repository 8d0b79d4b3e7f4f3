"""A checkpoint chosen by hand: kept whatever the probes say, recorded, shown, and taken back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from portrait_lora import manifest, recipe, summaries
from portrait_lora.errors import ConfigError
from portrait_lora.results import SelectResult, TrainingResult
from tests.conftest import REDUCED, Journey


@pytest.mark.journey
def test_it_is_kept_and_recorded_and_the_portraits_follow(journey: Journey, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    shutil.copytree(journey.folder, folder)
    run = folder / "adapters" / "main"
    steps = [int(p.name.split("-")[1]) for p in sorted((run / "checkpoints").glob("step-*"))]
    best = json.loads((run / "selection.json").read_text())["step"]
    other = next(step for step in steps if step != best)
    adapter = run / "adapter.safetensors"
    before, trained = manifest.sha256_file(adapter), (run / "metrics.jsonl").read_bytes()
    done = recipe.train(folder, overrides=[*REDUCED, f"select.step={other}"])
    result = done.of(SelectResult)
    assert (result.selected_step, result.best_step) == (other, best)
    assert f"kept step {other}, chosen by hand (probes: {best})" in "".join(
        summaries.of_train(done.of(TrainingResult), result)
    )
    there = run / "checkpoints" / f"step-{other:06d}" / "adapter.safetensors"
    assert manifest.sha256_file(adapter) == manifest.sha256_file(there) != before
    assert json.loads((run / "selection.json").read_text())["best_step"] == best
    assert (run / "metrics.jsonl").read_bytes() == trained  # nothing was trained again
    missing = steps[-1] + 1
    with pytest.raises(ConfigError, match=rf"no such checkpoint.*got {missing}"):
        recipe.train(folder, overrides=[*REDUCED, f"select.step={missing}"])
    recipe.train(folder, overrides=REDUCED)
    assert manifest.sha256_file(adapter) == before
    assert "best_step" not in json.loads((run / "selection.json").read_text())
