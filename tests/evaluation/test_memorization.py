"""Copies are counted against what this person's real photos do among themselves."""

import numpy as np
import pytest
from scipy import stats

from portrait_lora.errors import InputError
from portrait_lora.evaluation.copyview import view
from portrait_lora.evaluation.memorization import (
    LIMITS,
    copy_report,
    diversity,
    duplicates,
    match_threshold,
    similarity_gap,
)
from portrait_lora.evaluation.similarity import ReferenceSet
from tests.evaluation.drawn import KEYPOINTS, PLANTS, drawn_scene, plant


def views(seeds):
    return [view(drawn_scene(i), KEYPOINTS) for i in seeds]


TRAINING, HOLDOUT, NEW = views(range(8)), views(range(100, 103)), views(range(200, 220))


def test_copies_are_flagged_and_honest_portraits_are_not():
    planted = [
        view(*plant(kind, drawn_scene(i), drawn_scene(50 + i), seed=i)) for i, kind in enumerate(PLANTS)
    ]
    copies = copy_report([*planted, *NEW], TRAINING, HOLDOUT)
    assert copies.copied == (*[True] * 6, *[False] * 20)
    assert copies.copy_score == pytest.approx(6 / 26)
    assert [match for match, _ in copies.matches[:6]] == list(range(6))
    assert copies.real_photos == 11


def test_the_threshold_by_hand_and_its_limits():
    best = [0.870, 0.874, 0.870, 0.874, 0.870]
    z = np.arctanh(best)
    limit = np.tanh(z.mean() + stats.t.ppf(0.99, 4) * z.std(ddof=1) * np.sqrt(6 / 5))
    assert LIMITS[0] < limit < LIMITS[1]
    assert match_threshold(best) == pytest.approx(limit, abs=1e-6)
    assert match_threshold([0.1, 0.12, 0.11]) == LIMITS[0]
    assert match_threshold([0.9, 0.5, 0.95]) == LIMITS[1]


def test_too_few_real_photos_and_no_portraits():
    with pytest.raises(InputError, match="got 2; needed 3"):
        copy_report(NEW, TRAINING[:1], HOLDOUT[:1])
    with pytest.raises(InputError, match="training photo"):
        copy_report(NEW, [], HOLDOUT)
    assert copy_report([], TRAINING, HOLDOUT).copy_score == 0.0


def test_diversity_and_repeated_pictures():
    same = [NEW[0]] * 4
    assert diversity(same) == pytest.approx(0.0, abs=1e-5)
    assert 0.3 < diversity(NEW[:8]) < 1.1
    assert diversity(NEW[:1]) is None
    assert duplicates([NEW[0], NEW[1], NEW[0], NEW[2]]) == ((2, 0),)
    assert duplicates(NEW) == ()
    assert duplicates([]) == ()


def test_gap_matches_poses_and_numbers():
    # two held-out photos at yaw 0 and 40; of the three training photos those at 5 and 38 are compared
    holdout = ReferenceSet(np.array([[1, 0, 0], [0, 1, 0]]), ("h0", "h1"), "b", (0.0, 40.0))
    training = ReferenceSet(
        np.array([[0, 0, 1], [0.6, 0.8, 0], [0.8, 0.6, 0]]), ("x", "y", "z"), "b", (-60.0, 5.0, 38.0)
    )
    portrait = np.array([[0.6, 0.8, 0]])
    assert similarity_gap(portrait, training, holdout) == pytest.approx(1.0 - 0.8)
    far = ReferenceSet(training.embeddings, training.names, "b", (1.0, 90.0, 39.0))
    assert similarity_gap(portrait, far, holdout) == pytest.approx(0.96 - 0.8)


def test_gap_needs_all_three():
    holdout = ReferenceSet(np.eye(2), ("a", "b"))
    with pytest.raises(InputError):
        similarity_gap(np.zeros((0, 2)), holdout, holdout)
