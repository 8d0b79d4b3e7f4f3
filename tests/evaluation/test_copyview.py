"""What stands around a head, whatever the size and the borders of the picture."""

import cv2
import numpy as np
import pytest

from portrait_lora.evaluation.copyview import FIELD_PX, mirrored, overlaid, view
from tests.evaluation.drawn import KEYPOINTS, drawn_scene

PHOTO = drawn_scene(0)
VIEW = view(PHOTO, KEYPOINTS)
STILL = np.eye(2, 3)


def test_a_face_at_the_edge_knows_where_the_picture_ends():
    moved = view(PHOTO, KEYPOINTS - np.float32([90, 0]))
    assert 0.2 < moved.mask.mean() < 0.9
    assert moved.mask.shape == (FIELD_PX, FIELD_PX)
    assert moved.mask[:, 0].max() == 0


def test_large_pictures_are_reduced_before_they_are_compared():
    large = view(cv2.resize(PHOTO, None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC), KEYPOINTS * 5)
    assert overlaid(VIEW, large, STILL) > 0.9


def test_the_mirror_of_a_mirror_is_the_picture():
    twice = mirrored(mirrored(VIEW))
    assert np.array_equal(twice.square, VIEW.square) and np.array_equal(twice.field, VIEW.field)
    turned = view(np.ascontiguousarray(PHOTO[:, ::-1]), KEYPOINTS * [-1, 1] + [PHOTO.shape[1] - 1, 0])
    assert overlaid(turned, mirrored(VIEW), STILL) > 0.9


def test_laid_over_itself_and_beside_itself():
    assert overlaid(VIEW, VIEW, STILL) == pytest.approx(1.0, abs=1e-5)
    aside = np.array([[1.0, 0, 0.8 * FIELD_PX], [0, 1, 0]])
    assert overlaid(VIEW, VIEW, aside) == 0.0


def test_light_and_contrast_make_no_difference():
    darker = np.clip(PHOTO * 0.5 + 20, 0, 255).astype(np.uint8)
    assert overlaid(VIEW, view(darker, KEYPOINTS), STILL) > 0.97
