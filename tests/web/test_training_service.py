"""A training as its page shows it, from the files that it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from portrait_lora import config
from portrait_lora.errors import InputError
from portrait_lora.web.services import training


def run_of(folder: Path, name: str = "main", *, steps: int = 40, chosen: int | None = 20) -> Path:
    """What a run leaves: metrics, checkpoints, probes, and the selection if one is `chosen`."""
    run = folder / "adapters" / name
    lines = [json.dumps({"step": i, "loss": 1.0 / i}) for i in range(1, steps + 1)]
    run.mkdir(parents=True)
    (run / "inputs.json").write_text("{}")
    (run / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 41, "lo']))
    off = (-0.1, -0.02, 0.02, 0.1)
    probes = [
        {"step": s, "mean": s / 100, "face_found_rate": 1.0, "values": [s / 100 + d for d in off]}
        for s in (10, 20, 40)
    ]
    for step in (10, 20, 40):
        (run / "checkpoints" / f"step-{step:06d}").mkdir(parents=True)
        (run / "probes" / f"step-{step:06d}").mkdir(parents=True)
        (run / "probes" / f"step-{step:06d}" / "p.png").write_bytes(b"")
    if chosen is not None:
        (run / "selection.json").write_text(json.dumps({"step": chosen, "best_step": 10, "probes": probes}))
        (run / "adapter.safetensors").write_bytes(b"")
    else:
        (run / "previews.json").write_text(json.dumps({"probes": probes[:1]}))
    return run


def test_curves_checkpoints_and_the_choice(tmp_path: Path) -> None:
    run_of(tmp_path)
    state = training.training(tmp_path)
    assert state.whole and (state.selected, state.best, state.by_hand) == (20, 10, None)
    assert state.loss is not None and state.loss.steps == 40 and state.loss.last == pytest.approx(1 / 40)
    assert state.loss.smooth == pytest.approx(sum(1 / i for i in range(16, 41)) / 25)
    assert [(c.step, c.chosen, c.best) for c in state.checkpoints] == [
        (10, False, True), (20, True, False), (40, False, False),
    ]  # fmt: skip
    low, high = state.checkpoints[1].ci95 or (0, 0)
    assert low == pytest.approx(0.2 - 3.1824 * 0.08327 / 2, abs=1e-3) and high == pytest.approx(0.4 - low)
    assert len(state.checkpoints[0].pictures) == 1
    names = [name for name, _ in state.curves]
    assert names == ["wide", "narrow"] and [p.chosen for p in state.curves[0][1].points] == [
        False,
        True,
        False,
    ]


def test_too_few_probes_have_no_interval_and_nothing_is_no_training(tmp_path: Path) -> None:
    assert training.interval([0.1, 0.2, 0.3]) is None
    state = training.training(tmp_path)
    assert state.folder is None and not state.checkpoints and state.loss is None


def test_while_it_trains_the_successor_is_shown_with_its_previews(tmp_path: Path) -> None:
    run_of(tmp_path)
    later = run_of(tmp_path, ".main-0123456789abcdef", steps=12, chosen=None)
    assert training.training(tmp_path).folder == tmp_path / "adapters" / "main"
    state = training.training(tmp_path, busy=True)
    assert state.folder == later and state.selected is None
    assert [c.mean for c in state.checkpoints] == [0.1, None, None]


def test_a_choice_is_written_into_the_settings_and_taken_back(tmp_path: Path) -> None:
    run_of(tmp_path)
    file = tmp_path / config.FILE_NAME
    file.write_text("base: embedded  # ours\n")
    with pytest.raises(InputError, match=r"no such checkpoint.*needed 10, 20, 40"):
        training.keep(tmp_path, 30)
    training.keep(tmp_path, 40)
    assert config.load(file).select.step == 40 and "# ours" in file.read_text()
    assert training.training(tmp_path).by_hand == 40
    training.keep(tmp_path, None)
    assert config.load(file).select.step is None
