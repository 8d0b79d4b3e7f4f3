"""Only the configuration decides how to train, whatever the environment says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState, PartialState
from tiny_models import make_crops

from portrait_lora.device import DeviceChoice
from portrait_lora.families.sd15 import SD15
from portrait_lora.training import processes
from tests.recipes import train_with


@pytest.fixture
def fresh_accelerate(monkeypatch: pytest.MonkeyPatch):
    """As in a new process: accelerate keeps what it once read."""
    for name in [n for n in os.environ if n.startswith("ACCELERATE_")]:
        monkeypatch.delenv(name)
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    PartialState._reset_state()


@pytest.mark.parametrize(
    "words",
    [
        {"ACCELERATE_MIXED_PRECISION": "bf16"},
        {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4", "ACCELERATE_DYNAMO_BACKEND": "eager"},
    ],
)
def test_the_environment_changes_no_weight(
    words: dict[str, str], tiny_sd15: SD15, tmp_path: Path, fresh_accelerate: None,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    crops = make_crops(tmp_path / "crops")

    def trained(name: str) -> bytes:
        result = train_with(
            tiny_sd15, crops, tmp_path / name, rank=2, alpha=2.0, targets="attention",
            learning_rate=1e-3, batch_size=2, steps=2, cache_dir=tmp_path / "cache",
        )  # fmt: skip
        return result.checkpoints[-1].path.with_name("optimizer.safetensors").read_bytes()

    plain = trained("plain")
    AcceleratorState._reset_state(reset_partial_state=True)
    for name, value in words.items():
        monkeypatch.setenv(name, value)
    warned: list[str] = []
    monkeypatch.setattr(processes._log, "warning", lambda text, *more: warned.append(text % more))
    assert trained("told") == plain
    assert trained("again") == plain
    assert len(warned) == 1 and all(f"{name}={value}" in warned[0] for name, value in words.items())


def test_what_says_nothing_is_not_worth_a_word(monkeypatch: pytest.MonkeyPatch, fresh_accelerate: None):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "False")
    monkeypatch.setenv("ACCELERATE_LOG_LEVEL", "debug")
    assert processes.ignore_environment() == []
    assert "ACCELERATE_USE_CPU" not in os.environ and os.environ["ACCELERATE_LOG_LEVEL"] == "debug"


def test_one_of_several_gpus_is_a_gpu():
    assert {DeviceChoice(name, "bf16", "").kind for name in ("cuda", "cuda:0", "cuda:1")} == {"cuda"}


def test_one_process_needs_nobody(monkeypatch: pytest.MonkeyPatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert not processes.follows()
    processes.lead()
    processes.share({})
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert processes.follows()
