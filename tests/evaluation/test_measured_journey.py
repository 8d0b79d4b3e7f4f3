"""What a finished journey leaves behind: tables, extras, selection, and drift over a setting."""

import json
import shutil
from pathlib import Path

import pytest

from portrait_lora.evaluation import protocol
from portrait_lora.faces import FaceAnalyzer
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.tasks import compare, drift_over
from scripts.evaluate.studio.adapters import read_rows, shares_read
from tests.conftest import REDUCED, Journey

pytestmark = pytest.mark.journey


def test_every_kind_of_result_is_there(journey: Journey):
    reports = journey.folder / "reports"
    results = json.loads((reports / "drift.json").read_text(encoding="utf-8"))
    assert results["protocol"] == protocol.VERSION
    assert len(results["real_scores"]) == 16
    assert results["impostor_scores"]
    assert results["adherence"] is not None
    assert results["diversity"] is not None
    assert {"copy_score", "adherence"} <= set(results["checkpoints"][0])
    assert (reports / "drift.csv").read_text().count("\n") == 1 + 8 + 8
    page = (reports / "drift.html").read_text(encoding="utf-8")
    for words in (
        "Where the portraits stand",
        "Prompts and seeds",
        "The least alike first",
        "By view and face",
    ):
        assert words in page


def test_what_the_face_pack_reads_as_asked_is_what_the_report_counts(journey: Journey):
    rows = json.loads((journey.folder / "reports" / "drift.json").read_text(encoding="utf-8"))["attributes"]
    finder = FaceAnalyzer(resolve_pack(), "report")
    with_it, without = shares_read(finder, journey.folder)
    assert with_it == pytest.approx(sum(r["asked"] * r["rate"] for r in rows) / sum(r["asked"] for r in rows))
    assert 0 < without <= 1
    assert [row.value for row in read_rows([journey.folder], finder)] == pytest.approx(
        [with_it, without, without - with_it]
    )
    assert read_rows([], finder) == []


def test_an_adapter_is_no_better_than_itself(journey: Journey):
    summary = compare.compare_reports(journey.folder, journey.folder)
    assert summary["difference"] == 0
    assert "No significant difference" in summary["sentence"]


def test_drift_over_a_setting(journey: Journey, tmp_path: Path):
    folder = tmp_path / "demo"
    shutil.copytree(journey.folder, folder)
    few = [*REDUCED, "generate.num_inference_steps=2"]
    result = drift_over.run(folder, "adapter_scale=0,1", few)
    assert [row.value for row in result.rows] == ["0", "1"]
    assert "adapter_scale 1" in result.rows[1].sentence
    assert (folder / "reports" / "sweep-adapter_scale.csv").read_text().count("\n") == 1 + 2 * 8
