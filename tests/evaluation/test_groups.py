import pytest

from portrait_lora.errors import InputError
from portrait_lora.evaluation.groups import Person, by_face_size, by_view, group_rates, size_bin
from portrait_lora.records import IdentityScore


def score(similarity, view=None, px=None, prompt="p"):
    return IdentityScore("x", prompt, similarity, None, view, "b", None, px, int(px is not None))


def test_bins_of_view_and_size_leave_out_portraits_without_a_face():
    scores = [score(0.6, "frontal", 140), score(0.2, "profile", 40), score(0.4, "profile", 50), score(None)]
    views = by_view(scores, 0.35)
    assert [(b.name, b.portraits, b.verified_rate) for b in views] == [
        ("frontal", 1, 1.0),
        ("profile", 2, 0.5),
    ]
    assert views[1].mean.mean == pytest.approx(0.3)
    assert [(b.name, b.portraits) for b in by_face_size(scores, 0.35)] == [("32-64 px", 2), ("128-256 px", 1)]


def test_size_bins_meet_without_gaps():
    assert [size_bin(v) for v in (5, 32, 63.9, 64, 255, 256, 900)] == [
        "under 32 px", "32-64 px", "32-64 px", "64-128 px", "128-256 px",
        "256 px and more", "256 px and more",
    ]  # fmt: skip


def person(name, sex, genuine, impostors=(0.1, 0.5)):
    return Person(name, {"sex": sex} if sex else {}, genuine, 0.4, 0.7, 0.1, impostors)


def test_error_rates_by_group():
    people = [
        person("a", "woman", (0.5, 0.3, None, 0.6)),
        person("b", "woman", (0.5, 0.5, 0.5, 0.5)),
        person("c", "man", (0.3, 0.3), ()),
        person("d", "", (0.9,)),
    ]
    men, women = group_rates(people, "sex")
    assert (men.group, men.people, women.people) == ("man", 1, 2)
    assert women.false_non_match_rate == pytest.approx(2 / 8)
    assert women.false_match_rate == pytest.approx(0.5)
    assert (men.false_non_match_rate, men.false_match_rate) == (1.0, None)
    assert women.similarity.clusters == 2
    assert women.share_of_ceiling.mean == pytest.approx(((0.35 - 0.1) + (0.5 - 0.1)) / 2 / 0.6)
    with pytest.raises(InputError, match="twice"):
        group_rates([people[0], people[0]], "sex")
