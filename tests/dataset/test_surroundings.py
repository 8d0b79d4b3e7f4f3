import numpy as np
import pytest

from portrait_lora.dataset.clothes import chest_of
from portrait_lora.dataset.surroundings import (
    Surroundings,
    backdrop_pixels,
    clothes_pixels,
    colour_groups,
    group_sizes,
    light_of,
    surroundings_of,
)

from .made_up import draw, made_up_face
from .pictured import face, photograph


def test_where_clothes_and_backdrop_are_looked_for():
    image = draw(0, (480, 600), clothes=(20, 30, 200), backdrop=(30, 160, 40))
    face = made_up_face((480, 600))
    small = made_up_face((480, 600), box_xyxy_px=(190.0, 132.0, 290.0, 262.0))
    assert clothes_pixels(image, face).mean(axis=0).argmax() == 2
    assert backdrop_pixels(image, small).mean(axis=0).argmax() == 1
    around = surroundings_of(image, small)
    assert around.backdrop_lab is not None
    assert around.light is None
    low = made_up_face((480, 600), box_xyxy_px=(140.0, 340.0, 340.0, 598.0))
    assert clothes_pixels(image, low).shape == (0, 3)


def test_large_pictures_are_sampled():
    image = draw(0, (1920, 2400))
    assert 5_000 < len(clothes_pixels(image, made_up_face((1920, 2400)))) < 45_000


@pytest.mark.parametrize(
    ("change", "alike"),
    [
        ((0, 0, 0), True),
        ((6, 6, 6), True),
        ((-60, -60, -60), False),  # darker
        ((30, 0, -40), False),  # warmer
    ],
)
def test_lights_that_are_alike_and_lights_that_are_not(change, alike):
    face = np.full((112, 112, 3), (170, 130, 110), np.uint8)
    other = np.clip(face.astype(int) + change, 0, 255).astype(np.uint8)
    lights = [Surroundings(None, None, light_of(one)) for one in (face, other)]
    (variety,) = group_sizes(lights)
    assert variety.groups == ((2,) if alike else (1, 1))


@pytest.mark.parametrize("part", [np.s_[:, :56], np.s_[:56]])
def test_a_side_in_shadow_is_another_light(part):
    face = np.full((112, 112, 3), (170, 130, 110), np.uint8)
    shadowed = face.copy()
    shadowed[part] //= 2
    (variety,) = group_sizes([Surroundings(None, None, light_of(one)) for one in (face, shadowed)])
    assert variety.groups == (1, 1)


def test_a_collar_is_enough_to_compare_outfits_but_not_for_a_word():
    image, low = photograph((150, 150, 150), (26, 36, 78))[:525], face()
    assert surroundings_of(image, low).clothes_lab is not None
    assert chest_of(image, low) is None


def test_a_crowd_or_two_different_sides_are_no_backdrop_with_a_colour():
    face = made_up_face((480, 600), box_xyxy_px=(190.0, 132.0, 290.0, 262.0))
    wall = np.full((600, 480, 3), (90, 120, 160), np.uint8)
    assert surroundings_of(wall, face).backdrop_lab is not None
    noise = np.random.default_rng(0).integers(0, 255, (600, 480, 3)).astype(np.uint8)
    assert surroundings_of(noise, face).backdrop_lab is None
    two = wall.copy()
    two[:, 240:] = (150, 110, 100)
    assert surroundings_of(two, face).backdrop_lab is None


def test_colours_that_are_alike_form_groups():
    colours = [(50.0, 0.0, 0.0), (52.0, 2.0, 1.0), (20.0, 30.0, 0.0), (51.0, 1.0, 0.0)]
    assert sorted(map(sorted, colour_groups(colours))) == [[0, 1, 3], [2]]
