"""`train --dry-run`, and what training says at its end, for people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from portrait_lora import summaries
from portrait_lora.cli import app


def _invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout


@pytest.fixture
def likeness(tmp_path: Path) -> Path:
    """A folder with photos, never opened: planning counts them."""
    (tmp_path / "photos").mkdir()
    for i in range(12):
        (tmp_path / "photos" / f"{i}.png").write_bytes(b"a picture")
    return tmp_path


def test_a_dry_run_tells_and_trains_nothing(likeness: Path) -> None:
    code, out = _invoke("train", str(likeness), "--dry-run", "-s", "device=cpu")
    assert code == 0
    assert "450 steps of batch 4" in out and "memory: about" in out and "disk:   about" in out
    assert "not prepared yet" in out and "Next: portrait-lora train" in out
    assert not (likeness / "adapters").exists() and not (likeness / "dataset").exists()


def test_a_dry_run_for_programs(likeness: Path) -> None:
    asked = ("-s", "device=cpu", "-s", "training.micro_batch=2", "-s", "training.gradient_checkpointing=on")
    code, out = _invoke("train", str(likeness), "--dry-run", "--json", *asked)
    told = json.loads(out)
    assert code == 0 and told["fits"] and not told["prepared"]
    assert (told["steps"], told["micro_batch"], told["gradient_checkpointing"]) == (450, 2, True)
    assert told["seconds"] >= 0 and 0 < told["disk_gb"] < told["disk_free_gb"]


def test_the_end_of_training_for_people() -> None:
    lines = summaries.of_train(
        {
            "steps": 6, "samples": 24, "final_loss": 0.5, "selected_step": 3, "adapter": "a.safetensors",
            "checkpoints": ["step-000003", "step-000006"],
            "probes": [{"step": 3, "mean": 0.6}, {"step": 6, "mean": 0.5}],
        }
    )  # fmt: skip
    assert lines[1] == "kept step 3 (probe similarity by step: 3: 0.600, 6: 0.500)"
