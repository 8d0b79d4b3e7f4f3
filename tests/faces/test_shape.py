"""Normalised landmarks do not know place and size, and know the turn as an angle."""

from __future__ import annotations

import numpy as np
import pytest

from portrait_lora.faces import shape
from portrait_lora.faces.packs import LandmarkHead


def landmarks() -> np.ndarray:
    points = np.random.default_rng(1).normal(size=(68, 2))
    points[48:] += (0.0, 4.0)
    return points * 20 + 100


def turned(points: np.ndarray, degrees: float) -> np.ndarray:
    a = np.radians(degrees)
    return points @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])


def test_place_and_size_do_not_matter() -> None:
    a, b = shape.normalise(landmarks()), shape.normalise(landmarks() * 3.5 + (10, -40))
    assert a.shape == (shape.FEATURES,)
    assert np.allclose(a, b)


@pytest.mark.parametrize("degrees", [-40.0, 15.0, 60.0])
def test_the_turn_is_one_number(degrees: float) -> None:
    a, b = shape.normalise(landmarks()), shape.normalise(turned(landmarks(), degrees))
    assert np.degrees(b[136] - a[136]) == pytest.approx(degrees, abs=1e-6)
    assert np.allclose(np.delete(a, 136), np.delete(b, 136))


def test_batches_are_rows() -> None:
    many = np.stack([landmarks(), landmarks() * 2])
    assert np.allclose(shape.normalise(many)[0], shape.normalise(landmarks()))


def test_a_head_picks_its_label() -> None:
    n = shape.FEATURES
    weight = (tuple([0.0] * n), tuple([0.0] * n))
    head = LandmarkHead((0.0,) * n, (1.0,) * n, (weight,), ((0.0, 1.0),), ("calm", "loud"))
    assert shape.expression(head, landmarks()) == "loud"


def test_the_five_points_are_eyes_nose_and_mouth() -> None:
    points = landmarks()
    five = shape.five_points(points)
    assert five.shape == (5, 2)
    assert five[0] == pytest.approx(points[36:42].mean(0), abs=1e-4)
    assert five[1] == pytest.approx(points[42:48].mean(0), abs=1e-4)
    assert np.allclose(five[2:], points[[30, 48, 54]], atol=1e-4)
