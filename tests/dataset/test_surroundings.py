import numpy as np
import pytest

from portrait_lora.dataset.surroundings import (
    backdrop_pixels,
    clothes_pixels,
    colour_groups,
    light_of,
    surroundings_of,
)

from .made_up import draw, made_up_face


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
    ("left", "right", "word"),
    [(120, 110, "even"), (160, 60, "from the left"), (50, 140, "from the right")],
)
def test_the_side_of_the_light(left, right, word):
    aligned = np.full((112, 112, 3), right, np.uint8)
    aligned[:, :56] = left
    assert light_of(aligned) == word


def test_colours_that_are_alike_form_groups():
    colours = [(50.0, 0.0, 0.0), (52.0, 2.0, 1.0), (20.0, 30.0, 0.0), (51.0, 1.0, 0.0)]
    assert sorted(map(sorted, colour_groups(colours))) == [[0, 1, 3], [2]]
