"""Looks: the shipped ones are whole, and a wrong file names the step and the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from portrait_lora.errors import ConfigError
from portrait_lora.finishing import look
from portrait_lora.finishing.look import load_look, packaged_looks


@pytest.mark.parametrize("name", sorted(packaged_looks()))
def test_a_shipped_look_is_whole(name: str) -> None:
    one = load_look(name)
    assert one.name == name
    assert one.about and one.about[0].islower()
    assert one.steps


def test_steps_keep_their_order_and_may_stand_twice(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("steps:\n  - grade: {exposure: 0.5}\n  - grade: {saturation: 0.5}\n")
    one = load_look(path)
    assert [p.entry for p in one.steps] == [{"grade": {"exposure": 0.5}}, {"grade": {"saturation": 0.5}}]
    assert look.planned([p.entry for p in one.steps], "record") == one.steps


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: []", "not a list of steps"),
        ("about: x", "not a list of steps"),
        ("steps: [{grad: {}}]", "step 1: no such step: got 'grad'. Did you mean 'grade'"),
        ("steps: [{grade: {contrst: 1}}]", "step 1: contrst: wrong setting of grade"),
        ("steps: [{grade: {exposure: 9}}]", "step 1: exposure: wrong setting of grade: got 9"),
        ("steps: [{grade: {}, format: {}}]", "step 1: not a step"),
        ("stps: []", "unknown key 'stps'"),
        ("[1]", "not a look"),
    ],
)
def test_a_wrong_look_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_look(path)


def test_a_name_that_is_nearly_right_is_proposed() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'noir'"):
        load_look("nior")
