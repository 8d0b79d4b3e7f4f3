"""What is shown of a run while it goes, and its curves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from portrait_lora.training import pace
from portrait_lora.training.update import Update


def test_speed_and_time_left_come_from_the_last_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    shown = pace.Pace(4, 1000)
    figures: dict[str, float | str] = {}
    for step in range(1, 41):
        now[0] += 10.0 if step <= 10 else 2.0  # slow at first: warming up
        figures = shown.after(step)
    assert figures == {"s/step": pytest.approx(2.0), "samples/s": pytest.approx(2.0), "left": "32 min"}
    assert [pace.duration(s) for s in (40, 720, 12_600)] == ["40 s", "12 min", "3.5 h"]


class Board:
    """Stands for accelerate's tracker of tensorboard."""

    def __init__(self, name: str, folder: str):
        self.logged: list[tuple[int, set[str]]] = []
        self.name, self.folder, self.open = name, folder, False
        BOARDS.append(self)

    def start(self) -> None:
        self.open = True

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((step, set(values)))

    def finish(self) -> None:
        self.open = False


BOARDS: list[Board] = []


def test_numbers_go_to_the_file_and_to_tensorboard_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "TensorBoardTracker", Board)
    for installed in (True, False):
        monkeypatch.setattr(pace, "is_tensorboard_available", lambda there=installed: there)
        path = tmp_path / str(installed) / "metrics.jsonl"
        with pace.metrics(path, 0, write=True) as write:
            write(1, 0.5, 0.4, Update(1e-3, 2.0, skipped=False), 0, None)
            write(2, float("nan"), float("nan"), Update(1e-3, float("nan"), skipped=True), 1, 0.5)
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert rows[0] == {
            "step": 1, "loss": 0.5, "weighted_loss": 0.4, "learning_rate": 1e-3, "grad_norm": 2.0,
        }  # fmt: skip
        assert rows[1] == {"step": 2, "skipped": 1, "learning_rate": 1e-3}
    (board,) = BOARDS
    assert board.logged == [(1, {"loss", "weighted_loss", "learning_rate", "grad_norm"})]
    assert board.folder == str(tmp_path / "True") and not board.open
