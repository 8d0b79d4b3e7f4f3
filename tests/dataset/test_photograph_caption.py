from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from portrait_lora import vocabulary
from portrait_lora.dataset.crop import frame
from portrait_lora.dataset.photograph_caption import PhotographCaptioner, view_words

from .pictured import SIZE, face, pattern, photograph

GREY = (150, 150, 150)
NAVY = (26, 36, 78)


def look(image, subject=None, size=(192, 256)):
    framing = frame(Path("a.jpg"), SIZE, subject or face(), size)[-1]
    return PhotographCaptioner("ohwx", "woman").look(image, subject or face(), framing)


@pytest.mark.parametrize(
    ("colour", "word"),
    [
        (NAVY, "dark blue clothing"),
        ((18, 18, 20), "dark clothing"),
        ((60, 50, 40), "dark clothing"),
        ((250, 250, 250), "white clothing"),
        ((232, 226, 210), "light clothing"),
        ((130, 130, 132), "grey clothing"),
        ((180, 30, 35), "red clothing"),
        ((235, 200, 40), "yellow clothing"),
        ((120, 200, 235), "light blue clothing"),
        ((50, 110, 60), "green clothing"),
        ((90, 90, 95), None),  # charcoal or grey
        ((20, 110, 112), None),  # teal: blue or green
        ((130, 70, 50), None),  # brown, rust or red
    ],
)
def test_clothes_of_one_colour_are_named_unless_two_names_would_do(colour, word):
    assert look(photograph(GREY, colour)).wardrobe == word


def test_no_garment_is_named():
    caption = PhotographCaptioner("ohwx", "woman").caption(
        photograph(GREY, NAVY), face(), frame(Path("a.jpg"), SIZE, face(), 256)[-1]
    )
    assert "dark blue clothing" in caption
    assert not set(vocabulary.GARMENTS) & set(caption.replace(",", "").split())


def two_halves():
    cloth = np.full((SIZE[1], SIZE[0], 3), NAVY, np.uint8)
    cloth[:, SIZE[0] // 2 :] = (225, 225, 225)
    return cloth


def dots():
    cloth = np.full((SIZE[1], SIZE[0], 3), NAVY, np.uint8)
    for y in range(0, SIZE[1], 50):
        for x in range(0, SIZE[0], 50):
            cloth[y : y + 24, x : x + 24] = (235, 235, 235)
    return cloth


def gold_shoulders():
    cloth = np.full((SIZE[1], SIZE[0], 3), (12, 12, 12), np.uint8)
    cloth[:, :215] = cloth[:, 385:] = (200, 160, 60)
    return cloth


@pytest.mark.parametrize("cloth", [pattern("stripes"), two_halves(), dots(), gold_shoulders()])
def test_clothes_of_several_colours_have_no_word(cloth):
    assert look(photograph(GREY, cloth), size=256).wardrobe is None


def test_bare_shoulders_and_a_chest_outside_the_crop_have_no_word():
    assert look(photograph(GREY, (205, 160, 135))).wardrobe is None
    image = photograph(GREY, NAVY)
    close = replace(frame(Path("a.jpg"), SIZE, face(), 256)[0], box_xyxy_px=(200, 215, 420, 435))
    assert PhotographCaptioner("ohwx", "woman").look(image, face(), close).wardrobe is None


@pytest.mark.parametrize(
    ("background", "word"),
    [
        (GREY, "plain grey background"),
        ((252, 252, 252), "plain white background"),
        ((40, 90, 190), "plain blue background"),
        ((200, 170, 140), "plain background"),
        ((5, 5, 6), "plain dark background"),
        (pattern("gradient"), "plain grey background"),
        (pattern("logo wall"), None),
        (pattern("hedge"), None),
        (pattern("hedge out of focus"), "blurred background"),
    ],
)
def test_backgrounds_are_named_only_by_what_is_measured(background, word):
    assert look(photograph(background, NAVY)).setting == word


def test_a_picture_that_is_out_of_focus_as_a_whole_has_no_blurred_background():
    image = photograph(pattern("hedge out of focus"), NAVY)
    assert look(image).setting == "blurred background"
    assert look(np.asarray(cv2.GaussianBlur(image, (0, 0), 7), dtype=np.uint8)).setting is None


def test_two_different_sides_are_not_one_plain_background():
    sides = np.full((SIZE[1], SIZE[0], 3), 150, np.uint8)
    sides[:, SIZE[0] // 2 :] = (185, 185, 188)
    assert look(photograph(sides, NAVY)).setting is None


def test_the_light_of_a_photograph_is_left_to_packs_that_measure_it():
    white = photograph((250, 250, 250), (250, 250, 250))
    assert look(white, face(brightness=200.0)).lighting is None
    assert look(white, face(lighting="rembrandt lighting")).lighting == "rembrandt lighting"


def test_black_and_white_pictures_are_called_so_and_get_no_colours():
    image = photograph(GREY, (180, 30, 35)).mean(axis=-1, keepdims=True).repeat(3, axis=-1).astype(np.uint8)
    seen = look(image)
    assert seen.style == "black and white"
    assert seen.wardrobe is None and seen.setting == "plain background"
    assert vocabulary.sentence(seen).startswith("black and white frontal headshot of ohwx woman")
    sepia = np.clip(image * np.array([1.1, 0.95, 0.75]), 0, 255).astype(np.uint8)
    assert look(sepia).style is None and look(sepia).setting == "plain background"
    assert look(photograph(GREY, (180, 30, 35))).style is None


@pytest.mark.parametrize(
    ("yaw", "from_points", "words"),
    [
        (4.0, True, ("frontal", None)),
        (12.0, True, (None, None)),
        (9.0, False, ("frontal", None)),
        (-22.0, True, (None, None)),
        (-27.0, True, ("three-quarter", "facing left")),
        (45.0, True, (None, "facing right")),
        (62.0, True, ("profile", "facing right")),
        (57.0, True, (None, "facing right")),
        (57.0, False, ("profile", "facing right")),
    ],
)
def test_a_view_is_named_where_the_error_of_the_pose_allows_it(yaw, from_points, words):
    assert view_words(face(yaw=yaw, pose_from_points=from_points)) == words


def test_without_a_pose_no_view_is_named():
    assert view_words(face(pose_deg=None)) == (None, None)


def test_the_astronaut_gets_no_wrong_word():
    image = pytest.importorskip("skimage.data").astronaut()
    points = np.array([[204, 101], [247, 104], [224, 129], [202, 140], [246, 142]], np.float32)
    astronaut = face(box_xyxy_px=(180.0, 60.0, 272.0, 180.0), keypoints_px=points)
    framing = frame(Path("a.png"), (512, 512), astronaut, (192, 256))[-1]
    seen = PhotographCaptioner("ohwx", "woman").look(image, astronaut, framing)
    assert seen.wardrobe in (None, "dark clothing")  # the black collar; the suit is outside the crop
    assert seen.setting in (None, "plain background", "plain light background")
