"""Stages read what lies there: the portraits that are scored are those delivered, whatever produced them."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from portrait_lora import manifest, provenance, recipe
from portrait_lora.errors import ArtifactError
from portrait_lora.likeness import STAGES, open_likeness
from portrait_lora.stages import reports, score, series
from portrait_lora.stages.context import Context
from tests.conftest import REDUCED, Journey

pytestmark = pytest.mark.journey
SMALL = (*REDUCED, "generate.series=avatars")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def copy(journey: Journey, tmp_path: Path) -> Path:
    folder = tmp_path / "demo"
    shutil.copytree(journey.folder, folder)
    return folder


def _run_and_watch(
    folder: Path, overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, str], list[str]]:
    """A whole run: the digests of the portraits as they were scored, and what a second run skips."""
    scored: dict[str, str] = {}
    look = reports.look

    def watched(finder: object, wanted: reports.Wanted) -> object:
        scored.update({item.path.name: _digest(item.path) for item in wanted.portraits})
        return look(finder, wanted)  # type: ignore[arg-type]

    monkeypatch.setattr(reports, "look", watched)
    recipe.run(folder, overrides=overrides)
    return scored, list(recipe.run(folder, overrides=overrides).skipped)


def test_reframed_portraits_are_scored_as_delivered(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brand = tmp_path / "mine.yaml"
    brand.write_text("brand: mine\nframing: {head_height: 0.98}\n")
    overrides = [*SMALL, f"generate.brand={brand}", "generate.reframe=true", "generate.reframe_limit=1.6"]
    scored, skipped = _run_and_watch(copy, overrides, monkeypatch)
    ctx = Context(open_likeness(copy, overrides))
    folder = ctx.likeness.portraits(ctx.series)
    pictures = sorted(folder.glob("*.png"))
    assert {p.name: _digest(p) for p in pictures} == scored and len(scored) == 2
    assert [provenance.read_record(p)["action"] for p in pictures] == ["reframe", "reframe"]
    manifest.verify(folder)
    assert skipped == list(STAGES)


def test_the_best_of_several_are_scored_as_delivered(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = [*SMALL, "generate.best_of=2"]
    scored, skipped = _run_and_watch(copy, overrides, monkeypatch)
    ctx = Context(open_likeness(copy, overrides))
    folder = ctx.likeness.portraits(ctx.series)
    assert {p.name: _digest(p) for p in folder.glob("*.png")} == scored and len(scored) == 2
    assert skipped == list(STAGES)
    chosen = json.loads((folder / series.CHOICES).read_text())
    assert {p.shot.name: p.shot.seed for p in series.delivered(ctx)} == chosen
    seeds = {p.stem: provenance.read_record(p)["seed"] for p in folder.glob("*.png")}
    assert seeds == chosen


def test_the_best_is_kept_and_not_the_worst(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewest failed checks first, then likeness."""
    table = {"x": [(0, 0.2), (-2, 0.3)], "y": [(-1, 0.9), (0, 0.1)], "z": [(0, 0.4), (0, 0.7)]}
    monkeypatch.setattr(series, "holdout_of", lambda ctx: None)
    monkeypatch.setattr(
        series, "_ranks", lambda ctx, portraits, holdout: [table[p.name][p.turn] for p in portraits]
    )
    shots = {name: SimpleNamespace(name=name) for name in table}
    rounds = [[SimpleNamespace(name=n, turn=k, shot=shots[n]) for n in table] for k in (0, 1)]
    kept = series.best(SimpleNamespace(shots=[*shots.values()]), rounds)  # type: ignore[arg-type]
    assert [p.turn for p in kept] == [0, 1, 1]  # type: ignore[attr-defined]


def test_a_folder_that_is_not_whole_is_not_scored(copy: Path) -> None:
    ctx = Context(open_likeness(copy, REDUCED))
    folder = ctx.likeness.portraits(ctx.series)
    assert len(series.delivered(ctx)) == 8
    with pytest.raises(ArtifactError, match="another series"):
        series.delivered(Context(open_likeness(copy, [*REDUCED, "generate.per_shot=2"])))
    next(folder.glob("*.png")).write_bytes(b"another picture")
    with pytest.raises(ArtifactError, match="changed"):
        series.delivered(ctx)
    (folder / manifest.NAME).unlink()
    with pytest.raises(ArtifactError, match="never finished"):
        series.delivered(ctx)


@pytest.mark.parametrize("change", ["pack", "clip", "subject", "select", "portraits", "dataset"])
def test_a_report_is_rebuilt_when_what_it_depends_on_changes(copy: Path, change: str) -> None:
    before = score.score_inputs(Context(open_likeness(copy, REDUCED)))
    assert before == score.score_inputs(Context(open_likeness(copy, REDUCED)))
    overrides = {"clip": ["score.clip=mine"], "subject": ["subject.name=Ann"]}.get(change, [])
    ctx = Context(open_likeness(copy, [*REDUCED, *overrides]))
    if change == "pack":
        ctx.__dict__["pack"] = SimpleNamespace(digest="another")
    if change == "select":
        stages = ctx.journal.stages
        stages["select"] = replace(stages["select"], inputs={"train": "another"})
    if change in ("portraits", "dataset"):
        place = ctx.likeness.dataset if change == "dataset" else ctx.likeness.portraits(ctx.series)
        manifest.finish(place, kind="another", inputs={})
    assert score.score_inputs(ctx) != before


REPORTS = ("drift.html", "drift.json", "drift.csv", "drift.parquet", "likeness.jpg", "run.json")


@pytest.mark.parametrize("damage", ["emptied", "flipped", "gone"])
def test_every_output_of_check_generate_and_score_is_watched(
    copy: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stage does its work again for any one file of its own, and the file is as it was."""
    base = sorted((copy / "portraits" / "headshots-base").iterdir())
    files = {
        "check": [copy / "reports" / "check.html"],
        "generate": [copy / "reports" / f"series-headshots.{end}" for end in ("html", "json")],
        "score": [*(copy / "reports" / name for name in REPORTS[:-1]), base[0], base[1]],
    }
    for stage, paths in files.items():
        for path in paths:
            before = path.read_bytes()
            if damage == "gone":
                path.unlink()
            else:
                path.write_bytes(b"" if damage == "emptied" else bytes([before[0] ^ 1]) + before[1:])
            ctx = Context(open_likeness(copy, REDUCED))
            assert not ctx._unchanged(stage), path
            path.write_bytes(before)
            assert ctx._unchanged(stage), path


def test_damaged_reports_and_base_pictures_are_mended(copy: Path) -> None:
    base = sorted((copy / "portraits" / "headshots-base").glob("*.png"))[0]
    damaged = [copy / "reports" / name for name in (*REPORTS, "check.html")] + [base]
    before = {path: path.read_bytes() for path in damaged}
    for path in damaged:
        path.write_bytes(b"")
    again = recipe.run(copy, overrides=REDUCED)
    assert list(again.skipped) == ["prepare", "train", "select", "generate"]
    assert all(path.stat().st_size for path in damaged)
    for name in ("drift.json", "drift.csv", "likeness.jpg"):
        path = copy / "reports" / name
        assert path.read_bytes() == before[path], name
    assert base.read_bytes() == before[base]
    assert recipe.run(copy, overrides=REDUCED).skipped == STAGES
