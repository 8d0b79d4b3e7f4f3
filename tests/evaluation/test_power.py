import numpy as np
import pytest
from scipy import stats

from portrait_lora.evaluation.power import paraphrase_drift, portraits_needed, spread
from portrait_lora.records import IdentityScore


def score(prompt, value, k=0):
    return IdentityScore(f"{prompt}-{k}", prompt, value, None, None, "b")


def test_spread_by_hand():
    # group means 0.2 and 0.6; within variance 0.02; between = (0.16 - 0.02) / 2... with n0 = 2
    result = spread([[0.1, 0.3], [0.5, 0.7]])
    assert result.within == pytest.approx(0.02**0.5)
    assert result.between == pytest.approx(((2 * 0.08 - 0.02) / 2) ** 0.5)
    assert spread([[0.1], [0.2]]) is None
    assert spread([[0.1, 0.2]]) is None


def test_unequal_groups_are_recovered_on_average():
    rng = np.random.default_rng(0)
    estimates = []
    for _ in range(300):
        rows = [rng.normal(0, 0.06) + rng.normal(0, 0.04, rng.integers(2, 6)) for _ in range(12)]
        estimates.append(spread(rows))
    assert np.mean([s.within**2 for s in estimates]) == pytest.approx(0.04**2, rel=0.06)
    assert np.mean([s.between**2 for s in estimates]) == pytest.approx(0.06**2, rel=0.1)


def test_the_number_needed_has_the_power_that_it_promises():
    rng = np.random.default_rng(1)
    scores = [
        score(f"p{p}", m + e, k)
        for p, m in enumerate(rng.normal(0.4, 0.08, 40))
        for k, e in enumerate(rng.normal(0, 0.05, 3))
    ]
    needed = portraits_needed(scores)
    assert needed.per_prompt == 3
    assert needed.paired_prompts < needed.prompts
    noise = (2 * 0.05**2 / 3) ** 0.5
    draws = rng.normal(0.02, noise, (2000, needed.paired_prompts))
    assert np.mean(stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05) == pytest.approx(0.8, abs=0.06)


def test_without_repeats_nothing_is_known_and_without_noise_two_prompts_do():
    assert portraits_needed([score("a", 0.1), score("b", 0.2)]) is None
    same = [score(p, 0.3, k) for p in "ab" for k in range(2)]
    assert portraits_needed(same).paired_prompts == 2


def test_paraphrases():
    rng = np.random.default_rng(2)
    offsets = {"smiling, in a suit": 0.1, "in a suit, smiling": -0.1, "alone": 0.0}
    scores = [score(p, 0.4 + d + rng.normal(0, 0.01), k) for p, d in offsets.items() for k in range(5)]
    meanings = {"smiling, in a suit": "smile", "in a suit, smiling": "smile", "alone": "other"}
    paraphrases = paraphrase_drift(scores, meanings)
    assert (paraphrases.meanings, paraphrases.wordings, paraphrases.widest_meaning) == (1, 2, "smile")
    assert paraphrases.widest == pytest.approx(0.2, abs=0.03)
    assert paraphrases.sd == pytest.approx(0.2 / 2**0.5, abs=0.03)
    assert paraphrase_drift(scores, {}) is None
