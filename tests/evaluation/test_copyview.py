"""A picture is found again through what people and tools do to it; another picture of the face is not."""

import cv2
import numpy as np
import pytest

from portrait_lora.evaluation.copyview import FIELD_PX, Gallery, mirrored, view
from tests.evaluation.drawn import KEYPOINTS, PLANTS, drawn_scene, plant

PHOTOS = [drawn_scene(i) for i in range(6)]
VIEWS = [view(photo, KEYPOINTS) for photo in PHOTOS]
GALLERY = Gallery(VIEWS)


@pytest.mark.parametrize("kind", PLANTS)
def test_a_copy_is_found_with_its_source(kind):
    for i, photo in enumerate(PHOTOS):
        match, value = GALLERY.best(view(*plant(kind, photo, drawn_scene(50 + i), seed=i)))
        assert match == i
        assert value > 0.83


def test_another_picture_of_the_same_face_is_no_copy():
    values = [GALLERY.best(view(drawn_scene(i), KEYPOINTS))[1] for i in range(100, 120)]
    assert max(values) < 0.82


def test_a_photo_can_be_left_out_of_its_own_search():
    assert GALLERY.best(VIEWS[2])[0] == 2
    assert GALLERY.best(VIEWS[2], without=2)[0] != 2


def test_a_flat_picture_matches_nothing():
    flat = view(np.full((128, 128, 3), 128, np.uint8), KEYPOINTS / 2)
    assert GALLERY.best(flat) == (-1, 0.0)
    assert Gallery([]).best(VIEWS[0]) == (-1, 0.0)


def test_a_face_at_the_edge_knows_where_the_picture_ends():
    moved = view(PHOTOS[0], KEYPOINTS - np.float32([90, 0]))
    assert 0.2 < moved.mask.mean() < 0.9
    assert moved.mask.shape == (FIELD_PX, FIELD_PX)
    assert moved.mask[:, 0].max() == 0


def test_large_pictures_are_reduced_before_they_are_compared():
    large = cv2.resize(PHOTOS[3], None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC)
    match, value = GALLERY.best(view(large, KEYPOINTS * 5))
    assert match == 3
    assert value > 0.9


def test_the_mirror_of_a_mirror_is_the_picture():
    assert np.array_equal(mirrored(mirrored(VIEWS[0])).square, VIEWS[0].square)
