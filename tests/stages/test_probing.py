"""Probe portraits that the guard refuses count as pictures without a face, and are counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from portrait_lora import log, summaries
from portrait_lora.evaluation.checkpoint_choice import choose_checkpoint
from portrait_lora.evaluation.measure import PhotosSeen
from portrait_lora.evaluation.similarity import ReferenceSet
from portrait_lora.records import Adapter, IdentityScore, Portrait, Shot
from portrait_lora.results import SelectResult, TrainingResult
from portrait_lora.rights.guard import RefusedPicture
from portrait_lora.stages import probing, reports, stopping

SHOTS = [
    Shot(name=f"p{i}", prompt="x", negative_prompt="", layers=(), size_px=(64, 64), seed=i) for i in range(4)
]


class Drawing:
    """Draws all but the names it refuses, as a context does."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self.names, self.run_folder = names, root / "run"
        self.likeness = SimpleNamespace(root=root)
        self.config = SimpleNamespace(
            training=SimpleNamespace(early_stop=False, previews=False),
            select=SimpleNamespace(copy_limit=0.15),
        )
        self.drawn: list[tuple[str, str]] = []

    def draw(self, adapter: object, shots: Sequence[Shot], folder: Path, **more: Any) -> list[Portrait]:
        self.drawn.append((folder.name, " ".join(shot.name for shot in shots)))
        more["refused"] += [s.name for s in shots if s.name in self.names]
        kept = [s for s in shots if s.name not in self.names]
        return [Portrait(folder / f"{s.name}.png", s, 1, 1.0, 1.0, None) for s in kept]


def _checkpoints(root: Path, names: Sequence[str]) -> probing.Checkpoints:
    probe, checkpoints = object.__new__(probing.Probe), object.__new__(probing.Checkpoints)
    probe._finder, probe._held, probe._trained = SimpleNamespace(), PhotosSeen(), PhotosSeen()  # type: ignore[assignment]
    probe._holdout = probe._training = ReferenceSet(np.eye(2, dtype=np.float32), ("a", "b"))
    context: Any = Drawing(root, names)
    checkpoints._ctx, checkpoints._probe, checkpoints._shots = context, probe, SHOTS
    return checkpoints


@pytest.fixture(autouse=True)
def scored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every portrait scores a tenth more than the one before it; the copies are counted over all probes."""
    counts: list[int] = []

    def score(items: Sequence[Any], *_: object, **__: object) -> tuple[IdentityScore, ...]:
        rows = [(i.path.name, 0.1 * (1 + int(i.path.stem[1:]))) for i in items]
        return tuple(IdentityScore(name, "x", value, "a", None, "e") for name, value in rows)

    monkeypatch.setattr(probing.similarity, "score_portraits", score)
    monkeypatch.setattr(probing.protocol, "copies", lambda *a: counts.append(a[-1]))
    monkeypatch.setattr(log, "event", lambda *_, **__: None)
    return counts


def test_a_refused_probe_counts_at_its_place_as_one_without_a_face(tmp_path: Path, scored: list[int]) -> None:
    adapter: Any = SimpleNamespace(step=7)
    row = _checkpoints(tmp_path, ["p0", "p2"]).score(adapter)
    assert row.values == pytest.approx((0, 0.2, 0, 0.4)) and row.mean == pytest.approx(0.15)
    assert (row.n, row.face_found_rate, row.refused, scored) == (4, 0.5, 2, [4])
    kept = stopping.probe_row(row)
    assert kept.json_value()["refused"] == 2 and reports.checkpoint_of(kept) == row
    selection = SelectResult(selected_step=7, probes=(kept, kept), adapter="a")
    training = TrainingResult.model_construct(steps=7, samples=7, final_loss=None)
    assert any("4 probe portraits refused" in line for line in summaries.of_train(training, selection))


GOES_ON = "p0 p1 p2 p3", "p4 p5 p6 p7"


Raced = Callable[..., tuple[list[Any], dict[str, list[str]]]]


@pytest.fixture
def raced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Raced:
    """The rows of a race in which a step's probes score its mean and a little more each; what was drawn."""
    return partial(_raced, tmp_path, monkeypatch)


def _raced(
    root: Path, monkeypatch: pytest.MonkeyPatch, first: dict[int, float], *, probes: int = 8,
    keep: int | None = None, **training: bool,
) -> tuple[list[Any], dict[str, list[str]]]:  # fmt: skip
    checkpoints = _checkpoints(root, [])
    checkpoints._shots = [replace(SHOTS[0], name=f"p{i}") for i in range(probes)]
    context: Any = checkpoints._ctx
    vars(context.config.training).update(training)

    def score(items: Sequence[Any], *_: object, **__: object) -> tuple[IdentityScore, ...]:
        rows = [(first[int(i.path.parent.name[5:])], int(i.path.stem[1:])) for i in items]
        return tuple(IdentityScore(str(i), "x", mean + 0.01 * i, "a", None, "e") for mean, i in rows)

    monkeypatch.setattr(probing.similarity, "score_portraits", score)
    adapters: list[Any] = [SimpleNamespace(step=step) for step in first]
    rows = checkpoints.race(adapters, keep=keep)
    drawn: dict[str, list[str]] = {}
    for folder, names in context.drawn:
        drawn.setdefault(folder, []).append(names)
    return rows, drawn


def test_in_a_race_only_those_ahead_are_drawn_to_the_end(raced: Raced) -> None:
    """Every picture is drawn in the same batches with a race and without one."""
    rows, drawn = raced({100: 0.3, 200: 0.495, 300: 0.5})
    assert [row.n for row in rows] == [4, 8, 8] and [row.step for row in rows] == [100, 200, 300]
    assert drawn["step-000100"] == [GOES_ON[0]]
    assert drawn["step-000200"] == drawn["step-000300"] == [GOES_ON[0], *GOES_ON]
    assert choose_checkpoint(rows) == 300
    kept = tuple(map(stopping.probe_row, rows))
    words = summaries.of_train(
        TrainingResult.model_construct(steps=300, samples=1, final_loss=None),
        SelectResult(selected_step=300, probes=kept, adapter="a"),
    )
    assert "100: 0.315 of 4 probes, 200: 0.530, 300: 0.535" in words[1]
    rows, _ = raced({100: 0.3, 300: 0.5}, keep=100)
    assert [row.n for row in rows] == [8, 8]
    for means, changes in (
        ({100: 0.3, 300: 0.5}, {"early_stop": True}),
        ({100: 0.3, 300: 0.5}, {"previews": True}),
        ({300: 0.5}, {}),
        ({i: 0.1 * i for i in range(6)}, {}),
    ):
        rows, drawn = raced(means, **changes)
        assert {row.n for row in rows} == {8} and set(map(tuple, drawn.values())) == {GOES_ON}
    assert [row.n for row in raced({1: 0.1, 2: 0.5}, probes=7)[0]] == [7, 7]


def test_when_all_that_are_ahead_copy_the_others_are_drawn_too(
    raced: Raced, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = iter([0.0, 0.0, 0.5, 0.0])
    monkeypatch.setattr(probing.protocol, "copies", lambda *_: SimpleNamespace(score=next(shares)))
    rows, drawn = raced({100: 0.3, 300: 0.5})
    assert [(row.n, row.copy_score) for row in rows] == [(8, 0.0), (8, 0.5)]
    assert choose_checkpoint(rows) == 100 and drawn["step-000100"] == [GOES_ON[0], *GOES_ON]


def test_all_of_the_first_probes_may_be_refused(tmp_path: Path) -> None:
    row = _checkpoints(tmp_path, ["p0", "p1"]).score(SimpleNamespace(step=7), most=2)  # type: ignore[arg-type]
    assert (row.values, row.refused) == ((0.0, 0.0), 2)


def test_nothing_refused_is_as_before_and_everything_an_error(tmp_path: Path) -> None:
    adapter: Adapter | Any = SimpleNamespace(step=7)
    row = _checkpoints(tmp_path, []).score(adapter)
    assert row.refused == 0 and "refused" not in stopping.probe_row(row).json_value()
    with pytest.raises(RefusedPicture, match="every probe portrait") as error:
        _checkpoints(tmp_path, [s.name for s in SHOTS]).score(adapter)
    assert (error.value.where, error.value.got) == ("probe step 7", "4 of 4")
