from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from portrait_lora.errors import InputError
from portrait_lora.evaluation.compare import Measured, bootstrap_interval, compare
from portrait_lora.records import IdentityScore


def measured(name, values, *, embedder="b", pack="d", holdout=("h1", "h2"), prefix=""):
    scores = tuple(
        IdentityScore(f"{prefix}{p}-{k}.png", p, v, None, None, embedder)
        for p, row in values.items()
        for k, v in enumerate(row)
    )
    return Measured(name, scores, pack, holdout)


RNG = np.random.default_rng(0)
HARD = {f"prompt {i}": list(0.4 + RNG.normal(0, 0.15) + RNG.normal(0, 0.01, 3)) for i in range(10)}
BETTER = {p: [v + 0.03 + RNG.normal(0, 0.01) for v in row] for p, row in HARD.items()}


def test_a_steady_gain_is_seen_through_hard_and_easy_prompts():
    comparison = compare(measured("new", BETTER), measured("old", HARD))
    assert comparison.sentence.startswith("new is better by 0.03")
    assert comparison.ci95[0] > 0.015
    assert comparison.ci95[1] < 0.045
    assert (comparison.prompts, comparison.portraits, comparison.unpaired) == (10, 30, 0)
    other = compare(measured("old", HARD), measured("new", BETTER))
    assert other.difference == pytest.approx(-comparison.difference)
    assert other.sentence.startswith("new is better by 0.03")


def test_no_difference_says_what_it_would_take():
    noisy = {p: [v + RNG.normal(0, 0.05) for v in row] for p, row in HARD.items()}
    comparison = compare(measured("a", noisy), measured("b", HARD))
    assert "No significant difference" in comparison.sentence
    assert "prompts" in comparison.sentence
    assert comparison.ci95[0] < 0 < comparison.ci95[1]


def test_a_missing_face_counts_as_zero_and_the_unpaired_are_reported():
    a = {"x": [0.5, None], "y": [0.5], "z": [0.5], "only a": [0.9]}
    b = {"x": [0.5, 0.5], "y": [0.5], "z": [0.5]}
    comparison = compare(measured("a", a), measured("b", b))
    assert comparison.difference == pytest.approx(-0.5 / 4)
    assert comparison.unpaired == 1


def test_pictures_of_other_names_pair_by_order():
    comparison = compare(measured("a", BETTER, prefix="run2-"), measured("b", HARD))
    assert comparison.portraits == 30


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedder": "a"}, "different face packs"),
        ({"pack": "e"}, "different face packs"),
        ({"holdout": ("h1",)}, "different held-out photos"),
    ],
)
def test_what_was_measured_otherwise_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        compare(measured("a", HARD), measured("b", HARD, **changes))


def test_too_few_prompts_are_refused():
    with pytest.raises(InputError, match="too few shared prompts"):
        compare(measured("a", {"x": [0.1]}), measured("b", {"x": [0.2]}))
    with pytest.raises(InputError, match="nothing to compare"):
        compare(measured("a", {}), measured("b", HARD))


def test_the_interval_is_the_t_interval_and_wider_than_plain_percentiles():
    d = np.random.default_rng(5).normal(0.02, 0.05, 6)
    low, high = bootstrap_interval(d)
    half = stats.t.ppf(0.975, 5) * d.std(ddof=1) / 6**0.5
    assert (high - low) / 2 == pytest.approx(half, rel=0.03)
    assert (low + high) / 2 == pytest.approx(d.mean())
    means = d[np.random.default_rng(0).integers(0, 6, (4000, 6))].mean(axis=1)
    assert high - low > 1.3 * np.ptp(np.quantile(means, [0.025, 0.975]))
    assert bootstrap_interval(d) == (low, high)


def test_two_folders_without_prompts_are_compared_without_an_interval():
    sides = [measured(n, {"all portraits": [v, v + 0.1]}) for n, v in (("a", 0.5), ("b", 0.3))]
    with pytest.raises(InputError, match="too few shared prompts"):
        compare(*sides)
    comparison = compare(*(replace(side, prompts_known=False) for side in sides))
    assert (
        comparison.difference == pytest.approx(0.2) and comparison.ci95 is None and comparison.by_prompt == ()
    )
    assert "a minus b is +0.200" in comparison.sentence and "--prompts" in comparison.sentence
