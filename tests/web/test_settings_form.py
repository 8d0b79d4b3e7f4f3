"""Settings as a form: only what was changed is written, and what a person wrote stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portrait_lora import config, strict_yaml, yaml_edit
from portrait_lora.errors import ConfigError, InputError
from portrait_lora.web.services import settings as form

BY_HAND = """# mine
base: embedded   # the base
training:
  # why so low: it overfits
  rank: 8  # lower
  learning_rate: 1e-3
dataset:
  aspects:
    - "1:1"
    - "3:4"
  # nothing else
select:
"""


def written(folder: Path, text: str = BY_HAND) -> Path:
    (folder / config.FILE_NAME).write_text(text)
    return folder


def field(shown: form.Form, key: str) -> form.Field:
    return next(f for part in shown.parts for f in part.fields if f.key == key)


def test_a_value_is_changed_in_its_place_and_comments_stay(tmp_path: Path) -> None:
    folder = written(tmp_path)
    shown = form.form(folder)
    values = {"training.rank": "16", "dataset.aspects": "1:1, 2:3", "select.step": "400"}
    values |= {"generate.preset": "lcm-sd15", "subject.name": "Ann: 100 %", "training.alpha": "16"}
    again = form.save(folder, shown.version, values)
    text = (folder / config.FILE_NAME).read_text()
    kept_words = ("# mine", "base: embedded   # the base", "# why so low: it overfits", "  # lower")
    for kept in (*kept_words, "learning_rate: 1e-3", "  # nothing else"):
        assert kept in text, kept
    assert "rank:" not in text, "the usual value needs no line"
    loaded = config.load(folder / config.FILE_NAME)
    assert (loaded.training.rank, loaded.select.step, loaded.subject.name) == (16, 400, "Ann: 100 %")
    assert loaded.dataset.aspects == ("1:1", "2:3") and loaded.generate.preset == "lcm-sd15"
    assert field(again, "select.step").written and not field(again, "training.rank").written
    assert again.version != shown.version and "alpha" not in text


def test_errors_stand_beside_their_fields_and_nothing_is_written(tmp_path: Path) -> None:
    folder = written(tmp_path)
    shown = form.form(folder)
    typed = {"training.rank": "0", "seed": "x", "generate.adapter_scale": "3", "subject.kind": "cat"}
    again = form.save(folder, shown.version, typed)
    assert again.errors == 4
    assert "greater than 0" in field(again, "training.rank").error
    assert field(again, "seed").error == "a whole number is needed" and field(again, "seed").value == "x"
    assert "less than or equal to 2" in field(again, "generate.adapter_scale").error
    assert "man, woman, person" in field(again, "subject.kind").error
    assert (folder / config.FILE_NAME).read_text() == BY_HAND


def test_two_tabs_and_keys_that_are_none(tmp_path: Path) -> None:
    folder = written(tmp_path)
    version = form.form(folder).version
    form.save(folder, version, {"seed": "3"})
    with pytest.raises(form.Changed, match="another tab"):
        form.save(folder, version, {"seed": "4"})
    assert config.load(folder / config.FILE_NAME).seed == 3
    with pytest.raises(InputError, match="no such setting"):
        form.save(folder, form.version_of(folder), {"allow_everything": "true"})
    form.save(folder, form.version_of(folder), {"allow_synthetic_models": "true"})
    assert not config.load(folder / config.FILE_NAME).allow_synthetic_models


@pytest.mark.parametrize(
    ("text", "key", "why"),
    [
        ("training: {rank: 8}\n", "training.alpha", "in one line, in braces"),
        ("subject:\n  name: |\n    Ann\n    Lee\n", "subject.name", "over several lines"),
        ("dataset:\n  aspects:\n    - '1:1'  # square\n    - '3:4'\n", "dataset.aspects", "comments within"),
        ("training: &t\n  rank: 8\nselect:\n  probes: 4\n", "training.nothing.more", "a section is expected"),
    ],
)
def test_what_cannot_be_changed_without_touching_more_is_refused(text: str, key: str, why: str) -> None:
    value = ["1:1"] if key.endswith("aspects") else "x" if "name" in key else 4
    key = key if "nothing" not in key else "training.rank.more"
    with pytest.raises(InputError, match=why):
        yaml_edit.changed(text, {key: value})


def test_one_key_is_set_and_taken_out_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path)
    form.set_one(folder, "select.step", 20)
    assert config.load(folder / config.FILE_NAME).select.step == 20
    form.set_one(folder, "select.step", yaml_edit.DEFAULT)
    assert (folder / config.FILE_NAME).read_text() == BY_HAND
    with pytest.raises(ConfigError, match="greater than 0"):
        form.set_one(folder, "select.step", -1)


def test_a_folder_without_a_file_gets_one(tmp_path: Path) -> None:
    shown = form.form(tmp_path)
    assert shown.version == "none"
    form.save(tmp_path, shown.version, {"training.rank": "4"})
    assert config.load(tmp_path / config.FILE_NAME).training.rank == 4


def test_every_setting_is_in_the_form_with_its_limits() -> None:
    fields = {f.key: f for part in form.schema_parts() for f in part.fields}
    assert {"training.rank", "dataset.check.min_face_px", "generate.series", "base"} <= set(fields)
    assert fields["generate.adapter_scale"].limits == "from 0 to 2"
    assert fields["training.rank"].kind == "whole" and fields["training.rank"].limits == "above 0"
    assert fields["training.gradient_checkpointing"].choices == ("true", "false", "auto")
    assert fields["select.step"].optional and all(f.help for f in fields.values())


_WORDS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=30)


@settings(max_examples=15, deadline=None)
@given(_WORDS.map(str.strip), st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False))
def test_any_value_reads_back(words: str, whole: int, number: float) -> None:
    for value in (words, whole, number, True, None, [words, "3:4"]):
        tree = strict_yaml.parse(f"key: {yaml_edit.scalar(value)}\n", "here", "value")
        assert tree == {"key": value}
