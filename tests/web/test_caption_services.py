"""Captions in the studio: changed, found and replaced, taken back; never over a text that is newer."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI

from portrait_lora.dataset.caption import read_captions, write_captions
from portrait_lora.errors import InputError
from portrait_lora.web.services import captions
from portrait_lora.web.studio import Person
from portrait_lora.web.users import OWNER

TEXTS = {
    "IMG_1-3fa9c1-1.png": "ohwx woman, navy shirt, in a Navy backdrop",
    "IMG_1-3fa9c1-2.png": "ohwx woman, navyblue shirt",
    "IMG_2-aaaaaa-1.png": "a woman, smiling",
}


@pytest.fixture
def person(app: FastAPI) -> Person:
    """Somebody with three captions."""
    new = app.state.studio.create(OWNER, "Anna")
    write_captions(new.folder / captions.NAME, TEXTS)
    return new


def file_of(person: Person) -> dict[str, str]:
    return read_captions(person.folder / captions.NAME)


def versions(person: Person) -> dict[str, str]:
    return {c.id: c.version for c in captions.listed(person)}


def test_what_is_listed(person: Person) -> None:
    rows = captions.listed(person)
    assert [(c.photo, c.number, c.lacks_trigger) for c in rows] == [
        ("IMG_1", 1, False), ("IMG_1", 2, False), ("IMG_2", 1, True),
    ]  # fmt: skip
    assert all(c.picture is None for c in rows)


def test_a_caption_is_changed_in_the_file_and_taken_back(person: Person) -> None:
    first = captions.listed(person)[0]
    changed = captions.change(person, first.id, "  ohwx woman,\n laughing ", first.version)
    assert changed.text == file_of(person)[first.file] == "ohwx woman, laughing"
    assert captions.last_step(person) is not None
    assert captions.undo(person).captions == 1  # type: ignore[union-attr]
    assert file_of(person) == TEXTS and captions.last_step(person) is None and captions.undo(person) is None


def test_two_tabs_do_not_overwrite_each_other(person: Person) -> None:
    first = captions.listed(person)[0]
    captions.change(person, first.id, "ohwx woman, tab one", first.version)
    with pytest.raises(captions.CaptionChanged) as refused:
        captions.change(person, first.id, "ohwx woman, tab two", first.version)
    assert refused.value.now == "ohwx woman, tab one" == file_of(person)[first.file]
    captions.change(person, first.id, "ohwx woman, tab two", refused.value.version)
    assert file_of(person)[first.file] == "ohwx woman, tab two"


@pytest.mark.parametrize("text", ["", " \n ", ",", "x" * 3000])
def test_what_is_no_caption_is_refused(person: Person, text: str) -> None:
    first = captions.listed(person)[0]
    with pytest.raises(InputError):
        captions.change(person, first.id, text, first.version)
    assert file_of(person) == TEXTS


def test_find_and_replace_shows_what_it_does_and_does_what_it_shows(person: Person) -> None:
    hits = captions.matches(person, "navy", "teal")
    assert [h.after for h in hits] == ["ohwx woman, teal shirt, in a teal backdrop"]
    assert [(removed, added) for _, removed, added in hits[0].pieces if removed] == [
        ("navy", "teal"),
        ("Navy", "teal"),
    ]
    assert len(captions.matches(person, "navy", "teal", words=False)) == 2
    assert len(captions.matches(person, "Navy", "teal", case=True)) == 1
    count = captions.replace(person, "navy", "teal", {h.caption.id: h.caption.version for h in hits})
    assert count == 1 and file_of(person)["IMG_1-3fa9c1-1.png"] == hits[0].after
    assert file_of(person)["IMG_1-3fa9c1-2.png"] == TEXTS["IMG_1-3fa9c1-2.png"]
    captions.undo(person)
    assert file_of(person) == TEXTS


def test_a_word_taken_out_leaves_no_double_comma(person: Person) -> None:
    captions.replace(person, "navy shirt", "", versions(person))
    assert file_of(person)["IMG_1-3fa9c1-1.png"] == "ohwx woman, in a Navy backdrop"


def test_a_replacement_is_all_or_nothing(person: Person) -> None:
    before = versions(person)
    last = captions.listed(person)[2]
    captions.change(person, last.id, "a woman, frowning", last.version)
    with pytest.raises(captions.CaptionChanged):
        captions.replace(person, "woman", "person", before)
    assert file_of(person)["IMG_1-3fa9c1-1.png"] == TEXTS["IMG_1-3fa9c1-1.png"]


def test_undo_leaves_what_was_changed_since_in_the_file(person: Person) -> None:
    captions.replace(person, "woman", "person", versions(person))
    now = file_of(person)
    write_captions(person.folder / captions.NAME, now | {"IMG_2-aaaaaa-1.png": "by hand"})
    assert captions.undo(person).captions == 2  # type: ignore[union-attr]
    assert file_of(person) == TEXTS | {"IMG_2-aaaaaa-1.png": "by hand"}


def test_a_damaged_history_or_file_is_an_answer(person: Person) -> None:
    Path(person.folder / captions.HISTORY).write_text('{"steps": [{"label": 1}]}')
    assert captions.undo(person) is None
    (person.folder / captions.NAME).write_text("nonsense")
    with pytest.raises(InputError, match="column names"):
        captions.listed(person)
