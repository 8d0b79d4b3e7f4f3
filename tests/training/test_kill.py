"""`kill -9` at any moment: the run that goes on ends in the same bytes (200: `scripts.bench.kill_resume`)."""

from __future__ import annotations

import random
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from tiny_models import make_crops

from portrait_lora.families.sd15 import SD15
from portrait_lora.training import cache
from scripts.bench.kill_resume import in_child
from tests.recipes import train_with

KILLS = 5
ATTEMPTS = 5


@pytest.fixture
def one_thread():
    """Threads do not survive a fork."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_five_kills_leave_no_trace(one_thread: None, tiny_sd15: SD15, tmp_path: Path) -> None:
    crops = make_crops(tmp_path / "crops")
    cache.encode(tiny_sd15, crops, tmp_path / "cache")

    def run_into(name: str) -> None:
        train_with(
            tiny_sd15, crops, tmp_path / name, rank=2, alpha=2.0, targets="attention", batch_size=1,
            learning_rate=1e-3, steps=8, checkpoint_steps=range(1, 8), cache_dir=tmp_path / "cache",
        )  # fmt: skip

    started = time.monotonic()
    assert in_child(lambda: run_into("undisturbed"))
    whole_s = time.monotonic() - started
    rng = random.Random(0)
    for attempt in range(ATTEMPTS):
        name, killed = f"killed-{attempt}", 0
        for _ in range(KILLS):
            killed += not in_child(partial(run_into, name), rng.uniform(0.1, 0.7) * whole_s)
        assert in_child(partial(run_into, name))
        if killed:
            break
        whole_s /= 3  # the machine was busier before, and every child has come to its end
    assert killed >= 1
    for file in ("adapter.safetensors", "optimizer.safetensors", "state.json"):
        both = [tmp_path / run / "checkpoints/step-000008" / file for run in ("undisturbed", name)]
        assert both[0].read_bytes() == both[1].read_bytes()
    assert not list((tmp_path / name / "checkpoints").glob(".writing-*"))
    texts = [(tmp_path / run / "metrics.jsonl").read_text() for run in ("undisturbed", name)]
    assert texts[0] == texts[1]
