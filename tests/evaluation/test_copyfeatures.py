"""Features say how one picture was moved onto another, or that it was not."""

import numpy as np

from portrait_lora.evaluation.copyfeatures import features, movement
from portrait_lora.evaluation.copyview import FIELD_PX, SQUARE_PX, view
from tests.evaluation.drawn import KEYPOINTS, drawn_scene

VIEWS = [view(drawn_scene(i), KEYPOINTS) for i in range(4)]
FEATURES = [features(v) for v in VIEWS]


def test_a_moved_picture_says_how_far():
    shift = np.float32([6.0, -4.0])
    moved = features(view(drawn_scene(0), KEYPOINTS + shift))
    transform = movement(FEATURES[0], moved)
    span = float(np.ptp(KEYPOINTS, axis=0).max())
    field_px = shift * FIELD_PX / (4 * 1.05 * span)
    assert transform is not None
    assert np.allclose(transform[:, :2], np.eye(2), atol=0.03)
    assert np.allclose(transform[:, 2], -field_px, atol=1.0) and SQUARE_PX == 2 * FIELD_PX


def test_another_picture_and_a_flat_one_do_not_agree():
    flat = features(view(np.full((128, 128, 3), 128, np.uint8), KEYPOINTS / 2))
    assert len(flat.points) == 0 and movement(flat, FEATURES[0]) is None
    noise = np.random.default_rng(0).integers(0, 255, (192, 192, 3)).astype(np.uint8)
    assert movement(FEATURES[0], features(view(noise, KEYPOINTS))) is None
