"""Captions that came with photos find their photos, however trainers and systems write the names."""

from __future__ import annotations

import json
import logging
import unicodedata
from pathlib import Path

import pytest

from portrait_lora import config, recipe
from portrait_lora.dataset import build, sidecars
from portrait_lora.dataset.kohya import import_dataset
from portrait_lora.errors import ConfigError, InputError
from portrait_lora.tasks import exchange

from .made_up import draw, save

NAMES = ("a.png", "b.png", "é c.png")


def pictures(folder: Path, names: tuple[str, ...] = NAMES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        save(folder / name, draw(i, (32, 32)))
    return folder


def table(folder: Path, names: list[str]) -> None:
    rows = [json.dumps({"file_name": name, "text": f"caption {i}"}) for i, name in enumerate(names)]
    (folder / sidecars.METADATA).write_text("\n".join(rows), encoding="utf-8")


WRITTEN = {
    "plain": "{}",
    "dot": "./{}",
    "windows": "C:\\data\\mine\\{}",
    "windows, relative": "train\\{}",
    "below": "train/{}",
    "absolute": "/home/me/set/{}",
}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("written", WRITTEN)
def test_rows_find_their_pictures(tmp_path: Path, written: str, form: str) -> None:
    source = pictures(tmp_path / "set")
    table(source, [WRITTEN[written].format(unicodedata.normalize(form, name)) for name in NAMES])
    imported = import_dataset(source, tmp_path / "photos")
    assert (imported.photos, imported.captions, imported.strange_rows) == (3, 3, 0)
    texts = {p.name: p.read_text("utf-8") for p in (tmp_path / "photos").glob("*.txt")}
    assert texts == {"a.txt": "caption 0\n", "b.txt": "caption 1\n", "é c.txt": "caption 2\n"}
    summary = recipe.init(tmp_path / "me", source)
    assert summary.captions == 3
    rows = sidecars.read_metadata(tmp_path / "me/photos/metadata.jsonl")
    assert sidecars.caption_of(tmp_path / "me/photos/b.png", rows) == "caption 1"


def test_pictures_below_the_table_are_found(tmp_path: Path) -> None:
    pictures(tmp_path / "set" / "images")
    table(tmp_path / "set", [f"images/{name}" for name in NAMES] + ["../a.png", "/etc/a.png"])
    imported = import_dataset(tmp_path / "set", tmp_path / "photos")
    assert (imported.photos, imported.captions) == (3, 3)


def test_rows_of_no_picture_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = pictures(tmp_path / "set")
    table(source, ["a.png", *(f"other_{i}.png" for i in range(10))])
    with caplog.at_level(logging.WARNING):
        assert import_dataset(source, tmp_path / "photos").strange_rows == 10
        assert recipe.init(tmp_path / "me", source).captions == 1
    messages = [r.getMessage() for r in caplog.records]
    assert sum("10 of 11 rows match no picture, such as 'other_0.png'" in text for text in messages) == 2


def test_one_name_in_two_folders_takes_the_nearer_row_or_none(tmp_path: Path) -> None:
    rows = {"train/a.png": "x", "val/a.png": "y", "b.png": "same", "old/b.png": "same"}
    assert sidecars.row_of(tmp_path / "val" / "a.png", rows) == "y"
    assert sidecars.row_of(tmp_path / "a.png", rows) == ""
    assert sidecars.row_of(tmp_path / "b.png", rows) == "same"
    both = {"A.png": "large", "a.png": "small"}
    assert [sidecars.row_of(tmp_path / n, both) for n in ("A.png", "a.png")] == ["large", "small"]


@pytest.mark.parametrize("name", ["a.txt", "A.TXT", "a.Txt", "a.caption", "a.png.txt", "A.PNG.TXT"])
def test_text_files_find_their_picture(tmp_path: Path, name: str) -> None:
    source = pictures(tmp_path / "set", ("a.png", "b.png"))
    (source / name).write_text("ohwx man\nsmiling", encoding="utf-8")
    imported = import_dataset(source, tmp_path / "photos")
    assert (imported.photos, imported.captions) == (2, 1)
    assert (tmp_path / "photos/a.txt").read_text() == "ohwx man smiling\n"
    assert recipe.init(tmp_path / "me", source).captions == 1
    assert config.load(tmp_path / "me" / config.FILE_NAME).dataset.captions.captioner == "sidecar"
    copied = tmp_path / "me/photos/a.png"
    assert sidecars.caption_of(copied, {}) == "ohwx man smiling" and not sidecars.caption_file(
        source / "b.png"
    )


def test_an_explicit_captioner_stays(tmp_path: Path) -> None:
    source = pictures(tmp_path / "set")
    (source / "a.txt").write_text("words")
    recipe.init(tmp_path / "me", source, overrides=["dataset.captions.captioner=attributes"])
    assert config.load(tmp_path / "me" / config.FILE_NAME).dataset.captions.captioner == "attributes"
    plain = pictures(tmp_path / "plain")
    assert recipe.init(tmp_path / "other", plain).captions == 0
    assert config.load(tmp_path / "other" / config.FILE_NAME).dataset.captions.captioner == "attributes"


def test_the_name_of_the_project_is_no_trigger(tmp_path: Path) -> None:
    inside = pictures(tmp_path / "2024_anna" / "img" / "10_ohwx woman")
    imported = import_dataset(tmp_path / "2024_anna", tmp_path / "one")
    assert (imported.photos, imported.trigger, imported.subject) == (3, "ohwx", "woman")
    table(pictures(tmp_path / "2024_shoot"), ["a.png"])
    imported = import_dataset(tmp_path / "2024_shoot", tmp_path / "two")
    assert (imported.photos, imported.captions, imported.trigger) == (3, 1, "")
    table(pictures(tmp_path / "10_shoot"), ["a.png"])
    assert import_dataset(tmp_path / "10_shoot", tmp_path / "three").trigger == ""
    assert import_dataset(inside, tmp_path / "four").trigger == "ohwx"
    with pytest.raises(InputError, match="portrait-lora init"):
        import_dataset(pictures(tmp_path / "2023_bert"), tmp_path / "five")


def test_a_trigger_of_odd_characters_is_written_as_it_is(tmp_path: Path) -> None:
    pictures(tmp_path / "set" / "10_o'h#w: man")
    assert exchange.import_dataset(tmp_path / "set", tmp_path / "me").trigger == "o'h#w:"
    assert config.load(tmp_path / "me" / config.FILE_NAME).subject.trigger == "o'h#w:"


@pytest.mark.parametrize("line", ["[" * 100_000, '{"file_name": "\\ud83d"}', '{"a": NaN}', "7", "{"])
def test_a_row_that_is_no_json_names_its_line(tmp_path: Path, line: str) -> None:
    (tmp_path / sidecars.METADATA).write_text('{"file_name": "a", "text": "b"}\n' + line)
    with pytest.raises(InputError, match=r"metadata\.jsonl:2"):
        sidecars.read_metadata(tmp_path / sidecars.METADATA)


@pytest.mark.parametrize(
    ("trigger", "caption", "warned"),
    [
        ("ohwx", "ohwx, woman", False),
        ("ohwx", "photo of (ohwx)", False),
        ("ohwx woman", "an ohwx woman, smiling", False),
        ("ohwx", "ohwxy woman", True),
        ("ohwx woman", "ohwx, woman", True),
        ("o.wx", "ohwx", True),
    ],
)
def test_a_trigger_is_seen_beside_commas(
    trigger: str, caption: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        build._warn_without_trigger([{"file_name": "a.png", "text": caption}], trigger)
    assert ("do not contain the trigger" in caplog.text) is warned


@pytest.mark.parametrize("trigger", ["'  '", "' a '", "'\u00a0\u00a0'", '"\\t\\n"'])
def test_a_blank_trigger_is_refused(trigger: str) -> None:
    with pytest.raises(ConfigError, match=r"subject\.trigger"):
        config.load(None, [f"subject.trigger={trigger}"])
