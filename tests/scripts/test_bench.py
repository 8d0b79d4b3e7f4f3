"""The benchmarks measure what they say; how fast it is does not matter here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from portrait_lora.families import open_family
from portrait_lora.families.catalog import resolve_base
from portrait_lora.training import cache
from scripts.bench import gpu as bench_gpu
from scripts.bench import kill_resume
from scripts.bench import training as bench_training
from scripts.bench.training import Spent


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A clock that moves on by one at every look."""
    looks = iter(range(10_000))
    monkeypatch.setattr(Spent, "now", staticmethod(lambda: Spent(float(next(looks)), 0.0)))
    yield


def test_every_loop_takes_as_many_steps_as_are_counted(clock: None, tmp_path: Path) -> None:
    """By that clock a step of ours is 1 long, from one question to the next, and so is one of the others."""
    crops = kill_resume.make_crops(tmp_path / "crops", 2 * bench_training.BATCH, 0, bench_training.SIDE_PX)
    cache.encode(open_family(resolve_base("embedded")), crops, tmp_path / "cache")
    spent = bench_training.in_turn(crops, tmp_path, 0, 2)
    assert {name: s.wall for name, s in spent.items()} == {"ours": 2.0, "plain": 2.0, "example": 2.0}


@pytest.mark.parametrize("name", list(bench_gpu.FULL))
def test_the_gpu_benchmark_runs_on_a_small_network(name: str) -> None:
    rows = {row.name: row for row in bench_gpu.measure(name, "cpu", 1, tiny=True)}
    for way in ("batch 1", "batch 4", "batch 4, checkpointing"):
        assert rows[f"{way}: step"].value > 0 and rows[f"{way}: speed"].value > 0
    assert rows[f"{name}: 1,000 samples, best way"].met is None


def test_kills_are_counted_over_parts_and_the_goals_are_whole() -> None:
    done = kill_resume.Tally(0, kills=200, mid_save=60, ends=90, same=90)
    assert [row.met for row in kill_resume.rows(done, 200)] == [True, True, True]
    half = kill_resume.Tally(0, kills=100, mid_save=30, ends=40, same=39)
    assert [row.met for row in kill_resume.rows(half, 200)] == [False, False, True]
