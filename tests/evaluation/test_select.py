"""The checkpoint kept: best, unless an earlier one is as good within the noise."""

import pytest

from portrait_lora.errors import InputError
from portrait_lora.evaluation.select import CheckpointScore, checkpoint_score, choose_checkpoint
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
    assert choose_checkpoint([plain(100, 0.41), best]) == 100
    assert choose_checkpoint([plain(100, 0.39), best]) == 200


def test_no_face_counts_as_zero():
    scores = [IdentityScore("a", "p", 0.6, None, None, "a"), IdentityScore("b", "p", None, None, None, "a")]
    made = checkpoint_score(400, scores)
    assert (made.step, made.mean, made.face_found_rate, made.n) == (400, 0.3, 0.5, 2)
    assert made.values == (0.6, 0.0)


def test_nothing_to_choose_from():
    with pytest.raises(InputError):
        choose_checkpoint([])
    with pytest.raises(InputError):
        choose_checkpoint([plain(100, float("nan"))])
    with pytest.raises(InputError, match="step 5"):
        checkpoint_score(5, [])
    assert choose_checkpoint([plain(100, float("nan")), plain(200, 0.1)]) == 200
