"""Obedience of a branded series, kept answers, and settings side by side, without drawing anything."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from portrait_lora.generation.prompts import load_series
from portrait_lora.records import Portrait
from scripts.evaluate import branded, compare_sampling
from scripts.evaluate import series as evaluate_series
from scripts.evaluate.studio.adapters import look_of
from scripts.evaluate.studio.attributes import ATTRIBUTES, labels
from scripts.evaluate.studio.merging import Groups, apart
from tests.scripts.test_studio import sure

NAMES = [a.name for a in ATTRIBUTES]


@dataclass
class Answers:
    """In place of trained classifiers: answers to one question after another."""

    groups: list[Groups]
    replies: list[Tensor]

    def read(self, pictures: Tensor) -> list[Tensor]:
        assert pictures.shape[1:] == (3, 128, 128)
        return sure(self.replies.pop(0))


@pytest.fixture
def portraits(tmp_path: Path) -> list[Portrait]:
    shots = load_series(
        "headshots",
        trigger="ohwx",
        subject="man",
        resolution_px=128,
        brand="example",
        form="clauses",
        closed=True,
    )
    Image.new("RGB", (128, 128)).save(tmp_path / "a.png")
    return [Portrait(tmp_path / "a.png", shot, 20, 3.0, 1.0, None) for shot in shots]


def test_renders_show_what_the_brand_says(portraits: list[Portrait]) -> None:
    looks = [look_of(dict(p.shot.layers)) for p in portraits[:2]]
    shown, pictures = branded.studio_pictures(looks, 3)
    assert pictures.shape == (3, 3, 128, 128)
    for look, seen in zip([*looks, looks[0]], shown, strict=True):
        for field in ("view", "shot", "expression", "wardrobe", "setting", "lighting"):
            assert getattr(look, field) == getattr(seen, field)


def test_the_classifiers_own_errors_are_taken_out(
    portraits: list[Portrait], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rig, colour = NAMES.index("rig"), NAMES.index("garment colour")
    looks = [look_of(dict(p.shot.layers)) for p in portraits]
    monkeypatch.setattr(branded, "studio_pictures", lambda _, count: (looks, torch.zeros(count, 3, 128, 128)))
    true = labels(looks)
    drawn, seen = true.clone(), true.clone()
    drawn[:4, colour] = (true[:4, colour] + 1) % 12  # half of the garments in another colour
    seen[:2, colour] = (true[:2, colour] + 1) % 12  # and a quarter of the renders misread
    drawn[:, rig] = 1  # rembrandt, which counts as three-point
    groups = [apart(len(a.words)) for a in ATTRIBUTES]
    groups[rig] = ((0, 1), *((i,) for i in range(2, 8)))
    rows = {r.name: r for r in branded.brand_rows(portraits, Answers(groups, [drawn, seen]), renders=8)}  # type: ignore[arg-type]
    assert rows["brand: garment colour obeyed"].value == pytest.approx(0.5 / 0.75)
    assert rows["brand: garment colour obeyed"].met is False
    assert rows["brand: garment colour, right of portraits"].value == 0.5
    assert rows["brand: garment colour, right of renders"].value == 0.75
    assert rows["brand: rig obeyed"].value == 1 and rows["brand: rig obeyed"].met is True
    assert rows["brand: rig obeyed, every word apart"].value == 0
    assert rows["brand: framing (shot) obeyed"].target == branded.OBEYED
    assert rows["brand: view obeyed"].met is None
    assert "rig: judged as one: three-point lighting = rembrandt lighting" in capsys.readouterr().out


def test_what_was_worked_out_is_kept(tmp_path: Path) -> None:
    calls: list[str] = []

    def work() -> float:
        calls.append("x")
        return 0.5

    file = tmp_path / "work" / "progress.json"
    file.parent.mkdir()
    assert evaluate_series.Progress(file).once("a", work) == 0.5
    again = evaluate_series.Progress(file)
    assert again.once("a", work) == 0.5 and again.once("b", lambda: None) is None
    assert evaluate_series.Progress(file).once("b", work) is None and calls == ["x"]


def test_people_of_a_cohort_are_those_that_are_finished(tmp_path: Path) -> None:
    for seed in (2003, 2001, 2002):
        (tmp_path / f"person-{seed}" / "reports").mkdir(parents=True)
        if seed != 2002:
            (tmp_path / f"person-{seed}" / "reports" / "run.json").write_text("{}")
    finished = branded.people(5, 0, tmp_path)
    assert finished == [(2001, tmp_path / "person-2001"), (2003, tmp_path / "person-2003")]
    assert branded.people(1, 0, tmp_path) == finished[:1]
    with pytest.raises(FileNotFoundError, match=r"scripts\.evaluate\.cohort"):
        branded.people(1, 0, tmp_path / "none")


def test_settings_are_named() -> None:
    assert compare_sampling.setting("usual=") == ("usual", ())
    name, overrides = compare_sampling.setting("a b=generate.guidance_scale=4 generate.identity_region=head")
    assert (name, overrides) == ("a b", ("generate.guidance_scale=4", "generate.identity_region=head"))
    with pytest.raises(argparse.ArgumentTypeError):
        compare_sampling.setting("nothing")


def test_intervals_need_three_people() -> None:
    assert evaluate_series._spread([0.1, 0.2]) is None
    low, high = evaluate_series._spread([0.1, 0.2, 0.3]) or (0, 0)
    assert low < 0.2 < high and low + high == pytest.approx(0.4)
