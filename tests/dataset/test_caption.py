from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from portrait_lora import vocabulary
from portrait_lora.dataset.caption import (
    AttributesCaptioner,
    follow_photos,
    lighting_of,
    read_captions,
    setting_of,
    without_photo,
    write_captions,
)
from portrait_lora.dataset.crop import frame
from portrait_lora.errors import InputError

from .made_up import draw, made_up_face

SIZE = (600, 760)


def smaller_face(**changes):
    return made_up_face(SIZE, box_xyxy_px=(210.0, 180.0, 390.0, 405.0), **changes)


def captions(face, image=None, folder=Path(".")):
    image = draw(0, SIZE) if image is None else image
    writer = AttributesCaptioner("ohwx", "woman")
    return [writer.caption(image, face, f) for f in frame(folder / "a.jpg", SIZE, face, 128)]


def test_captions_say_what_is_seen_and_leave_the_identity_to_the_trigger():
    close, wide = captions(made_up_face(SIZE, yaw=30.0, expression="smiling"))
    assert close.startswith("three-quarter close-up of ohwx woman, facing right, smiling")
    assert wide.startswith("three-quarter headshot of ohwx woman, facing right, smiling")
    assert "navy shirt" in wide
    for word in (*vocabulary.HAIR_STYLES, *vocabulary.SKIN_TONES, "glasses", *vocabulary.BEARDS):
        assert word not in wide


def test_every_word_is_in_the_vocabulary():
    known = set(vocabulary.words())
    for colour in [(30, 40, 80), (165, 35, 40), (240, 240, 240)]:
        image = draw(1, SIZE, clothes=colour, backdrop=(230, 230, 230))
        written = captions(smaller_face(), image)
        assert written
        for caption in written:
            assert {w for clause in caption.split(", ") for w in clause.split()} <= known


def test_what_the_pack_cannot_measure_is_left_out():
    written = captions(made_up_face(SIZE, pose_deg=None, expression=None))
    assert written
    for caption in written:
        assert caption.split(",")[0] in {"close-up of ohwx woman", "headshot of ohwx woman"}


@pytest.mark.parametrize(
    ("colour", "word"), [((148, 148, 148), "grey"), ((88, 118, 160), "blue"), ((58, 60, 64), "charcoal")]
)
def test_backdrops_are_named_by_colour_and_evenness(colour, word):
    plain = np.full((760, 600, 3), colour, np.uint8)
    assert setting_of(plain, smaller_face()) == f"{word} seamless backdrop"
    busy = plain.copy()
    busy[::2] = np.clip(busy[::2].astype(int) + 45, 0, 255)
    busy[1::2] = np.clip(busy[1::2].astype(int) - 45, 0, 255)
    assert setting_of(busy, smaller_face()).endswith("bokeh backdrop")


def test_a_colour_without_a_name_is_not_named():
    assert setting_of(np.full((760, 600, 3), (0, 255, 0), np.uint8), smaller_face()) is None


def test_light_is_named_only_when_clear():
    face = made_up_face(SIZE)
    assert lighting_of(draw(0, SIZE), face) is None
    split = draw(0, SIZE).astype(np.float32)
    split[:, :300] *= 0.15
    assert lighting_of(split.astype(np.uint8), face) == "split lighting"
    white = np.full((760, 600, 3), 240, np.uint8)
    assert lighting_of(white, smaller_face(brightness=190.0)) == "high-key lighting"
    black = np.full((760, 600, 3), 20, np.uint8)
    assert lighting_of(black, smaller_face(brightness=50.0)) == "low-key lighting"


def test_what_the_face_pack_says_of_the_light_is_used():
    writer = AttributesCaptioner("ohwx", "man")
    face = made_up_face(SIZE, lighting="rembrandt lighting")
    crop = frame(Path("a.jpg"), SIZE, face, 128)[0]
    assert writer.look(draw(0, SIZE), face, crop).lighting == "rembrandt lighting"
    odd = replace(face, lighting="disco")
    assert writer.look(draw(0, SIZE), odd, crop).lighting is None


def test_captions_come_back_as_written(tmp_path):
    path = tmp_path / "captions.csv"
    written = {"a-1.png": 'a "quoted", comma; text', "b-1.png": "plain ünïcode"}
    write_captions(path, written)
    assert read_captions(path) == written
    path.write_bytes(b"\xef\xbb\xbffile;caption\r\na-1.png;mine, of course\r\n\r\n")
    assert read_captions(path) == {"a-1.png": "mine, of course"}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('file,caption\na-1.png,"x\n', 2, "broken quoting"),
        ('file,caption\na-1.png,"x" y\n', 2, "broken quoting"),
        ("file,caption\na-1.png,x, y\n", 2, "wrong number of columns"),
        ("file,caption\na-1.png,x\na-1.png,y\n", 3, "occurs twice"),
        ("file,caption\na-1.png,\n", 2, "empty"),
        ("a-1.png,x\n", 1, "first line"),
        ("", 1, "first line"),
    ],
)
def test_broken_captions_name_the_line(tmp_path, text, line, words):
    path = tmp_path / "captions.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words) as error:
        read_captions(path)
    assert f"captions.csv:{line}:" in str(error.value)
    assert "delete" not in error.value.remedy  # nobody is sent to lose the other lines


def test_captions_follow_a_photo_that_was_renamed():
    known = {"anna-aaaaaa-1.png", "anna-aaaaaa-2.png", "copy-bbbbbb-1.png", "ben-bbbbbb-1.png"}
    captions = {
        "IMG_1-aaaaaa-1.png": "mine",
        "IMG_1-aaaaaa-2.png": "mine too",
        "ben-bbbbbb-1.png": "still there",
        "gone-cccccc-1.png": "the photo may come back",
        "note.png": "no name of ours",
    }
    assert follow_photos(captions, known) == {
        "anna-aaaaaa-1.png": "mine",
        "anna-aaaaaa-2.png": "mine too",
        "ben-bbbbbb-1.png": "still there",
        "gone-cccccc-1.png": "the photo may come back",
        "note.png": "no name of ours",
    }


def test_lines_without_a_photo_are_named_with_what_became_of_it():
    known = {"anna-dddddd-1.png"}
    lines = without_photo(
        {"anna-aaaaaa-1.png": "x", "ben-bbbbbb-1.png": "y", "anna-dddddd-1.png": "z"}, known
    )
    assert lines == [
        "anna-aaaaaa-1.png: the photo was saved again, and its crop is now anna-dddddd-1.png",
        "ben-bbbbbb-1.png: no photo has this crop",
    ]


def test_a_light_with_a_side_is_described_with_it():
    face = made_up_face(SIZE, lighting="rim lighting", light_direction=(-0.5, 0.5, 0.7))
    caption = captions(face)[0]
    assert caption.endswith("rim lighting") and ", lit from the left, " in caption
    face = made_up_face(SIZE, lighting="butterfly lighting", light_direction=(-0.5, 0.5, 0.7))
    assert captions(face)[0].endswith("butterfly lighting")
