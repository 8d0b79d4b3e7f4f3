"""Where things stand in the figures."""

import math
from itertools import pairwise

import pytest

from portrait_lora.evaluation import figures
from portrait_lora.evaluation.checkpoint_choice import CheckpointScore
from portrait_lora.evaluation.drift import drift_report
from portrait_lora.records import IdentityScore


def report(mean=0.4, base=0.1, **changes):
    scores = [IdentityScore(f"{i}", f"p{i}", mean + d, None, None, "b") for i, d in enumerate((-0.05, 0.05))]
    bases = [] if base is None else [IdentityScore("0", "p0", base, None, None, "b")]
    defaults = {"threshold": 0.3, "ceiling": 0.6, "impostor": 0.05, "copy_score": 0.0}
    fixed = {"holdout": ("h1", "h2", "h3"), "pack_digest": "d", "false_match_rate": 1e-3}
    return drift_report(scores, bases, **fixed, **{**defaults, **changes})


def test_axis_maps_linearly_and_clamps():
    axis = figures.Axis(0.0, 0.5, 20, 120)
    assert (axis.at(0.0), axis.at(0.25), axis.at(0.5), axis.at(0.9), axis.at(-1)) == (20, 70, 120, 120, 20)
    assert axis.ticks(6) == [(20, "0.0"), (40, "0.1"), (60, "0.2"), (80, "0.3"), (100, "0.4"), (120, "0.5")]


@pytest.mark.parametrize("width", [figures.WIDE_PX, figures.NARROW_PX])
@pytest.mark.parametrize("changes", [{}, {"threshold": 0.59, "impostor": 0.58}, {"mean": 0.1, "base": 0.1}])
def test_labels_keep_apart_and_inside(width, changes):
    scale = figures.scale(report(**changes), width)
    assert {m.kind for m in scale.marks} == {"adapter", "base", "impostor", "threshold", "ceiling"}
    half = figures.LABEL_WIDTH_PX / 2
    for above in (True, False):
        places = sorted(m.label_px for m in scale.marks if m.above is above)
        assert all(b - a >= figures.LABEL_WIDTH_PX - 0.02 for a, b in pairwise(places))
        assert places[0] >= half - 0.02
        assert places[-1] <= width - half + 0.02


def test_marks_stand_in_the_order_of_their_values():
    marks = {m.kind: m for m in figures.scale(report(), figures.WIDE_PX).marks}
    order = sorted(marks, key=lambda kind: marks[kind].x)
    assert order == ["impostor", "base", "threshold", "adapter", "ceiling"]
    assert marks["adapter"].text == "0.400"


def test_a_base_that_was_not_measured_has_no_mark():
    assert "base" not in {m.kind for m in figures.scale(report(base=None), figures.WIDE_PX).marks}


def test_curve_needs_two_steps_and_marks_the_chosen_one():
    rows = [
        CheckpointScore(s, m, 1.0, 3, (m - 0.02, m, m + 0.02))
        for s, m in ((300, 0.4), (100, 0.2), (200, 0.5))
    ]
    assert figures.curve(rows[:1], 300, 340) is None
    assert figures.curve([rows[0], CheckpointScore(5, math.nan, 0, 0)], 300, 340) is None
    curve = figures.curve(rows, 200, 340)
    assert [p.step for p in curve.points] == [100, 200, 300]
    assert [p.chosen for p in curve.points] == [False, True, False]
    assert curve.points[1].y < curve.points[2].y < curve.points[0].y
    assert curve.points[0].bar[0] > curve.points[0].y > curve.points[0].bar[1]


def test_step_names_are_thinned_but_never_the_chosen_one():
    rows = [CheckpointScore(s, 0.4, 1.0, 1) for s in range(100, 2100, 100)]
    curve = figures.curve(rows, 1300, figures.NARROW_PX)
    named = [p.step for p in curve.points if p.named]
    assert 1300 in named
    assert len(named) <= 5
    assert all(b - a >= 300 for a, b in pairwise(named))
