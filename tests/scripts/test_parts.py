"""Parts are computed once, shared, and put together in order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts import parts
from scripts.bench import fuzz_images
from scripts.evaluate import check as evaluate_check
from scripts.evaluate.check import Study, Tally
from scripts.evaluate.check_sets import Sizes

NAMES = ["a", "b", "c"]


def test_finished_parts_are_not_repeated(tmp_path: Path) -> None:
    computed: list[str] = []

    def make(name: str) -> parts.Result:
        computed.append(name)
        return {"name": name}

    def collect(part: str | None = None) -> list[parts.Result] | None:
        return parts.collect(NAMES, make, work=tmp_path, name="study", part=part)

    assert collect("1/2") is None
    assert computed == ["a", "c"]
    assert collect() == [{"name": n} for n in NAMES]
    assert computed == ["a", "c", "b"]
    assert collect("2/2") is None
    assert len(computed) == 3


@pytest.mark.parametrize("part", ["0/2", "3/2", "1", "a/b"])
def test_a_wrong_part_is_refused(tmp_path: Path, part: str) -> None:
    with pytest.raises(ValueError, match="K/N"):
        parts.collect(NAMES, lambda n: {}, work=tmp_path, name="x", part=part)
    with pytest.raises(ValueError, match="needs --work"):
        parts.collect(NAMES, lambda n: {}, work=None, name="x", part=part)


def test_results_are_named_after_what_they_depend_on() -> None:
    sources = ("scripts/parts.py",)
    assert parts.key("a", sources=sources) == parts.key("a", sources=sources)
    assert parts.key("a", sources=sources) != parts.key("b", sources=sources)
    assert parts.key("a", sources=sources) != parts.key("a", sources=("scripts/rows.py",))
    with pytest.raises(ValueError, match=r"no file matches scripts/moved\.py"):
        parts.key("a", sources=(*sources, "scripts/moved.py"))


def test_parts_of_the_check_become_rows() -> None:
    tally = Tally()
    tally.add({"blurred"}, "blurred", "bad", (), "one")
    tally.add(set(), "blurred", "bad", (), "two")
    tally.add({"blurred", "no_face"}, None, "good", (), "three")
    whole = Tally()
    for _ in range(2):
        whole.include(json.loads(json.dumps(tally.to_json())))
    assert whole.photos == 6
    rows = {r.name: r for r in whole.rows(["blurred"])}
    assert rows["blurred: recall"].value == 0.5
    assert rows["blurred: precision"].value == 0.5
    assert rows["blurred: recall"].n == 4


def test_every_part_of_the_check_can_be_named() -> None:
    sizes = Sizes(per_level=1, clean=150, people=12, photos=3, sets=2)
    names = Study(sizes, 0, None).names()  # type: ignore[arg-type]
    assert len(names) == len(set(names))
    assert names[:2] == ["clean-0", "clean-1"]
    assert names[-2:] == ["people-0", "people-1"]
    assert {d.code for d in evaluate_check.DEGRADATIONS} < set(names)


def test_parts_of_the_fuzzing_become_rows() -> None:
    parts = [
        {"kinds": {"pixels": 3, "finding": 7}, "slowest": [0.5, 11], "peak_gib": 0.2},
        {"kinds": {"finding": 9, "MemoryError": 1}, "slowest": [2.5, 12], "peak_gib": 0.4},
    ]
    rows = fuzz_images.fuzz_rows(parts)
    assert [r.met for r in rows] == [False, False, None, True]
    assert rows[1].name.endswith("(file 12)")
