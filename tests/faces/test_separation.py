"""AUC, rates and advantages against their definitions, and the verdict of the sanity test."""

from __future__ import annotations

import numpy as np
import pytest

from portrait_lora.errors import InputError
from portrait_lora.faces import sanity
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.faces.preprocessing import Preprocessing
from portrait_lora.faces.separation import Advantage, Pairs
from tests.faces.made_up_people import vector

PEOPLE, EACH = 30, 4
LABELS = [i // EACH for i in range(PEOPLE * EACH)]


def table(noise: float, common: float = 0.0) -> np.ndarray:
    """(N, D) unit rows; `common` of one direction that everybody shares."""
    rows = np.stack([vector(p, k, "select", noise) for p in range(PEOPLE) for k in range(EACH)])
    rows = rows + common * vector(999, 0, "select")
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_auc_and_means_are_those_of_the_pairs() -> None:
    rows, pairs = table(1.2), Pairs(LABELS)
    got = pairs.separation(pairs.similarities(rows))
    cosines = rows @ rows.T
    i, j = np.triu_indices(len(rows), 1)
    same = np.equal(*np.array(LABELS)[np.stack([i, j])])
    genuine, impostor = cosines[i, j][same], cosines[i, j][~same]
    greater = (genuine[:, None] > impostor[None]).mean() + (genuine[:, None] == impostor[None]).mean() / 2
    assert got.auc == pytest.approx(greater, abs=1e-6)
    assert (got.people, got.genuine_pairs, got.impostor_pairs) == (PEOPLE, len(genuine), len(impostor))
    assert got.stranger_mean == pytest.approx(impostor.mean(), abs=1e-6)
    assert got.rate == 1e-3
    assert got.true_match == pytest.approx((genuine >= np.quantile(impostor, 0.999)).mean())
    assert got.auc_ci95[0] < got.auc < got.auc_ci95[1]


def test_few_pairs_show_a_higher_rate_only() -> None:
    pairs = Pairs(LABELS[:12])
    got = pairs.separation(pairs.similarities(table(0.6)[:12]))
    assert got.rate == pytest.approx(3 / 48)


def test_an_advantage_is_found_and_none_is_invented() -> None:
    pairs = Pairs(LABELS)
    good, bad = (pairs.similarities(table(noise)) for noise in (0.6, 1.2))
    better, none = pairs.advantage(good, bad, tried=6), pairs.advantage(bad, bad, tried=6)
    assert better.interval[0] > 1.1 and better.ratio > 1.2
    assert none == Advantage(1.0, (1.0, 1.0))
    assert pairs.advantage(bad, good, tried=6).interval[1] < 1
    wider = pairs.advantage(good, bad, tried=600).interval
    assert wider[0] < better.interval[0] and wider[1] > better.interval[1]


def test_one_person_or_no_pair_cannot_be_judged() -> None:
    for labels in ([0, 0, 0], [0, 1, 2], []):
        with pytest.raises(InputError, match="too few pictures"):
            Pairs(labels)


def verdict(
    rows: np.ndarray, threshold: float | None = None, *alternatives: sanity.Alternative
) -> sanity.Tested:
    pairs = Pairs(LABELS)
    return sanity._verdict("e", pairs, pairs.similarities(rows), threshold, alternatives, ())


def test_strangers_who_pass_and_an_embedder_that_tells_nobody_apart_are_refused() -> None:
    assert verdict(table(0.6), 0.5).failures == ()
    high = verdict(table(0.6, common=3.0), 0.97)
    assert high.separation.stranger_mean > 0.8 and high.failures == (), "alike, yet told apart"
    (words,) = verdict(table(0.6, common=3.0), 0.5).failures
    assert "pairs of strangers" in words and "threshold 0.500" in words
    (words,) = verdict(table(8.0)).failures
    assert "does not tell people apart" in words


@pytest.mark.parametrize(
    ("ratio", "sure", "outcome"), [(1.3, 1.15, "failure"), (1.3, 1.05, "warning"), (1.1, 0.99, "nothing")]
)
def test_another_preprocessing_refuses_warns_or_says_nothing(ratio: float, sure: float, outcome: str) -> None:
    got = verdict(table(0.6), None, sanity.Alternative("other", Advantage(ratio, (sure, 2.0))))
    assert any("preprocessing is wrong" in f for f in got.failures) == (outcome == "failure")
    assert any("perhaps" in w for w in got.warnings) == (outcome == "warning")


def test_the_embedded_gallery_shows_that_its_embedders_tell_made_up_people_apart() -> None:
    from portrait_lora.faces.backends import open_untested

    pack = resolve_pack()
    for role in sanity.ROLES:
        got = sanity.judge_gallery(pack, role, open_untested(pack, role).impostor_embeddings())
        assert got.separation.auc > 0.95 and not any("does not tell" in f for f in got.failures)


def test_alternatives_differ_from_what_is_stated() -> None:
    stated = Preprocessing.arcface()
    others = sanity.usual_others(stated, (96, 112))
    assert stated not in others and len(set(others)) == len(others)
    assert any(o.colour == "BGR" for o in others) and any(o.side_px == 96 for o in others)
    assert not any(o.colour == "BGR" for o in sanity.usual_others(stated, (), grey=True))
