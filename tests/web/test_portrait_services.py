"""Versions of a portrait, edits as layers, favourites, and series of one's own."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_lora import config
from portrait_lora.errors import ConfigError, InputError
from portrait_lora.generation import edits, save, series
from portrait_lora.records import Portrait, Shot
from portrait_lora.web.services import book, favourites, gallery, history, portraits


def drawn(root: Path, value: int, name: str = "01-classic.png") -> tuple[Path, Image.Image, save.Record]:
    """A portrait in one colour, with its record."""
    path = root / "portraits" / "headshots" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    shot = Shot(
        name, "portrait of ohwx man", "", (8, 8), 7, (("subject", "ohwx man"), ("lighting", "rim lighting"))
    )
    record = save.record_of(Portrait(path, shot, 2, 3.0, 1.0, "a" * 64), "embedded", "b" * 64, "ohwx")
    picture = Image.new("RGB", (8, 8), (value, value, value))
    save.write(picture, path, record)
    return path, picture, record


def edited(
    root: Path, source: tuple[Path, Image.Image, save.Record], name: str
) -> tuple[Path, Image.Image, save.Record]:
    """The picture with its upper left corner drawn again."""
    path = root / "portraits" / "headshots-edits" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.asarray(source[1]).copy()
    pixels[:3, :3] = pixels[:3, :3] + 40
    picture = Image.fromarray(pixels)
    record = edits.edit_record("fix", source[1], source[2], source[2], region="eyes", strength=0.4)
    save.write(picture, path, record)
    return path, picture, record


def of(root: Path, path: Path) -> portraits.Drawn:
    return next(one for one in portraits.drawn(root) if root / one.file == path)


def test_the_chain_of_edits_is_followed_back_and_forth(tmp_path: Path) -> None:
    first = drawn(tmp_path, 100)
    drawn(tmp_path, 50, "02-other.png")
    second = edited(tmp_path, first, "01-classic-eyes-1.png")
    third = edited(tmp_path, second, "01-classic-eyes-1-eyes-1.png")
    versions = history.versions(tmp_path, of(tmp_path, third[0]))
    files = [v.picture.name if v.picture else None for v in versions.chain]
    assert files == ["01-classic.png", "01-classic-eyes-1.png", "01-classic-eyes-1-eyes-1.png"]
    assert [v.action for v in versions.chain] == ["generate", "fix", "fix"]
    assert versions.parent == of(tmp_path, second[0]) and versions.offspring == ()
    assert len(versions.layers) == 2 and versions.chain[2].words == "eyes drawn again"
    again = history.versions(tmp_path, of(tmp_path, first[0]))
    assert [one.name for one in again.offspring] == ["01-classic-eyes-1.png"] and again.parent is None
    assert history.layers_of(first[0])["lighting"] == "rim lighting"


def test_an_edit_whose_source_is_gone_says_so(tmp_path: Path) -> None:
    first = drawn(tmp_path, 100)
    second = edited(tmp_path, first, "01-classic-eyes-1.png")
    first[0].unlink()
    versions = history.versions(tmp_path, of(tmp_path, second[0]))
    assert [v.picture is None for v in versions.chain] == [True, False] and versions.layers == ()


def test_a_finished_picture_comes_from_the_portrait_of_its_name(tmp_path: Path) -> None:
    first = drawn(tmp_path, 100)
    drawn(tmp_path, 100, "01-classic-2.png")
    path = tmp_path / "portraits" / "headshots-finished" / "noir" / "01-classic-2-noir.png"
    path.parent.mkdir(parents=True)
    record = {save.ACTION: "finish", save.PARENT: first[2], **first[2], "source_pixels_sha256": "of floats"}
    save.write(first[1], path, record)
    versions = history.versions(tmp_path, of(tmp_path, path))
    assert versions.parent is not None and versions.parent.name == "01-classic-2.png"


def test_a_layer_is_what_an_edit_changed_and_nothing_else(tmp_path: Path) -> None:
    first = drawn(tmp_path, 100)
    second = edited(tmp_path, first, "01-classic-eyes-1.png")
    data = history.layer_png(tmp_path, of(tmp_path, first[0]), of(tmp_path, second[0]))
    layer = np.asarray(Image.open(io.BytesIO(data)))
    assert layer.shape == (8, 8, 4) and (layer[:3, :3] == (140, 140, 140, 255)).all()
    assert not layer[3:].any() and not layer[:, 3:].any()


def test_favourites_are_kept_and_damaged_ones_begin_anew(tmp_path: Path) -> None:
    assert favourites.read(tmp_path, "ann-abc123") == frozenset()
    favourites.mark(tmp_path, "ann-abc123", "portraits/a/1.png", True)
    assert favourites.mark(tmp_path, "ann-abc123", "portraits/a/2.png", True) == {
        "portraits/a/1.png",
        "portraits/a/2.png",
    }
    assert favourites.mark(tmp_path, "ann-abc123", "portraits/a/1.png", False) == {"portraits/a/2.png"}
    assert favourites.read(tmp_path, "ben-abc123") == frozenset()
    (tmp_path / "favourites" / "ann-abc123.json").write_text("{")
    assert favourites.read(tmp_path, "ann-abc123") == frozenset()
    favourites.drop(tmp_path, "ann-abc123")
    assert not list((tmp_path / "favourites").glob("ann*"))


def test_a_gallery_has_pages(tmp_path: Path) -> None:
    for i in range(3):
        drawn(tmp_path, i, f"{i}.png")
    rows = portraits.drawn(tmp_path) * 30
    shelf = gallery.shelf(tmp_path, rows, frozenset({rows[0].file}), 99, {})
    assert (shelf.total, shelf.pages, shelf.page) == (90, 2, 2) and len(shelf.tiles) == 30
    assert (
        shelf.tiles[0].liked and shelf.tiles[0].prompt == "portrait of ohwx man" and not shelf.tiles[1].liked
    )


def draft(**more: object) -> book.Draft:
    shots = [{"name": "one", "layers": {"view": "frontal", "lighting": "rim lighting"}}]
    return book.Draft.model_validate({"name": "My Series", "shots": shots} | more)


def test_a_series_is_checked_kept_and_read_by_the_command_line(tmp_path: Path) -> None:
    settings = config.load(None)
    judged = book.checked(draft(), settings)
    assert not judged.error and judged.prompts[0].prompt.startswith("frontal")
    assert "ohwx person" in judged.prompts[0].prompt
    path = book.save(tmp_path, draft(locked={"setting": "grey seamless backdrop"}), settings)
    read = series.read_series(path)
    assert path == tmp_path / "portraits" / "my-series.yaml" and book.own_series(tmp_path) == ("my-series",)
    assert read.entries[0].layers["setting"] == "grey seamless backdrop" and read.entries[0].name == "one"
    assert book.draft_of(tmp_path, "my-series").locked == {"setting": "grey seamless backdrop"}
    other = draft(aspect="1:1")
    with pytest.raises(InputError, match="of this name already"):
        book.save(tmp_path, other, settings)
    book.save(tmp_path, other, settings, replace=True)
    with pytest.raises(InputError, match="of this name already"):
        book.save(tmp_path, draft(name="headshots"), settings, replace=True)


def test_what_cannot_be_drawn_is_told_in_words(tmp_path: Path) -> None:
    settings = config.load(None)
    twice = draft(shots=[{"name": "one", "layers": {"view": "frontal"}}] * 2)
    assert "two shots have the same name" in book.checked(twice, settings).error
    assert str(tmp_path) not in book.checked(twice, settings).error
    with pytest.raises(ConfigError, match="two shots"):
        book.save(tmp_path, twice, settings)
    vague = draft(shots=[{"prompt": "8k, best quality, nice lighting"}])
    assert book.checked(vague, settings).prompts[0].remarks


def test_words_of_a_closed_base_are_words_that_it_knows() -> None:
    known = book.vocabulary_of("embedded")
    assert known.closed and "rim lighting" in known.words["lighting"]
    assert "grey seamless backdrop" in known.words["setting"] and known.templates
    free = book.vocabulary_of("sdxl")
    assert not free.closed and "85 mm lens" in free.words["camera"]
    rows = {one.name: one for one in gallery.drawable(Path("/nowhere"), config.load(None))}
    assert not rows["headshots"].why_not and "beyond the vocabulary" in rows["artistic"].why_not
