"""The checkpoint kept: best, unless an earlier one is as good within the noise."""

import numpy as np
import pytest

from portrait_lora.errors import InputError
from portrait_lora.evaluation.checkpoint_choice import (
    CheckpointScore,
    checkpoint_score,
    choose_checkpoint,
    in_the_race,
    stop_decision,
)
from portrait_lora.records import IdentityScore


def row(step, *values):
    return CheckpointScore(step, sum(values) / len(values), 1.0, len(values), values)


def plain(step, mean):
    return CheckpointScore(step, mean, 1.0, 8)


def test_the_best_mean_wins():
    assert choose_checkpoint([plain(100, 0.3), plain(200, 0.5), plain(300, 0.4)]) == 200


def test_a_tie_goes_to_the_earlier_step_in_any_order():
    assert choose_checkpoint([plain(300, 0.5), plain(200, 0.5), plain(100, 0.3)]) == 200


def test_within_one_paired_standard_error_the_earlier_step():
    early, late = row(100, 0.30, 0.52, 0.41), row(200, 0.34, 0.50, 0.42)
    assert late.mean > early.mean
    assert choose_checkpoint([early, late]) == 100


def test_a_small_but_steady_gain_is_a_gain():
    # prompts differ much (se of the mean 0.1), yet each gains 0.02: the pairing sees it
    early, late = row(100, 0.2, 0.4, 0.6), row(200, 0.22, 0.421, 0.619)
    assert early.standard_error > 0.1
    assert choose_checkpoint([early, late]) == 200


def test_without_pairs_the_best_rows_own_standard_error():
    best = row(200, 0.4, 0.6)  # se 0.1
    assert choose_checkpoint([plain(100, 0.491), best]) == 100
    assert choose_checkpoint([plain(100, 0.48), best]) == 200  # inside the noise, but not negligible


def test_no_face_counts_as_zero():
    scores = [IdentityScore("a", "p", 0.6, None, None, "a"), IdentityScore("b", "p", None, None, None, "a")]
    result = checkpoint_score(400, scores)
    assert (result.step, result.mean, result.face_found_rate, result.n) == (400, 0.3, 0.5, 2)
    assert result.values == (0.6, 0.0)


def test_nothing_to_choose_from():
    with pytest.raises(InputError):
        choose_checkpoint([])
    with pytest.raises(InputError):
        choose_checkpoint([plain(100, float("nan"))])
    with pytest.raises(InputError, match="step 5"):
        checkpoint_score(5, [])
    assert choose_checkpoint([plain(100, float("nan")), plain(200, 0.1)]) == 200


def test_a_checkpoint_that_copies_or_ignores_its_prompts_is_out():
    fine, copies = (
        CheckpointScore(100, 0.3, 1, 8, copy_score=0.1),
        CheckpointScore(200, 0.6, 1, 8, copy_score=0.5),
    )
    assert choose_checkpoint([fine, copies]) == 100
    assert choose_checkpoint([fine, copies], copy_limit=0.5) == 200
    deaf = CheckpointScore(300, 0.6, 1, 8, adherence=0.4)
    assert choose_checkpoint([CheckpointScore(100, 0.3, 1, 8, adherence=0.9), deaf]) == 100
    worse = CheckpointScore(300, 0.9, 1, 8, copy_score=0.9)
    assert choose_checkpoint([copies, worse]) == 200  # all copy: the one that copies least


def test_what_falls_behind_on_the_first_probes_is_out_of_the_race():
    """One paired standard error, or what is negligible; the difficulty of prompts cancels out."""
    best = row(400, 0.9, 0.5, 0.7, 0.3)
    steady = row(300, 0.88, 0.48, 0.68, 0.28)  # 0.02 below at every probe
    wild = row(200, 0.75, 0.55, 0.77, 0.21)  # 0.03 below, give or take as much
    near = row(100, 0.892, 0.492, 0.692, 0.292)
    assert in_the_race([near, wild, steady, best]) == {400, 200, 100}
    assert in_the_race([best]) == {400}
    copies = CheckpointScore(500, 0.8, 1.0, 4, (0.9, 0.8, 0.8, 0.7), copy_score=0.5)
    assert in_the_race([best, steady, copies]) == {400, 500}  # judged by all its probes, but leads nobody


def test_a_checkpoint_with_fewer_probes_is_not_chosen():
    assert choose_checkpoint([row(100, 0.9, 0.9), row(200, 0.5, 0.6, 0.7, 0.6)]) == 200


def _grown(rng, checkpoints, tau, noise=0.03, probes=8):
    hardness = rng.normal(0, 0.08, probes)
    steps = np.arange(1, checkpoints + 1) * 100
    means = 0.5 * (1 - np.exp(-steps / tau))
    values = means[:, None] + hardness + rng.normal(0, noise, (checkpoints, probes))
    return [row(int(s), *v) for s, v in zip(steps, values, strict=True)], means


def test_training_stops_once_the_curve_is_flat_and_not_before():
    rng = np.random.default_rng(3)
    flat = [stop_decision(_grown(rng, 6, 100)[0], last_step=1000).stop for _ in range(40)]
    steep = [stop_decision(_grown(rng, 6, 900)[0], last_step=1000).stop for _ in range(40)]
    assert np.mean(flat) >= 0.8
    assert np.mean(steep) <= 0.05
    few, _ = _grown(rng, 3, 100)
    assert not stop_decision(few, last_step=1000).stop
    assert not stop_decision([plain(s, 0.5) for s in range(1, 9)], last_step=1000).stop


def test_after_an_early_stop_the_latest_of_the_equal_ones_is_kept():
    table = [row(100, 0.2, 0.2), row(200, 0.5, 0.51), row(300, 0.51, 0.5), row(400, 0.3, 0.3)]
    assert choose_checkpoint(table) == 200
    assert choose_checkpoint(table, stopped_early=True) == 300


def test_training_stops_when_it_only_copies():
    table = [CheckpointScore(s, 0.4, 1, 2, (0.4, 0.4), copy_score=0.6) for s in (100, 200)]
    assert "copy" in stop_decision(table, last_step=1000).reason
    assert not stop_decision(table[:1], last_step=1000).stop


def test_neighbours_steady_the_choice():
    rng = np.random.default_rng(4)
    regret = []
    for _ in range(60):
        table, means = _grown(rng, 12, 300, noise=0.06)
        means = means - 0.0004 * np.maximum(np.arange(100, 1300, 100) - 700, 0)
        shifted = [
            row(r.step, *(np.array(r.values) + m - 0.5 * (1 - np.exp(-r.step / 300))))
            for r, m in zip(table, means, strict=True)
        ]
        regret.append(means.max() - means[choose_checkpoint(shifted) // 100 - 1])
    assert np.mean(regret) <= 0.025
