"""What stages hand on: the same bytes after a round trip, earlier versions read, damage told or done anew."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from portrait_lora import manifest, summaries
from portrait_lora.errors import ArtifactError
from portrait_lora.likeness import STAGES, Journal
from portrait_lora.results import (
    KINDS,
    CheckResult,
    GenerateResult,
    Journey,
    RunResult,
    ScoreResult,
    SelectResult,
    StageRecord,
    StageResult,
    TrainingResult,
)
from tests import conftest
from tests.sample_results import ALL, CHECKED, FIGURES, GENERATED, PREPARED, SCORED, TRAINED

OLDER = {
    "check": {
        "photos": {"given": 1, "accepted": 0, "rejected": [{"file": "a", "codes": ["b"]}], "held_out": 0},
        "held_out": [], "findings": [{"file": "a", "accepted": False, "findings": []}],
        "missing": [], "advice": [], "enough": False, "report": "r",
    },
    "train": {"base": "b", "steps": 6, "samples": 24, "final_loss": 0.5, "checkpoints": ["step-000006"]},
    "select": {
        "selected_step": 6, "probes": [{"step": 6, "mean": 0.5, "face_found_rate": 1.0, "values": [0.5]}],
        "adapter": "a",
    },
    "generate": {"portraits": 2, "folder": "f", "contact_sheet": "s"},
    "score": {
        "likeness": {
            "embedder": "b", "adapter_mean": 0.5, "ci95": [0.4, 0.6], "base_mean": 0.1, "ceiling": 0.7,
            "impostor": 0.0, "share_of_ceiling": 0.7, "face_found_rate": 1.0, "verified_rate": 1,
            "threshold": 0,
        },
        "report": "r",
    },
}  # fmt: skip
"""What earlier versions wrote, with the fewest keys that any of them had."""


def journal_of(folder: Path, rows: object) -> Journal:
    manifest.write_json_atomic(folder / "stages.json", rows)
    return Journal.open(folder)


def test_the_samples_give_every_field_there_is() -> None:
    assert tuple(one.STAGE for one in ALL) == STAGES
    for one in ALL:
        assert list(one.json_value()) == list(type(one).model_fields), one.STAGE


def test_a_photo_whose_name_is_not_utf8_does_not_empty_the_journal(tmp_path: Path) -> None:
    photo = CHECKED.photos.rejected[0].model_copy(update={"file": os.fsdecode(b"photo_\xff1.jpg")})
    photos = CHECKED.photos.model_copy(update={"rejected": (photo,)})
    result = CHECKED.model_copy(update={"photos": photos})
    Journal.open(tmp_path).record({"a": "1"}, 1.0, result)
    journal = Journal.open(tmp_path)
    assert journal.is_done("check", {"a": "1"}) and journal.result(type(result)) == result


@pytest.mark.parametrize("result", ALL, ids=STAGES)
def test_every_result_comes_back_to_the_byte(result: StageResult, tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    journal.record({"a": "1"}, 1.25, result, {"reports/b.html": "0" * 64})
    before = (tmp_path / "stages.json").read_bytes()
    read = Journal.open(tmp_path)
    assert read.result(type(result)) == result
    (tmp_path / "stages.json").unlink()
    record = read.stages[result.STAGE]
    read.record(record.inputs, record.seconds, record.result, record.outputs)
    assert (tmp_path / "stages.json").read_bytes() == before


@pytest.mark.journey
def test_the_journal_and_the_summary_of_a_journey_come_back_to_the_byte(journey: conftest.Journey) -> None:
    rows = json.loads((journey.folder / "reports" / "stages.json").read_text())
    assert set(rows) == set(STAGES)  # a stage that is repeated moves to the end
    for stage, row in rows.items():
        assert json.dumps(StageRecord.read(stage, row).json_value()) == json.dumps(row)
    run = json.loads((journey.folder / "reports" / "run.json").read_text())
    assert json.dumps(RunResult.read(run).json_value()) == json.dumps(run)


@pytest.mark.parametrize("stage", OLDER)
def test_what_an_earlier_version_wrote_is_read_and_written_as_it_was(stage: str, tmp_path: Path) -> None:
    row = {"inputs": {"a": "1"}, "summary": OLDER[stage]}
    journal = journal_of(tmp_path, {stage: row})
    assert journal.is_done(stage, {"a": "1"}) and journal.seconds(stage) == 0.0
    assert journal.outputs(stage) == {}
    again = journal.result(KINDS[stage]).json_value()
    assert json.dumps(again) == json.dumps(OLDER[stage])


def test_what_an_earlier_version_lacks_is_what_it_did(tmp_path: Path) -> None:
    rows = {stage: {"inputs": {}, "seconds": 1.0, "summary": summary} for stage, summary in OLDER.items()}
    journal = journal_of(tmp_path, rows)
    training, generated = journal.result(TrainingResult), journal.result(GenerateResult)
    assert training.resumed_from is None and not training.stopped_early
    assert journal.result(CheckResult).coverage is None and journal.result(SelectResult).average is None
    assert summaries.of_generate(generated) == ["2 portraits in f", "the sheet: s"]


@pytest.mark.parametrize(
    "damage",
    [
        {"steps": "6"},
        {"steps": None},
        {"steps": True},
        {"checkpoints": "step-000006"},
        {"checkpoints": [6]},
        {"of_a_later_version": 1},
    ],
    ids=str,
)
def test_a_damaged_row_is_a_typed_error_and_its_stage_is_done_anew(
    damage: dict[str, object], tmp_path: Path
) -> None:
    row = {"inputs": {"a": "1"}, "seconds": 1.0, "summary": TRAINED.json_value() | damage}
    with pytest.raises(ArtifactError, match=next(iter(damage))):
        StageRecord.read("train", row)
    whole = {"inputs": {"b": "2"}, "seconds": 1.0, "summary": PREPARED.json_value()}
    journal = journal_of(tmp_path, {"train": row, "prepare": whole})
    assert not journal.is_done("train", {"a": "1"}) and journal.is_done("prepare", {"b": "2"})
    with pytest.raises(ArtifactError, match="stage train has not run"):
        journal.result(TrainingResult)


@pytest.mark.parametrize(
    "row", [None, [], "x", {}, {"inputs": 1, "summary": {}}, {"inputs": {"a": 1}}], ids=str
)
def test_what_is_no_row_is_no_record(row: object, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        StageRecord.read("train", row)
    assert journal_of(tmp_path, {"train": row}).stages == {}


def test_results_are_frozen_and_take_nothing_else() -> None:
    with pytest.raises(ValidationError):
        PREPARED.crops = 7  # type: ignore[misc]
    with pytest.raises(ValidationError):
        type(PREPARED)(crops=6, photos_for_training=3, held_out=(), captions=(), more=1)  # type: ignore[call-arg]


def test_a_journey_shows_all_its_results_and_the_later_one_of_two() -> None:
    done = Journey(ALL)
    assert done.of(GenerateResult) is GENERATED
    value = done.json_value()
    assert value["report"] == SCORED.report and value["held_out"] == ["b.png"]
    assert list(value)[:3] == ["photos", "held_out", "findings"], "a key keeps its first place"
    with pytest.raises(ArtifactError, match="stage score has not run"):
        Journey(ALL[:-1]).of(ScoreResult)


def test_the_figures_are_printed_without_what_was_not_measured() -> None:
    """A report of an earlier version has no copy score, a standalone one no portraits of the bare base."""
    whole = summaries.of_likeness(FIGURES)
    assert "too close to a training photo" in whole[2] and "without the adapter 0.100" in whole[1]
    older = ScoreResult.read(OLDER["score"]).likeness
    lines = summaries.of_likeness(older)
    assert lines[2] == "  face found in 100% of the portraits, 100% verified at 0.000" and len(lines) == 3
    alone = FIGURES.model_copy(update={"base_mean": None, "copy_score": 0.25})
    lines = summaries.of_likeness(alone, reference="photos", copied="real photo")
    assert lines[0].startswith("similarity to the photos 0.500") and "adapter" not in lines[1]
    assert lines[2].endswith(", 25% too close to a real photo")
