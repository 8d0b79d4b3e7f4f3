import numpy as np
import pytest

from portrait_lora.dataset.subject import average_linkage, find_subject

from .made_up import embedding

SAME = 0.35


def people(*counts):
    rows = [embedding(person + 1, i) for person, n in enumerate(counts) for i in range(n)]
    return np.stack(rows), np.repeat(np.arange(len(counts)), counts)


@pytest.mark.parametrize("counts", [(9, 6), (6, 4), (6, 1, 1, 1, 1), (12, 4, 4), (8,)])
def test_the_subject_is_found_among_forty_percent_of_others(counts):
    rows, who = people(*counts)
    order = np.random.default_rng(3).permutation(len(rows))
    subject = find_subject(rows[order], SAME)
    assert np.array_equal(subject.is_subject, who[order] == 0)
    assert not subject.tied


def test_two_people_equally_often_is_a_tie():
    assert find_subject(people(5, 5)[0], SAME).tied
    assert not find_subject(people(6, 5)[0], SAME).tied


def test_an_unusual_view_of_the_subject_stays_when_the_group_is_wide():
    rows = np.stack([embedding(1, i, spread=1.1) for i in range(8)])
    core = rows.mean(axis=0) / np.linalg.norm(rows.mean(axis=0))
    away = embedding(9) - (embedding(9) @ core) * core
    profile = 0.36 * core + np.sqrt(1 - 0.36**2) * away / np.linalg.norm(away)
    subject = find_subject(np.stack([*rows, profile, embedding(2)]).astype(np.float32), SAME)
    assert 0.7 * SAME <= subject.similarity[8] < SAME
    assert list(subject.is_subject) == [True] * 9 + [False]


def test_average_linkage_joins_nothing_below_the_threshold():
    assert average_linkage(np.eye(3), 0.5) == [[0], [1], [2]]
    assert average_linkage(np.array([[1, 0.9, 0.1], [0.9, 1, 0.2], [0.1, 0.2, 1]]), 0.5) == [[0, 1], [2]]
