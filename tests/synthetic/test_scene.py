"""Draws, overrides and distributions of synthetic scenes."""

import dataclasses

import pytest
import torch

from portrait_lora import vocabulary
from portrait_lora.synthetic import sample_scenes


def _fields(scenes):
    return {f.name: getattr(scenes, f.name) for f in dataclasses.fields(scenes) if f.name != "seeds"}


def test_a_row_depends_only_on_its_seed():
    alone, together = _fields(sample_scenes([5])), _fields(sample_scenes([9, 5]))
    for name, values in alone.items():
        assert torch.equal(values[0], together[name][1]), name


def test_an_override_does_not_shift_other_draws():
    free = _fields(sample_scenes(range(20)))
    fixed = _fields(sample_scenes(range(20), lighting="split lighting", wardrobe="navy suit"))
    for name in set(free) - {"rig", "garment", "garment_colour"}:
        assert torch.equal(free[name], fixed[name]), name
    assert (fixed["rig"] == vocabulary.LIGHTINGS.index("split lighting")).all()


def test_overrides_in_words():
    scenes = sample_scenes(
        range(12), view="profile", setting="pink bokeh backdrop", shot="close-up", expression="laughing"
    )
    assert all(vocabulary.view_of(y) == "profile" for y in scenes.yaw_deg.tolist())
    assert (scenes.backdrop_colour == vocabulary.BACKDROP_COLOURS.index("pink")).all()
    assert (scenes.backdrop == vocabulary.BACKDROPS.index("bokeh backdrop")).all()
    assert (scenes.head_fraction >= 0.71).all()
    assert (scenes.smile == 1).all()
    per_row = sample_scenes([1, 2], yaw_deg=[-30.0, 40.0], expression=["smiling", "neutral"])
    assert per_row.yaw_deg.tolist() == [-30.0, 40.0]


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="expression"):
        sample_scenes([1], expression="grinning")
    with pytest.raises(TypeError, match="unknown field"):
        sample_scenes([1], colour="red")
    with pytest.raises(ValueError, match="2 values for 3"):
        sample_scenes([1, 2, 3], yaw_deg=[0.0, 1.0])


def test_views_are_mixed_and_yaw_is_bounded():
    scenes = sample_scenes(range(800))
    views = [vocabulary.view_of(y) for y in scenes.yaw_deg.tolist()]
    assert abs(views.count("frontal") / 800 - 0.50) < 0.06
    assert abs(views.count("profile") / 800 - 0.15) < 0.05
    assert scenes.yaw_deg.abs().max() <= 75
    assert sample_scenes(range(200), max_yaw_deg=30).yaw_deg.abs().max() <= 30
