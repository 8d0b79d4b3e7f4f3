"""How far people are apart."""

from __future__ import annotations

import pytest
import torch

from portrait_lora.synthetic import MIN_DISTANCE, People, distance, sample_people, spacing


def joined(one: People, other: People) -> People:
    values = {k: torch.cat([v, other.values[k]]) for k, v in one.values.items()}
    return People(one.seeds + other.seeds, values)


def test_the_nearest_two_are_found() -> None:
    people = sample_people(range(40))
    result = spacing(people)
    every = {
        (i, j): float(distance(people.take([i]), people.take([j]))[0]) for i in range(40) for j in range(i)
    }
    (late, early), least = min(every.items(), key=lambda item: item[1])
    assert result.nearest is not None
    assert (result.nearest.seed, result.nearest.earlier) == (late, early)
    assert result.nearest.apart == pytest.approx(least, abs=1e-5)
    assert result.too_near == () and result.kept == tuple(range(40))


def test_a_double_is_left_out_and_nobody_because_of_one_left_out() -> None:
    people = sample_people([1, 2, 3])
    shift = {k: v + (0.9 if k in ("eye_x", "nose_len") else 0.0) for k, v in people.values.items()}
    doubles = joined(people, People((11, 12, 13), shift))
    result = spacing(doubles)
    assert result.kept == (1, 2, 3)
    assert [(n.seed, n.earlier) for n in result.too_near] == [(11, 1), (12, 2), (13, 3)]
    assert all(0 < n.apart < MIN_DISTANCE for n in result.too_near)
    apart = result.too_near[0].apart
    chain = joined(people.take([0]), People((11,), {k: v[:1] for k, v in shift.items()}))
    further = {k: v[:1] + (2.0 if k in ("eye_x", "nose_len") else 0.0) for k, v in people.values.items()}
    result = spacing(joined(chain, People((12,), further)), limit=apart * 1.5)
    assert result.kept == (1, 12)  # near to 11 only, who is not there any more


def test_more_people_change_nothing_about_the_first() -> None:
    few, many = spacing(sample_people(range(200)), 0.7), spacing(sample_people(range(300)), 0.7)
    assert few.too_near and many.kept[: len(few.kept)] == few.kept
    assert spacing(sample_people([5])).nearest is None
