import numpy as np
import pytest

from portrait_lora.dataset.subject import average_linkage, find_subject, hard_view

from .made_up import embedding, made_up_face

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


def between(rows, cosine, seed):
    """A unit vector with about this cosine to the two nearest of `rows`, and a random rest."""
    near = rows[0] + rows[1]
    near /= np.linalg.norm(near)
    share = cosine / float(rows[0] @ near)
    rest = np.random.default_rng(seed).normal(size=len(near))
    basis = np.linalg.qr(rows.T)[0]
    rest -= basis @ (basis.T @ rest)
    return (share * near + np.sqrt(1 - share**2) * rest / np.linalg.norm(rest)).astype(np.float32)


def own(count=8):
    return np.stack([embedding(1, i, spread=0.7) for i in range(count)])


@pytest.mark.parametrize(
    ("cosine", "hard", "verdict"),
    [
        (0.67, False, "subject"),
        (0.40, False, "doubtful"),
        (0.20, False, "other"),
        (0.20, True, "doubtful"),
        (0.02, True, "other"),
    ],
)
def test_a_face_is_judged_by_its_nearest_two_and_hard_views_are_asked_about(cosine, hard, verdict):
    rows = own()
    subject = find_subject(
        np.stack([*rows, between(rows, cosine, 3)]).astype(np.float32), SAME, hard={8} if hard else ()
    )
    assert subject.is_subject[:8].all() and not subject.doubtful[:8].any()
    assert subject.support[8] == pytest.approx(cosine, abs=0.02)
    assert set(subject.nearest[8]) == {0, 1}
    answer = "subject" if subject.is_subject[8] else "doubtful" if subject.doubtful[8] else "other"
    assert answer == verdict


def test_one_stranger_does_not_draw_in_the_next():
    """Each of them resembles the first stranger far more than anything of the subject."""
    rows = own()
    first = between(rows, 0.44, 3)
    group = [first]
    for i in range(3):
        vector = 0.9 * first + 0.3 * embedding(50 + i)
        group.append(vector / np.linalg.norm(vector))
    subject = find_subject(np.stack([*rows, *group]).astype(np.float32), SAME)
    assert list(subject.is_subject) == [True] * 8 + [False] * 4


def test_a_second_person_in_the_largest_group_is_left_out_of_it():
    """As a sister: the average linkage joins both, but each is far more like herself."""
    rng = np.random.default_rng(5)
    common, a, b = np.linalg.qr(rng.normal(size=(64, 3)))[0].T

    def of(direction, seed):
        vector = 0.62 * common + 0.70 * direction + 0.3 * np.random.default_rng(seed).normal(size=64) / 8
        return vector / np.linalg.norm(vector)

    rows = np.stack([*(of(a, i) for i in range(7)), *(of(b, 20 + i) for i in range(4))]).astype(np.float32)
    assert len(average_linkage(rows @ rows.T, SAME)[0]) == 11
    subject = find_subject(rows, SAME)
    assert list(subject.is_subject) == [True] * 7 + [False] * 4
    assert subject.doubtful[7:].all()


def test_answers_decide():
    rows = own()
    every = np.stack([*rows, between(rows, 0.4, 3), embedding(9)]).astype(np.float32)
    assert list(find_subject(every, SAME, same={8, 9}).is_subject) == [True] * 10
    barred = find_subject(every, SAME, other={0, 8})
    assert not barred.is_subject[[0, 8]].any() and not barred.doubtful[[0, 8]].any()
    assert barred.is_subject[1:8].all()


def test_one_answer_settles_a_tie():
    rows, who = people(5, 5)
    subject = find_subject(rows, SAME, same={7})
    assert not subject.tied
    assert np.array_equal(subject.is_subject, who == 1)


def test_all_but_none_can_be_barred():
    rows = own(3)
    assert not find_subject(rows, SAME, other={0, 1, 2}).is_subject.any()


@pytest.mark.parametrize(
    ("pose", "hard"),
    [(None, False), ((0, 0, 0), False), ((0, -35, 0), True), ((-25, 0, 0), True), ((0, 0, 60), True)],
)
def test_profiles_bowed_and_lying_heads_are_hard_views(pose, hard):
    assert hard_view(made_up_face(pose_deg=pose)) is hard


def test_average_linkage_joins_nothing_below_the_threshold():
    assert average_linkage(np.eye(3), 0.5) == [[0], [1], [2]]
    assert average_linkage(np.array([[1, 0.9, 0.1], [0.9, 1, 0.2], [0.1, 0.2, 1]]), 0.5) == [[0, 1], [2]]
