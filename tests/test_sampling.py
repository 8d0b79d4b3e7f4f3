"""What `make test` leaves out of a sweep is what is not in its sample; `--exhaustive` leaves out nothing."""

from __future__ import annotations

import pytest

from tests.sampling import sampled


@pytest.mark.parametrize(
    ("letter", "number"), sampled([("a", 1), ("b", 2), ("c", 3)], kept=lambda case: case[1] != 2)
)
def test_a_case_of_two(letter: str, number: int) -> None:
    assert "abc".index(letter) + 1 == number


def test_the_sample_alone_was_collected(request: pytest.FixtureRequest, exhaustive: bool) -> None:
    here = [item.name for item in request.session.items if item.path == request.path]
    assert ("test_a_case_of_two[b-2]" in here) is exhaustive
    assert {"test_a_case_of_two[a-1]", "test_a_case_of_two[c-3]"} <= set(here)


def test_names_of_cases() -> None:
    one, other = sampled([1, 2], kept=lambda case: case == 1, name=lambda case: f"case {case}")
    assert (one.id, other.id) == ("case 1", "case 2")
    assert not one.marks and [mark.name for mark in other.marks] == ["exhaustive"]
