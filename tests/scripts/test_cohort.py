"""Everybody who is measured draws with noise of their own, and with the packaged series otherwise."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from portrait_lora.generation.series import read_series, series_path
from scripts.evaluate import methods
from scripts.evaluate.cohort import own_series, train_member

RUN = {
    "likeness": {"adapter_mean": 0.8, "share_of_ceiling": 0.9, "verified_rate": 1, "copy_score": 0.0},
    "seconds": {"train": 1},
}
DRIFT = {"scores": [{"portrait": "b", "similarity": None}, {"portrait": "a", "similarity": 0.8}]}


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands in place of journeys, which leave reports."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> SimpleNamespace:
        commands.append(command)
        folder = Path(command[command.index("--out") + 1] if "demo" in command else command[5])
        (folder / "reports").mkdir(parents=True, exist_ok=True)
        (folder / "reports" / "run.json").write_text(json.dumps(RUN))
        (folder / "reports" / "drift.json").write_text(json.dumps(DRIFT | {"adherence": 0.9}))
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def _series_of(command: list[str]) -> Path:
    key = "generate.series="
    return Path(next(word for word in command if word.startswith(key)).removeprefix(key))


def test_only_the_seed_differs_from_the_packaged_series(tmp_path: Path) -> None:
    packaged = read_series(series_path("headshots"))
    own = read_series(own_series(9100, tmp_path))
    assert own.seed == 9100 != packaged.seed
    assert replace(own, seed=packaged.seed) == packaged


def test_a_member_draws_with_their_own_seed(called: list[list[str]], tmp_path: Path) -> None:
    for seed in (2000, 2001):
        train_member(seed, tmp_path / f"person-{seed}", ["training.rank=4"], 1)
    assert [read_series(_series_of(command)).seed for command in called] == [2000, 2001]
    assert all("training.rank=4" in command for command in called)


def test_so_does_everybody_of_an_arm(
    called: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepared(seed: int, work: Path) -> Path:
        folder = work / "prepared" / f"person-{seed}"
        folder.mkdir(parents=True)
        return folder

    monkeypatch.setattr(methods, "prepared", prepared)
    arm = methods.Arm("half", ("training.rank=4",))
    people = [methods.measured(arm, seed, tmp_path) for seed in (9100, 9101)]
    assert [read_series(_series_of(command)).seed for command in called] == [9100, 9101]
    assert [p.similarities for p in people] == [(0.8, 0.0)] * 2  # by portrait; without a face 0
