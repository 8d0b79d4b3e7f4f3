"""Means and intervals: small cases by hand, coverage by simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from portrait_lora.errors import InputError
from portrait_lora.evaluation.drift import (
    clustered_interval,
    degrees_of_freedom,
    drift_report,
    gain_over_base,
    prompt_drift,
)
from portrait_lora.records import IdentityScore


def score(prompt, similarity, name="p", embedder="b"):
    return IdentityScore(name, prompt, similarity, None, None, embedder)


def report(scores, base=(), **changes):
    defaults = {
        "holdout": ("a", "b", "c"),
        "pack_digest": "d",
        "threshold": 0.4,
        "false_match_rate": 1e-3,
        "ceiling": 0.7,
        "impostor": 0.1,
        "copy_score": 0.0,
    }
    return drift_report(scores, base, **{**defaults, **changes})


def test_equal_clusters_give_the_classical_interval_of_cluster_means():
    values = [0.1, 0.3, 0.4, 0.6, 0.6, 0.8]
    estimate = clustered_interval(values, ["a", "a", "b", "b", "c", "c"])
    means = [0.2, 0.5, 0.7]
    half = stats.t.ppf(0.975, 2) * np.std(means, ddof=1) / math.sqrt(3)
    assert estimate.mean == pytest.approx(np.mean(means))
    assert estimate.ci95 == pytest.approx((np.mean(means) - half, min(np.mean(means) + half, 1.0)))
    assert (estimate.clusters, estimate.portraits) == (3, 6)


def test_unequal_clusters_use_cr2():
    # clusters (0, 0.2) and (0.7): mean 0.3, residual sums -0.4 and 0.4, weights 2/3 and 1/3
    variance = (0.16 / (1 / 3) + 0.16 / (2 / 3)) / 9
    half = stats.t.ppf(0.975, 1) * math.sqrt(variance)
    low, high = clustered_interval([0.0, 0.2, 0.7], [1, 1, 2]).ci95
    assert (low, high) == (max(0.3 - half, -1), min(0.3 + half, 1))


def test_degrees_of_freedom():
    assert degrees_of_freedom(np.full(8, 3)) == pytest.approx(7)
    assert degrees_of_freedom(np.array([20, 2, 2, 2])) < 3
    assert degrees_of_freedom(np.array([3, 5])) == pytest.approx(1)


def _draws(rng, prompts=8):
    """One study: 2-4 portraits for each prompt, prompts unlike each other; the true mean is 0.5."""
    sizes = rng.integers(2, 5, prompts)
    labels = np.repeat(np.arange(prompts), sizes)
    return 0.5 + rng.normal(0, 0.06, prompts)[labels] + rng.normal(0, 0.04, len(labels)), labels


def _percentile_bootstrap(rng, values, labels, resamples=300):
    prompts = labels.max() + 1
    sums, sizes = np.bincount(labels, values), np.bincount(labels)
    drawn = rng.integers(0, prompts, (resamples, prompts))
    return np.quantile(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), [0.025, 0.975])


def test_coverage_is_nominal_where_a_percentile_bootstrap_falls_short():
    rng = np.random.default_rng(20)
    ours = plain = unclustered = 0
    studies = 1500
    for _ in range(studies):
        values, labels = _draws(rng)
        low, high = clustered_interval(values, labels.tolist()).ci95
        ours += low <= 0.5 <= high
        low, high = _percentile_bootstrap(rng, values, labels)
        plain += low <= 0.5 <= high
        low, high = clustered_interval(values, range(len(values))).ci95
        unclustered += low <= 0.5 <= high
    assert 0.93 <= ours / studies <= 0.97
    assert plain / studies < 0.91
    assert unclustered / studies < 0.88


def test_one_prompt_takes_its_width_from_the_portraits():
    estimate = clustered_interval([0.4, 0.5, 0.6], ["x"] * 3)
    half = stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert estimate.clusters == 1
    assert estimate.ci95 == pytest.approx((0.5 - half, 0.5 + half))


def test_one_portrait_has_no_width():
    assert clustered_interval([0.4], ["x"]).ci95 == (-1.0, 1.0)


@pytest.mark.parametrize("values", [[], [math.nan, 0.2]])
def test_an_interval_of_nothing_is_refused(values):
    with pytest.raises(InputError):
        clustered_interval(values, range(len(values)))


def test_no_face_counts_as_zero_in_the_mean_only():
    drift = report([score("p", 0.6), score("p", None), score("q", 0.3), score("q", 0.5)])
    assert drift.mean == pytest.approx(1.4 / 4)
    assert drift.mean_of_found == pytest.approx(1.4 / 3)
    assert drift.face_found_rate == 0.75
    assert drift.verified_rate == 0.5
    assert drift.share_of_ceiling == pytest.approx((0.35 - 0.1) / 0.6)
    assert [(p.prompt, p.mean, p.portraits) for p in drift.prompts] == [("p", 0.3, 2), ("q", 0.4, 2)]
    assert math.isnan(drift.base_mean)


def test_the_overall_mean_is_over_portraits_not_prompts():
    drift = report([score("p", 0.9), score("q", 0.3), score("q", 0.3)], [score("p", 0.2), score("q", None)])
    assert drift.mean == pytest.approx(0.5)
    assert drift.base_mean == pytest.approx(0.1)


def test_a_prompt_gets_an_interval_from_three_portraits_on():
    assert prompt_drift("p", [score("p", 0.4)] * 2, 0.3).ci95 is None
    low, high = prompt_drift("p", [score("p", v) for v in (0.4, 0.5, 0.6)], 0.3).ci95
    half = stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half))


def test_all_faces_missing():
    drift = report([score("p", None), score("q", None)])
    assert (drift.mean, drift.mean_of_found, drift.ci95) == (0.0, None, (0.0, 0.0))
    assert (drift.face_found_rate, drift.verified_rate) == (0.0, 0.0)


def test_no_portraits_and_mixed_embedders_are_refused():
    with pytest.raises(InputError, match="no portrait"):
        report([])
    with pytest.raises(InputError, match="several embedders"):
        report([score("p", 0.4)], [score("p", 0.4, embedder="a")])


def test_gain_compares_prompt_by_prompt():
    ours = [score("p", 0.5), score("q", 0.8), score("only ours", 0.1)]
    base = [score("p", 0.3), score("q", 0.5), score("q", 0.7)]
    gain = gain_over_base(ours, base)
    assert gain.mean == pytest.approx(0.2)
    assert gain.ci95 == pytest.approx((0.2, 0.2))
    assert gain_over_base(ours, base[:1]) is None
