"""Thresholds keep their rate on new impostors, and refuse rates that the scores cannot show."""

import numpy as np
import pytest

from portrait_lora.errors import InputError
from portrait_lora.evaluation.thresholds import mean_of_k, tar_at_far, threshold_at


def test_threshold_interpolates_between_order_statistics():
    # n = 99: the (n + 1)(1 - rate) = 90th value; at rate 0.105 half way between the 89th and 90th
    scores = np.arange(1, 100) / 100
    assert threshold_at(0.1, scores) == pytest.approx(0.90)
    assert threshold_at(0.105, scores) == pytest.approx(0.895)
    assert threshold_at(0.1, scores[::-1]) == pytest.approx(0.90)


def test_threshold_keeps_its_rate_on_new_impostors():
    rng = np.random.default_rng(3)
    rates = [np.mean(rng.normal(size=20000) >= threshold_at(0.01, rng.normal(size=300))) for _ in range(200)]
    assert np.mean(rates) == pytest.approx(0.01, abs=0.0015)


def test_too_few_scores_for_the_rate():
    with pytest.raises(InputError, match="got 2999; needed 3000"):
        threshold_at(1e-3, np.linspace(0, 1, 2999))
    assert 0.99 < threshold_at(1e-3, np.linspace(0, 1, 3000)) < 1


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_a_rate_is_between_0_and_1(rate):
    with pytest.raises(InputError):
        threshold_at(rate, np.linspace(0, 1, 100))


def test_nan_scores_are_refused():
    with pytest.raises(InputError, match="not finite"):
        threshold_at(0.5, [0.1, np.nan, 0.2, 0.3, 0.4, 0.5, 0.6])


def test_tar_at_far():
    impostors = np.arange(1, 100) / 100
    assert tar_at_far([0.95, 0.91, 0.89], impostors, 0.1) == pytest.approx(2 / 3)
    limit = threshold_at(0.1, impostors)
    assert tar_at_far([limit, 0.0], impostors, 0.1) == 0.5


def test_mean_of_k_by_hand():
    gallery = np.array(
        [
            [[1, 0], [0, 1], [1, 0]],
            [[0, 1], [0, 1], [0, 2]],
        ],
        np.float32,
    )
    trials = mean_of_k(gallery, 2)
    # person 0 enrols (1,0),(0,1), probes (1,0): 0.5; person 1 enrols (0,1) twice, probes (0,1): 1
    assert sorted(trials.genuine) == pytest.approx([0.5, 1.0])
    # probe of 0 against 1: 0; probe of 1 against 0: 0.5
    assert sorted(trials.impostor) == pytest.approx([0.0, 0.5])
    assert trials.references == 2


def test_mean_of_k_counts_every_trial_once():
    trials = mean_of_k(np.random.default_rng(0).normal(size=(4, 5, 8)), 3)
    assert len(trials.genuine) == 4 * 2
    assert len(trials.impostor) == 4 * 3 * 2


@pytest.mark.parametrize(("shape", "k"), [((1, 4, 3), 2), ((3, 2, 3), 2), ((3, 4), 1), ((3, 4, 2), 0)])
def test_mean_of_k_refuses_a_small_gallery(shape, k):
    with pytest.raises(InputError):
        mean_of_k(np.ones(shape), k)
