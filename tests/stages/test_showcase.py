"""The end of the demo: one finished picture, and a sheet that shows how it came about."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_lora import manifest, provenance
from portrait_lora.finishing.before_after import Panel, write_sheet
from portrait_lora.finishing.canvas import Canvas
from portrait_lora.likeness import open_likeness
from portrait_lora.results import RunResult, Showcase
from portrait_lora.stages import showcase as ending
from portrait_lora.stages.context import Context
from portrait_lora.strict_json import load_object
from portrait_lora.summaries import of_showcase
from portrait_lora.tasks import finish as finishing
from tests.conftest import REDUCED, Journey


def _shown(journey: Journey) -> Showcase:
    path = journey.folder / "reports" / "run.json"
    shown = RunResult.read(load_object(path, "summary", file_names=True), path).showcase
    assert shown is not None
    return shown


def test_the_demo_ends_with_a_finished_picture_and_its_sheet(journey: Journey) -> None:
    shown = _shown(journey)
    name = Path(shown.picture).name
    picture = journey.folder / "portraits" / "headshots-finished" / "finished" / name
    with Image.open(picture) as one:
        assert one.size == shown.size_px and min(one.size) >= 512
    manifest.verify(picture.parent)
    assert Path(shown.portrait).stem in name
    assert shown.before_b is not None and shown.after_b is not None
    assert shown.before_b - shown.after_b < 0.1  # after a training far too short, portraits are weak
    sheet = journey.folder / "reports" / ending.SHEET
    assert sheet.stat().st_size <= 150_000
    assert provenance.source_type(sheet) == provenance.TRAINED
    with Image.open(sheet) as page:
        assert page.width > 1200
    assert of_showcase(shown)[1].endswith(shown.sheet)


def test_it_is_made_again_when_the_sheet_is_gone_and_a_refusal_fails_nothing(
    journey: Journey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("dataset", "portraits", "reports", "photos"):
        shutil.copytree(journey.folder / name, tmp_path / "me" / name)
    shutil.copy(journey.folder / "likeness.yaml", tmp_path / "me")
    ctx = Context(open_likeness(tmp_path / "me", REDUCED))
    sheet = tmp_path / "me" / "reports" / ending.SHEET
    before = sheet.read_bytes()
    sheet.unlink()
    again = ending.showcase(ctx)
    assert again is not None and sheet.read_bytes() == before
    assert ending.showcase(ctx) == again.model_copy(update={"seconds": 0}) and ctx.skipped == ["showcase"]
    sheet.unlink()
    monkeypatch.setattr(ending.finish_files, "mark_of", lambda source: b"")
    refuse = finishing.InputError("no face in this picture")
    monkeypatch.setattr(ending.Finisher, "_chain", lambda *_: (_ for _ in ()).throw(refuse))
    assert ending.showcase(ctx) is None
    assert not sheet.exists()


def test_the_sheet_shows_every_panel_and_keeps_to_its_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = Canvas.of(rng.integers(0, 256, (200, 160, 3), dtype=np.uint8))
    red = np.zeros((64, 64, 3), np.uint8) + np.array([200, 10, 10], np.uint8)
    clear = Canvas.of(red, np.zeros((64, 64), np.uint8))
    panels = [Panel(Canvas.of(red), "one", "a"), Panel(clear, "two", "b"), Panel(noise, "three", "c")]
    large = write_sheet(tmp_path / "a.jpg", panels, title="t", facts=["f"], mark=b"", max_bytes=10**7)
    small = write_sheet(tmp_path / "b.jpg", panels, title="t", facts=["f"], mark=b"", max_bytes=1)
    assert small.stat().st_size < large.stat().st_size
    with Image.open(large) as page:
        pixels = np.asarray(page.convert("RGB")).astype(int)
    assert np.abs(pixels[100, 100] - (200, 10, 10)).max() < 6
    assert pixels[100, 400].min() > 190  # the chequerboard, where nothing is left of the red
    assert pixels[60:600, -300:-100].std() > 30
