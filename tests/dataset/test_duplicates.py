import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from portrait_lora.dataset.curate import CurateSettings
from portrait_lora.dataset.duplicates import look_of, same_picture, sharper
from portrait_lora.records import Photo

from .made_up import draw, embedding, made_up_face

DEFAULT = CurateSettings()
LIMITS = (DEFAULT.duplicate_frame, DEFAULT.duplicate_face, DEFAULT.duplicate_embedding)


def look(pixels, variation=0, sha="", name="a.png", sharpness=300.0, expression="neutral"):
    size = (pixels.shape[1], pixels.shape[0])
    face = made_up_face(
        size, embedding=embedding(1, variation, 0.3), sharpness=sharpness, expression=expression
    )
    return look_of(Photo(Path(name), sha, size), pixels, face)


def shifted(pixels):
    return np.roll(pixels, (1, 2), axis=(0, 1))


def jpeg(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=40)
    return np.array(Image.open(out))


@pytest.mark.parametrize(
    "change",
    [
        jpeg,
        lambda p: cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        lambda p: np.clip(p * 1.12 + 6, 0, 255).astype(np.uint8),
        lambda p: cv2.GaussianBlur(p, (0, 0), 1.5),
        shifted,
    ],
    ids=["jpeg", "resized", "brightened", "blurred", "burst"],
)
def test_copies_are_the_same_picture(change):
    original = draw(11)
    assert same_picture(look(original), look(change(original), 1), LIMITS) is not None


@pytest.mark.parametrize("seed", range(4))
def test_two_photos_of_one_pose_are_not(seed):
    assert same_picture(look(draw(20 + seed)), look(draw(40 + seed), 1), LIMITS) is None


def test_the_same_bytes_always_are():
    assert same_picture(look(draw(1), sha="x"), look(draw(2), sha="x"), LIMITS) == 1.0


def test_another_expression_in_the_same_place_is_another_picture():
    neutral = draw(3)
    smile = neutral.copy()
    mouth = made_up_face().keypoints_px[3:]
    cv2.line(smile, tuple(int(v) for v in mouth[0]), tuple(int(v) for v in mouth[1]), (200, 160, 150), 2)
    assert same_picture(look(neutral), look(smile, 1), LIMITS) is not None  # a burst
    assert same_picture(look(neutral), look(smile, 1, expression="smiling"), LIMITS) is None
    assert same_picture(look(neutral), look(jpeg(neutral), 1, expression="smiling"), LIMITS) is not None


def test_another_crop_shape_is_another_picture():
    tall = draw(3)
    assert same_picture(look(tall), look(cv2.resize(tall, (300, 300))), LIMITS) is None


def test_the_sharper_then_the_larger_then_the_first_name_wins():
    small = draw(1, (120, 150))
    assert sharper(look(small, sharpness=400.0), look(draw(1), sharpness=300.0))
    assert not sharper(look(small, sharpness=303.0), look(draw(1), sharpness=300.0))
    assert sharper(look(small, name="a"), look(small, name="b"))
