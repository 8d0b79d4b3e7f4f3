"""Sharpness falls with blur; brightness is mean luma; the crop puts keypoints where ArcFace wants them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from portrait_lora.faces import quality

TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    dtype=np.float32,
)


def test_blur_lowers_sharpness() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (112, 112, 3), dtype=np.uint8)
    assert quality.sharpness(cv2.GaussianBlur(noise, (0, 0), 2.0)) < 0.1 * quality.sharpness(noise)
    assert quality.sharpness(np.full((112, 112, 3), 90, dtype=np.uint8)) == 0


def test_brightness_is_luma() -> None:
    green = np.zeros((4, 4, 3), dtype=np.uint8)
    green[..., 1] = 200
    assert quality.brightness(green) == pytest.approx(0.587 * 200, abs=1)


def test_the_crop_follows_the_keypoints() -> None:
    image = np.zeros((300, 300, 3), dtype=np.uint8)
    points = TEMPLATE * 2 + 20
    for x, y in points:
        cv2.circle(image, (round(float(x)), round(float(y))), 5, (255, 255, 255), -1)
    crop = quality.aligned_crop(image, points)
    assert crop.shape == (112, 112, 3)
    assert all(crop[round(float(y)), round(float(x))].min() > 200 for x, y in TEMPLATE)
