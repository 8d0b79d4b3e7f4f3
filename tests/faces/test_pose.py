"""The pose of five keypoints: signs, the studio's truth, and points that are no face."""

from __future__ import annotations

import numpy as np
import pytest

from portrait_lora.faces.pose import pose_of_points
from portrait_lora.synthetic.identity import sample_people
from portrait_lora.synthetic.render import render
from portrait_lora.synthetic.scene import sample_scenes

YAWS = (-70.0, -45.0, -20.0, 0.0, 20.0, 45.0, 70.0)


@pytest.fixture(scope="module")
def studio() -> tuple[np.ndarray, np.ndarray]:
    """(N, 5, 2) true keypoints and (N, 3) true poses of seven people per yaw, heads tilted and leaning."""
    yaws = [yaw for yaw in YAWS for _ in range(7)]
    seeds = list(range(300, 300 + len(yaws)))
    shots = render(sample_people(seeds), sample_scenes(seeds, yaw_deg=yaws), 64)
    return shots.keypoints_px.numpy(), shots.pose_deg.numpy()


def test_yaw_and_roll_are_those_of_the_studio(studio: tuple[np.ndarray, np.ndarray]) -> None:
    points, truth = studio
    estimated = np.array([pose_of_points(p) for p in points])
    wrong = np.abs(estimated - truth)
    assert np.percentile(wrong[:, 1], 95) <= 8.0 and wrong[:, 1].mean() <= 4.0
    assert wrong[:, 2].mean() <= 3.0
    turned = np.abs(truth[:, 1]) > 15
    assert (np.sign(estimated[turned, 1]) == np.sign(truth[turned, 1])).all()


def test_a_raised_head_has_a_positive_pitch() -> None:
    yaws, seeds = [0.0] * 12, list(range(12))
    up, down = (
        render(
            sample_people(seeds), sample_scenes(seeds, yaw_deg=yaws, pitch_deg=pitch), 64
        ).keypoints_px.numpy()
        for pitch in (20.0, -20.0)
    )
    for raised, bowed in zip(up, down, strict=True):
        assert pose_of_points(raised)[0] > pose_of_points(bowed)[0] + 15.0


def test_turning_the_picture_changes_the_roll_alone(studio: tuple[np.ndarray, np.ndarray]) -> None:
    points = studio[0][10].astype(np.float64)
    angle = np.radians(100.0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    before, after = pose_of_points(points), pose_of_points(3.0 * points @ turn.T + 40.0)
    assert after[:2] == pytest.approx(before[:2], abs=1e-6)
    assert (after[2] - before[2]) % 360 == pytest.approx(100.0, abs=1e-6)


def test_mirroring_turns_the_head_to_the_other_side(studio: tuple[np.ndarray, np.ndarray]) -> None:
    points = studio[0][40]
    mirrored = (points * (-1, 1))[[1, 0, 2, 4, 3]]
    pitch, yaw, roll = pose_of_points(points)
    assert pose_of_points(mirrored) == pytest.approx((pitch, -yaw, -roll), abs=1e-4)


def test_points_that_coincide_have_no_pose() -> None:
    assert pose_of_points(np.ones((5, 2))) == (0.0, 0.0, 0.0)


def test_a_profile_stays_within_bounds() -> None:
    points = np.array([(30.0, 30.0), (30.5, 30.0), (60.0, 50.0), (34.0, 72.0), (34.5, 72.0)])
    assert 60.0 < pose_of_points(points)[1] <= 90.0
