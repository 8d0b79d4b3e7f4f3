"""`train --dry-run`, and what training says at its end, for people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from portrait_lora import device, summaries
from portrait_lora.cli import app
from portrait_lora.errors import InputError
from portrait_lora.results import Probe, SelectResult, TrainingResult
from portrait_lora.training import preflight


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


def test_a_dry_run_reports_and_trains_nothing(likeness: Path) -> None:
    code, out = _invoke("train", str(likeness), "--dry-run", "-s", "device=cpu")
    assert code == 0
    assert "300 steps of batch 4" in out and "memory: about" in out and "disk:   about" in out
    assert "not prepared yet" in out and "Next: portrait-lora train" in out
    assert not (likeness / "adapters").exists() and not (likeness / "dataset").exists()


def test_a_dry_run_for_programs(likeness: Path) -> None:
    options = ("-s", "device=cpu", "-s", "training.micro_batch=2", "-s", "training.gradient_checkpointing=on")
    code, out = _invoke("train", str(likeness), "--dry-run", "--json", *options)
    plan = json.loads(out)
    assert code == 0 and plan["fits"] and not plan["prepared"]
    assert (plan["steps"], plan["micro_batch"], plan["gradient_checkpointing"]) == (300, 2, True)
    assert plan["seconds"] >= 0 and 0 < plan["disk_gb"] < plan["disk_free_gb"]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 25 GB without a GPU that does 0.05 TFLOP/s."""
    monkeypatch.setattr(preflight, "measured_tflops", lambda *_: 0.05)
    monkeypatch.setattr(device, "memory_gb", lambda _: 25.0)


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("flux1-dev", ("takes about 138 days", "needs about 53 GB of memory, and there are 25 GB")),
        ("sdxl", ("takes about 10 days",)),
    ],
)
def test_what_takes_months_or_does_not_fit_is_refused_with_what_would(
    likeness: Path, slow: None, base: str, words: tuple[str, ...]
) -> None:
    options = ["-s", "device=cpu", "-s", f"base={base}", "-s", "mixed_precision=no"]
    code, out = _invoke("train", str(likeness), "--dry-run", *options)
    assert code == 2 and all(w in out for w in words)
    assert "a GPU with" in out and "base=sd15 (about" in out
    for command in ("run", "train"):
        result = CliRunner().invoke(app, [command, str(likeness), "--i-am-the-subject", "--yes", *options])
        error = str(result.exception)
        assert isinstance(result.exception, InputError) and result.exception.exit_code == 2
        assert all(w in error for w in words) and "base=sd15" in error
    assert not (likeness / "portrait-lora.lock").exists()  # nothing was fetched


def test_a_long_run_is_allowed_when_it_is_wanted(likeness: Path, slow: None) -> None:
    options = ["-s", "device=cpu", "-s", "mixed_precision=no", "-s", "base=sdxl"]
    options += ["-s", "max_training_hours=2000"]
    code, out = _invoke("train", str(likeness), "--dry-run", *options)
    assert code == 0 and "about 10 days" in out
    code, out = _invoke("train", str(likeness), "--dry-run", *options[:-1], "max_training_hours=150")
    assert code == 2 and "training.exposures_per_photo=62 (about 6 days)" in out


def test_an_adapter_that_is_there_is_used_on_a_small_machine(likeness: Path, slow: None) -> None:
    """What was trained elsewhere is not refused: nothing is to be trained."""
    adapter = likeness / "adapters" / "main" / "adapter.safetensors"
    adapter.parent.mkdir(parents=True)
    adapter.write_bytes(b"an adapter")
    options = ["-s", "device=cpu", "-s", "base=flux1-dev", "--i-am-the-subject", "--offline"]
    result = CliRunner().invoke(app, ["run", str(likeness), *options])
    assert "not on this machine" in str(result.exception)


def test_init_says_hours_and_days(likeness: Path, slow: None, tmp_path: Path) -> None:
    options = ["-s", "device=cpu", "-s", "base=flux1-dev"]
    code, out = _invoke("init", str(tmp_path / "new"), "--photos", str(likeness / "photos"), *options)
    assert (
        code == 0
        and "training here: about 138 days" in out
        and "what would do: base=" in out
        and "base=sd15 (about" in out
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(59, "under a minute"), (60, "about 1 minute"), (7000, "about 117 minutes"), (7200, "about 2 hours"),
     (86400, "about 24 hours"), (59 * 86400, "about 59 days")],
)  # fmt: skip
def test_durations_are_words(seconds: float, text: str) -> None:
    assert summaries.duration(seconds) == text


def test_the_end_of_training_for_people() -> None:
    names = ("step-000003", "step-000006")
    training = TrainingResult(base="mine", steps=6, samples=24, final_loss=0.5, checkpoints=names)
    probes = tuple(Probe(step=step, mean=mean, face_found_rate=1.0) for step, mean in ((3, 0.6), (6, 0.5)))
    lines = summaries.of_train(
        training, SelectResult(selected_step=3, probes=probes, adapter="a.safetensors")
    )
    assert lines[1] == "kept step 3 (probe similarity by step: 3: 0.600, 6: 0.500)"
