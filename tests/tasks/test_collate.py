"""`compare` and `report` on finished reports."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from portrait_lora.errors import InputError
from portrait_lora.evaluation.drift import drift_report
from portrait_lora.evaluation.drift_page import PageNotes, write_drift_json
from portrait_lora.records import IdentityScore
from portrait_lora.tasks import compare


def person(
    place: Path, name: str, shift: float, *, pack: str = "d", prompts: int = 6, known: bool = True
) -> Path:
    rng = np.random.default_rng(7)
    scores = [
        IdentityScore(f"{p}-{k}.png", f"prompt {p}", 0.4 + shift + rng.normal(0, 0.02), None, None, "b")
        for p in range(prompts)
        for k in range(2)
    ]
    drift = drift_report(
        scores, [], holdout=("h1.jpg", "h2.jpg"), pack_digest=pack, threshold=0.42, false_match_rate=1e-3,
        ceiling=0.7, impostor=0.1, copy_score=float("nan"),
    )  # fmt: skip
    folder = place / name / "reports"
    folder.mkdir(parents=True)
    write_drift_json(folder / "drift.json", drift, PageNotes(subject=name, prompts_known=known))
    return place / name


def test_two_adapters_side_by_side(tmp_path: Path):
    a, b = person(tmp_path, "new", 0.03), person(tmp_path, "old", 0.0)
    summary = compare.compare_reports(a, b / "reports" / "drift.json")
    assert summary["sentence"].startswith("new is better by 0.030")
    lines = compare.comparison_lines(summary)
    assert lines[0] == summary["sentence"]
    assert json.dumps(summary)


def test_people_side_by_side_with_groups(tmp_path: Path):
    folders = [person(tmp_path, name, s) for name, s in (("ann", 0.1), ("bea", 0.0), ("cid", -0.1))]
    (tmp_path / "groups.csv").write_text("name,sex\nann,woman\nbea,woman\ncid,man\n")
    summary = compare.collate(folders, tmp_path / "groups.csv", tmp_path / "all.csv")
    assert [row["name"] for row in summary["people"]] == ["ann", "bea", "cid"]
    men, women = summary["groups"]["sex"]
    assert women["false_non_match_rate"] < men["false_non_match_rate"]
    assert (tmp_path / "all.csv").read_text().count("\n") == 4
    lines = compare.collation_lines(summary)
    assert any("sex woman: 2 people" in line for line in lines)
    assert json.dumps(summary)


def test_wrong_use_is_an_error(tmp_path: Path):
    folder = person(tmp_path, "ann", 0.0)
    with pytest.raises(InputError, match="no report here"):
        compare.report_file(tmp_path / "absent")
    other = person(tmp_path, "ben", 0.0, pack="e")
    with pytest.raises(InputError, match="different face packs"):
        compare.collate([folder, other], None, None)
    with pytest.raises(InputError, match="different face packs"):
        compare.compare_reports(folder, other)
    (tmp_path / "groups.csv").write_text("name,sex\nzoe,woman\n")
    with pytest.raises(InputError, match="not here"):
        compare.collate([folder], tmp_path / "groups.csv", None)
    (tmp_path / "groups.csv").write_text("person,sex\nann,woman\n")
    with pytest.raises(InputError, match="not a table of groups"):
        compare.collate([folder], tmp_path / "groups.csv", None)


def test_a_table_of_people_holds_numbers_and_shows_no_interval_that_means_nothing(tmp_path: Path):
    folders = [
        person(tmp_path, "ann", 0.1),
        person(tmp_path, "bea", 0.0, prompts=2),
        person(tmp_path, "cid", 0.0, prompts=1, known=False),
    ]
    summary = compare.collate(folders, None, tmp_path / "all.csv")
    rows = list(csv.DictReader((tmp_path / "all.csv").open()))
    assert [bool(row["ci95_low"]) and bool(row["ci95_high"]) for row in rows] == [True, False, False]
    assert float(rows[0]["ci95_low"]) < float(rows[0]["mean"]) < float(rows[0]["ci95_high"])
    for row in rows:
        for column, cell in row.items():
            assert column == "name" or not cell or float(cell) is not None, column
    lines = compare.collation_lines(summary)
    assert "[" in lines[0] and "too few prompts" in lines[1] and "no prompts named" in lines[2]
    assert "too few people" in lines[3]


def test_folders_without_prompts_side_by_side(tmp_path: Path):
    a, b = (person(tmp_path, n, s, prompts=1, known=False) for n, s in (("a", 0.1), ("b", 0.0)))
    summary = compare.compare_reports(a, b)
    assert summary["ci95"] is None and json.dumps(summary)
    assert "of prompts unknown" in compare.comparison_lines(summary)[1]
