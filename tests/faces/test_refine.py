"""Keypoints from a second look at the face, through a stand-in for the detector."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from portrait_lora.faces.refine import refined

DOTS = np.array([(120.0, 100.0), (180.0, 112.0), (148.0, 140.0), (118.0, 164.0), (162.0, 172.0)])
"""A face that leans by eleven degrees."""
GREYS = (40, 80, 120, 160, 200)


def drawn(points: np.ndarray = DOTS, size: int = 300) -> np.ndarray:
    """A disc of its own grey on every point, before black."""
    image = np.zeros((size, size, 3), np.uint8)
    for (x, y), grey in zip(points, GREYS, strict=True):
        cv2.circle(image, (int(x), int(y)), 7, (grey, grey, grey), -1)
    return image


def see(image: np.ndarray) -> np.ndarray:
    """The discs' centres in the order of detectors: left before right."""
    centres = []
    for grey in GREYS:
        ys, xs = np.nonzero(np.abs(image[..., 0].astype(int) - grey) <= 3)
        if len(xs) < 20:
            return np.zeros((0, 5, 2), np.float32)
        centres.append((np.median(xs), np.median(ys)))
    a, b, nose, c, d = centres
    return np.array([[*sorted((a, b)), nose, *sorted((c, d))]], np.float32)


def test_points_that_are_off_are_set_right() -> None:
    off = DOTS + np.array([(4, -5), (-6, 3), (5, 5), (-4, 4), (3, -6)])
    assert refined(drawn(), off, see) == pytest.approx(DOTS, abs=1.5)


def test_a_large_face_is_reduced_and_the_points_put_back() -> None:
    big = np.repeat(np.repeat(drawn(), 5, axis=0), 5, axis=1)
    assert refined(big, 5 * DOTS + 15.0, see) == pytest.approx(5 * DOTS + 2.0, abs=7)


def test_without_a_face_in_the_window_the_points_stay() -> None:
    none = lambda image: np.zeros((0, 5, 2), np.float32)  # noqa: E731
    assert refined(drawn(), DOTS, none) == pytest.approx(DOTS)


def test_somebody_elses_points_are_not_taken() -> None:
    far = lambda image: np.full((1, 5, 2), 20.0, np.float32)  # noqa: E731
    assert refined(drawn(), DOTS, far) == pytest.approx(DOTS)


def test_points_that_coincide_stay() -> None:
    assert refined(drawn(), np.ones((5, 2)), see) == pytest.approx(np.ones((5, 2)))
