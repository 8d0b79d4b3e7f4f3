import io
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from portrait_lora.dataset.duplicates import (
    SAME_FRAME,
    TO_THE_PIXEL,
    Likeness,
    compare,
    compare_all,
    fingerprint_of,
    groups,
)
from portrait_lora.records import Photo, readonly

from .made_up import SAME, SIZE, draw, embedding, made_up_face

TIGHT = (1.0, -80, -65, 0), (80, 110)  # how the picture lies in its frame, and the frame (W, H)
LIMITS = SAME.duplicate_limits


def look(pixels, variation=0, sha="", name="a.png", sharpness=300.0, expression="neutral"):
    size = (pixels.shape[1], pixels.shape[0])
    face = made_up_face(
        size, embedding=embedding(1, variation, 0.3), sharpness=sharpness, expression=expression
    )
    return fingerprint_of(Photo(Path(name), sha, size), pixels, face)


def copies(a, b, limits=LIMITS):
    """Whether they are taken for copies of one picture, whichever comes first."""
    there, back = compare(a, b), compare(b, a)
    answers = {one is not None and one.near_duplicate(limits) for one in (there, back)}
    assert len(answers) == 1
    return answers.pop()


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
    assert copies(look(original), look(change(original), 1))


@pytest.mark.parametrize("seed", range(4))
def test_two_photos_of_one_pose_are_not(seed):
    assert not copies(look(draw(20 + seed)), look(draw(40 + seed), 1))


def test_the_same_bytes_always_are():
    assert copies(look(draw(1), sha="x"), look(draw(2), sha="x"))


def test_another_expression_in_the_same_frame_is_a_burst_and_no_copy():
    """As from a tripod: everything but the mouth agrees."""
    neutral = draw(3)
    smile = neutral.copy()
    mouth = made_up_face().keypoints_px[3:]
    cv2.line(smile, tuple(int(v) for v in mouth[0]), tuple(int(v) for v in mouth[1]), (200, 160, 150), 2)
    pair = compare(look(neutral), look(smile, 1))
    assert pair is not None and pair.burst and pair.frame > 0.99
    assert not pair.near_duplicate(LIMITS)
    assert copies(look(neutral), look(jpeg(neutral), 1, expression="smiling"))


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
        assert copies(look(original), placed(original, variation=1, **copy))
        assert copies(placed(original, variation=1, **copy), look(original))
        assert not copies(look(draw(seed + 20)), placed(original, variation=1, **copy))


def test_a_tight_picture_and_its_copy_with_a_border_are_the_same():
    """The aligned face reaches beyond a tight picture: what lies outside must not count."""
    for seed in (11, 12):
        framed = np.full((SIZE[1], SIZE[0], 3), 255, np.uint8)
        framed[65:175, 80:160] = draw(seed)[65:175, 80:160]
        tight = placed(draw(seed), TIGHT[0], size=TIGHT[1], variation=1)
        bordered = placed(framed, variation=2)
        assert not tight.inside.all() and bordered.inside.all()
        assert copies(tight, bordered)
        assert copies(bordered, tight)
        other = placed(draw(seed + 20), TIGHT[0], size=TIGHT[1], variation=1)
        assert not copies(other, bordered)


def test_a_brighter_mirrored_copy_is_found_although_its_highlights_are_burnt_out():
    original = draw(11)
    bright = np.clip(original * 1.25, 0, 255).astype(np.uint8)
    assert copies(look(original), placed(bright, mirror=True, variation=1))


def test_a_stranger_to_the_embedder_must_fit_to_the_pixel():
    original = draw(11)
    stranger = replace(placed(original, (1.2, 0, 20, 0)), embedding=embedding(2))
    assert copies(look(original), stranger)  # a grey copy reads like this
    noisy = np.clip(original + np.random.default_rng(0).normal(0, 15, original.shape), 0, 255).astype(
        np.uint8
    )
    assert copies(look(original), placed(noisy, (1.2, 0, 20, 0)))
    worse = compare(look(original), replace(placed(noisy, (1.2, 0, 20, 0)), embedding=embedding(2)))
    assert worse is not None and worse.fit < TO_THE_PIXEL
    assert replace(worse, frame=SAME_FRAME).near_duplicate(LIMITS)  # the embedder is not asked
    assert not replace(worse, frame=SAME_FRAME - 0.001).near_duplicate(LIMITS)


def likeness(**changes):
    return Likeness(
        **{"fit": 0.0, "frame": 0.0, "embedding": 0.9, "other_expression": False, "seconds": None} | changes
    )


def test_faces_must_agree_and_so_must_the_frames():
    assert likeness(fit=0.99, frame=0.95).near_duplicate(LIMITS)
    assert not likeness(fit=0.97, frame=0.999).near_duplicate(LIMITS)
    assert not likeness(fit=0.99, frame=0.80).near_duplicate(LIMITS)
    assert likeness(fit=0.996, frame=0.80).near_duplicate(LIMITS)  # cut out before another backdrop


def test_what_the_expression_or_the_embedder_denies_must_fit_to_the_pixel():
    for denied in ({"other_expression": True}, {"embedding": 0.5}):
        assert not likeness(fit=0.99, frame=0.985, **denied).near_duplicate(LIMITS)
        assert likeness(fit=0.996, frame=0.985, **denied).near_duplicate(LIMITS)
    assert not likeness(fit=0.99, frame=0.995, other_expression=True).near_duplicate(LIMITS)


def test_a_burst_is_of_one_second_or_looks_like_it():
    assert likeness(fit=0.5, frame=0.85, seconds=0.4).burst
    assert not likeness(fit=0.5, frame=0.7, seconds=0.4).burst  # the same second, but not alike
    assert not likeness(fit=0.5, frame=0.85, seconds=3.0).burst
    assert not likeness(fit=0.5, frame=0.85).burst
    assert likeness(fit=0.93, frame=0.96).burst
    assert likeness(fit=0.97, frame=0.5).linked(LIMITS) and not likeness(fit=0.97, frame=0.5).burst


def test_groups_are_connected_components():
    assert groups([(0, 3), (5, 6), (3, 4), (6, 5)]) == [[0, 3, 4], [5, 6]]
    assert groups([(0, 1), (2, 3), (1, 2)]) == [[0, 1, 2, 3]]
    assert groups([]) == []


def test_only_pairs_that_are_alike_are_kept():
    original = draw(3)
    seen = [look(draw(40)), look(original), None, placed(jpeg(original), (1.15, 0, 10, 0), variation=1)]
    assert set(compare_all(seen)) == {(1, 3)}
