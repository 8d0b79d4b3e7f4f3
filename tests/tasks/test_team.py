"""Many people under one brand: everybody on one sheet, and a failure keeps nobody else from theirs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from portrait_lora import manifest, provenance
from portrait_lora.errors import InputError
from portrait_lora.generation.checklist import Framing
from portrait_lora.likeness import open_likeness
from portrait_lora.results import GenerateResult
from portrait_lora.stages.context import Context
from portrait_lora.tasks import team

OVERRIDES = ["generate.series=avatars", "generate.brand=example", "generate.per_shot=1"]


def _make(folder: Path) -> GenerateResult:
    if folder.name == "cara":
        raise InputError("no photos in this folder", where=folder)
    ctx = Context(open_likeness(folder, OVERRIDES))
    series = ctx.likeness.portraits(ctx.series)
    series.mkdir(parents=True, exist_ok=True)
    for shot in ctx.shots:
        Image.new("RGB", shot.size_px, (90, 120, 150)).save(series / f"{shot.name}.png")
    manifest.finish(series, kind="portraits", inputs={})
    return GenerateResult(
        portraits=2,
        folder=str(series),
        contact_sheet="sheet",
        flawed=0,
        seconds_per_portrait=1.5,
        cost_per_portrait=0.01,
        gallery="x",
    )


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    likenesses = [tmp_path / name for name in ("anna", "ben", "cara")]
    for folder in likenesses:
        (folder / "photos").mkdir(parents=True)
        (folder / "likeness.yaml").write_text("base: embedded\n")
    return likenesses


def test_everybody_is_on_one_sheet(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(team, "framings", lambda ctx, portraits: [Framing(0.38, 0.7), Framing(0.4, 0.72)])
    result = team.generate(folders, _make, tmp_path / "out", OVERRIDES)
    assert [row.person for row in result.people] == ["anna", "ben", "cara"]
    assert result.failed == 1 and "no photos" in result.people[2].error
    assert result.framing == team.Steadiness(eye_line_std=0.01, head_height_std=0.01)
    sheet = Path(result.contact_sheet)
    with Image.open(sheet) as page:
        assert page.height > page.width * 0.8  # two rows of two
    assert provenance.source_type(sheet) == "trainedAlgorithmicMedia"
    assert json.loads((tmp_path / "out" / "team.json").read_text()) == result.json_value()


def test_the_sheet_of_another_series_is_not_replaced(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(team, "framings", lambda ctx, portraits: [])
    team.generate(folders[:1], _make, tmp_path / "out", OVERRIDES)
    before = (tmp_path / "out" / "contact_sheet.jpg").read_bytes()
    other = [OVERRIDES[0], OVERRIDES[2]]  # the same series without the brand
    with pytest.raises(InputError, match="another series: got avatars--example; needed avatars"):
        team.generate(folders[:1], _make, tmp_path / "out", other)
    assert (tmp_path / "out" / "contact_sheet.jpg").read_bytes() == before
    team.generate(folders[:1], _make, tmp_path / "out", OVERRIDES)


def test_two_people_of_one_name_and_nobody_at_all(folders: list[Path], tmp_path: Path) -> None:
    twin = tmp_path / "other" / "anna"
    twin.mkdir(parents=True)
    with pytest.raises(InputError, match="one name"):
        team.generate([folders[0], twin], _make, tmp_path / "out", OVERRIDES)
    result = team.generate(folders[2:], _make, tmp_path / "out", OVERRIDES)
    assert (
        result.failed == 1 and "contact_sheet" not in result.json_value() and not (tmp_path / "out").exists()
    )
    assert result.framing == team.Steadiness(eye_line_std=None, head_height_std=None)
