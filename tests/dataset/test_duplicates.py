import io
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from portrait_lora.dataset.duplicates import fingerprint_of, linked, same_picture, sharper
from portrait_lora.records import Photo, readonly

from .made_up import SAME, SIZE, draw, embedding, made_up_face

TIGHT = (1.0, -80, -65, 0), (80, 110)  # how the picture lies in its frame, and the frame (W, H)
LIMITS = (SAME.duplicate_frame, SAME.duplicate_face, SAME.duplicate_embedding)


def look(pixels, variation=0, sha="", name="a.png", sharpness=300.0, expression="neutral"):
    size = (pixels.shape[1], pixels.shape[0])
    face = made_up_face(
        size, embedding=embedding(1, variation, 0.3), sharpness=sharpness, expression=expression
    )
    return fingerprint_of(Photo(Path(name), sha, size), pixels, face)


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


def placed(
    pixels, turn=(1.0, 0.0, 0.0, 0.0), jitter=0.0, mirror=False, variation=0, size=SIZE, expression="neutral"
):
    """The look of a copy: (scale, dx, dy, degrees) say where it lies in its frame, keypoints jitter along."""
    scale, dx, dy, degrees = turn
    move = cv2.getRotationMatrix2D((SIZE[0] / 2, SIZE[1] / 2), degrees, scale)
    move[:, 2] += (dx, dy)
    copy = cv2.warpAffine(pixels, move, size, flags=cv2.INTER_AREA, borderValue=(255, 255, 255))
    points = made_up_face(SIZE).keypoints_px @ move[:, :2].T + move[:, 2]
    points = points + np.random.default_rng(5).normal(0, jitter, points.shape)
    if mirror:
        copy = np.ascontiguousarray(copy[:, ::-1])
        points = np.array([size[0] - 1, 0]) + points[[1, 0, 2, 4, 3]] * np.array([-1, 1])
    face = made_up_face(
        size,
        keypoints_px=readonly(points.astype(np.float32)),
        embedding=embedding(1, variation, 0.3),
        expression=expression,
    )
    return fingerprint_of(Photo(Path("b.png"), "", size), copy, face)


@pytest.mark.parametrize(
    "copy",
    [
        {"turn": (1.2, 0, 20, 0)},
        {"turn": (1.0, 0, -20, 0), "size": (240, 240)},
        {"turn": (1.0, 30, 60, 0), "size": (300, 420)},
        {"mirror": True},
        {"turn": (1.0, 0, 0, 3.0)},
        {"turn": (1.2, 0, 20, 0), "jitter": 3.0},
        {"turn": (1.1, 5, 10, 0), "mirror": True, "jitter": 0.8, "size": (260, 360)},
    ],
    ids=["cropped", "squared", "bordered", "mirrored", "turned", "jitter", "all"],
)
def test_copies_with_another_frame_are_the_same_picture(copy):
    for seed in (11, 12):
        original = draw(seed)
        assert same_picture(look(original), placed(original, variation=1, **copy), LIMITS) is not None
        assert same_picture(placed(original, variation=1, **copy), look(original), LIMITS) is not None
        assert same_picture(look(draw(seed + 20)), placed(original, variation=1, **copy), LIMITS) is None


def test_a_tight_picture_and_its_copy_with_a_border_are_the_same():
    """The aligned face reaches beyond a tight picture: what lies outside must not count."""
    for seed in (11, 12):
        framed = np.full((SIZE[1], SIZE[0], 3), 255, np.uint8)
        framed[65:175, 80:160] = draw(seed)[65:175, 80:160]
        tight = placed(draw(seed), TIGHT[0], size=TIGHT[1], variation=1)
        bordered = placed(framed, variation=2)
        assert not tight.inside.all() and bordered.inside.all()
        assert same_picture(tight, bordered, LIMITS) is not None
        assert same_picture(bordered, tight, LIMITS) is not None
        other = placed(draw(seed + 20), TIGHT[0], size=TIGHT[1], variation=1)
        assert same_picture(other, bordered, LIMITS) is None


def test_a_brighter_mirrored_copy_is_found_although_its_highlights_are_burnt_out():
    original = draw(11)
    bright = np.clip(original * 1.25, 0, 255).astype(np.uint8)
    assert same_picture(look(original), placed(bright, mirror=True, variation=1), LIMITS) is not None


def test_a_stranger_to_the_embedder_must_fit_to_the_pixel():
    original = draw(11)
    stranger = replace(placed(original, (1.2, 0, 20, 0)), embedding=embedding(2))
    assert same_picture(look(original), stranger, LIMITS) is not None  # a grey copy reads like this
    noisy = np.clip(original + np.random.default_rng(0).normal(0, 25, original.shape), 0, 255).astype(
        np.uint8
    )
    assert same_picture(look(original), placed(noisy, (1.2, 0, 20, 0)), LIMITS) is not None
    worse = replace(placed(noisy, (1.2, 0, 20, 0)), embedding=embedding(2))
    assert same_picture(look(original), worse, LIMITS) is None


def test_a_face_turned_the_other_way_is_no_mirrored_copy():
    """Two photos of a symmetric face fit well when one is mirrored, but not to the pixel."""
    original = draw(11)
    noisy = np.clip(original + np.random.default_rng(0).normal(0, 25, original.shape), 0, 255).astype(
        np.uint8
    )
    assert same_picture(look(original), placed(noisy, (1.2, 0, 20, 0)), LIMITS) is not None
    assert same_picture(look(original), placed(noisy, (1.2, 0, 20, 0), mirror=True), LIMITS) is None
    assert same_picture(look(original), placed(original, (1.2, 0, 20, 0), mirror=True), LIMITS) is not None


def test_photos_that_resemble_each_other_too_closely_are_linked():
    original = draw(3)
    smile = placed(jpeg(original), (1.15, 0, 10, 0), variation=1, expression="smiling")
    looks = [look(draw(40)), look(original), None, smile, look(draw(41))]
    assert linked(looks, LIMITS) == {1, 3}


def test_the_sharper_then_the_larger_then_the_first_name_wins():
    small = draw(1, (120, 150))
    assert sharper(look(small, sharpness=400.0), look(draw(1), sharpness=300.0))
    assert not sharper(look(small, sharpness=303.0), look(draw(1), sharpness=300.0))
    assert sharper(look(small, name="a"), look(small, name="b"))
