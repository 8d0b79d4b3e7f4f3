"""Copies of a photograph, one way of copying at a time: of skimage's astronaut (public domain)."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFilter
from skimage import data

from portrait_lora.dataset.better_copy import best_copy
from portrait_lora.dataset.duplicates import compare, fingerprint_of
from portrait_lora.dataset.matching import features_of, same_scene
from portrait_lora.records import Photo, readonly

from .made_up import SAME, embedding, made_up_face

KEYPOINTS = np.array([[206, 110], [245, 105], [232, 132], [213, 152], [248, 148]], np.float32)
JITTER = np.array([[3, -2], [-2, 2], [2, 3], [-3, 1], [2, -3]], np.float32)
"""What detectors do between copies, in pixels; the eyes are 39 apart."""


def encoded(pixels, quality=92):
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, "JPEG", quality=quality)
    return np.array(Image.open(out))


def cropped(share):
    def crop(pixels, points):
        height, width = pixels.shape[:2]
        x, y = round(width * share / 2), round(height * share / 2)
        return pixels[y : height - y, x : width - x], points - (x, y)

    return crop


def scaled(pixels, points, scale=0.5):
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), points * scale


def mirrored(pixels, points):
    swapped = points[[1, 0, 2, 4, 3]]
    return pixels[:, ::-1], np.stack([pixels.shape[1] - 1 - swapped[:, 0], swapped[:, 1]], axis=1)


def bordered(pixels, points):
    return cv2.copyMakeBorder(pixels, 40, 40, 40, 40, cv2.BORDER_CONSTANT, value=(255, 255, 255)), points + 40


def screenshot(pixels, points):
    canvas = np.full((1100, 540, 3), 18, np.uint8)
    canvas[290:802, 14:526] = pixels
    cv2.putText(canvas, "12:41", (30, 40), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (230, 230, 230), 2)
    for x in (70, 200, 330, 460):
        cv2.circle(canvas, (x, 1050), 14, (200, 200, 200), -1)
    return canvas, points + np.array([14, 290])


def grey(pixels, points):
    return np.repeat(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2), points


def brighter(pixels, points):
    return np.clip(pixels * 1.2 + 12, 0, 255).astype(np.uint8), points


def sharpened(pixels, points):
    return np.array(Image.fromarray(pixels).filter(ImageFilter.UnsharpMask(2, 150, 2))), points


def filtered(pixels, points):
    """Warm, faded and with dark corners."""
    rows, columns = np.mgrid[:512, :512] / 512 - 0.5
    toned = pixels * np.array([1.08, 1.0, 0.86]) * (1 - 0.9 * (rows**2 + columns**2))[..., None] + (8, 4, 0)
    return np.clip(toned, 0, 255).astype(np.uint8), points


def coarse(pixels, points):
    return encoded(pixels, 30), points


def combined(pixels, points):
    small, at = scaled(*cropped(0.08)(pixels, points), scale=0.7)
    return encoded(small, 45), at


WAYS = {f"cropped {share:.0%}": cropped(share) for share in (0.01, 0.02, 0.03, 0.05, 0.10, 0.15)} | {
    "mirrored": mirrored,
    "half size": scaled,
    "bordered": bordered,
    "grey": grey,
    "brighter": brighter,
    "JPEG 30": coarse,
    "screenshot": screenshot,
    "sharpened": sharpened,
    "filtered": filtered,
    "crop, resize and JPEG": combined,
}


def fingerprint(pixels, points, name="a.jpg", cosine_spread=0.3, variation=0, size_px=None):
    size = size_px or (pixels.shape[1], pixels.shape[0])
    (x0, y0), (x1, y1) = points.min(axis=0) - 30, points.max(axis=0) + 30
    face = made_up_face(
        size,
        keypoints_px=readonly(points.astype(np.float32)),
        box_xyxy_px=(float(x0), float(y0), float(x1), float(y1)),
        embedding=embedding(1, variation, cosine_spread),
    )
    return fingerprint_of(Photo(Path(name), "", size), np.ascontiguousarray(pixels), face)


@pytest.fixture(scope="module")
def original():
    return fingerprint(data.astronaut(), KEYPOINTS)


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_is_found_although_keypoints_and_embedding_moved(way, original):
    pixels, points = WAYS[way](data.astronaut(), KEYPOINTS)
    scale = np.ptp(points[:, 0]) / np.ptp(KEYPOINTS[:, 0])
    copy = fingerprint(encoded(pixels), points + JITTER * scale, variation=1)
    for pair in (compare(original, copy), compare(copy, original)):
        assert pair is not None and pair.near_duplicate(SAME.duplicate_limits), pair


def test_a_profile_that_the_embedder_reads_otherwise_is_found_by_the_scene(original):
    """In profile the keypoints of copies may lie anywhere."""
    pixels, points = cropped(0.1)(data.astronaut(), KEYPOINTS)
    copy = fingerprint(encoded(pixels), points + 4 * JITTER, variation=1, cosine_spread=0.8)
    assert float(copy.embedding @ original.embedding) < 0.8
    assert float(copy.face @ original.face) < 0.7
    pair = compare(original, copy)
    assert pair is not None and pair.fit > 0.988 and pair.frame > 0.9


def test_another_face_in_the_same_scene_is_no_copy(original):
    """Everything around the face agrees to the pixel, but the mouth and the eyes do not."""
    other = data.astronaut().copy()
    cv2.ellipse(other, (231, 152), (20, 7), 0, 0, 360, (120, 40, 40), -1)
    for x, y in KEYPOINTS[:2].astype(int):
        cv2.ellipse(other, (int(x), int(y)), (9, 3), 0, 0, 360, (190, 140, 120), -1)
    pair = compare(original, fingerprint(other, KEYPOINTS, variation=1))
    assert pair is not None and pair.frame > 0.97
    assert not pair.near_duplicate(SAME.duplicate_limits)


def test_two_different_pictures_are_none(original):
    for other in (data.coffee(), data.chelsea()):
        assert compare(original, fingerprint(other[:300, :400], KEYPOINTS, variation=1)) is None
        assert same_scene(features_of(data.astronaut()), features_of(other)) is None


def test_a_flat_picture_has_no_features():
    flat = features_of(np.full((200, 300, 3), 128, np.uint8))
    assert same_scene(flat, flat) is None


@pytest.mark.parametrize("way", [w for w in WAYS if w not in ("mirrored", "filtered", "sharpened")])
def test_of_two_copies_the_untouched_one_is_kept(way, tmp_path):
    kept = []
    for name, make in (("a_copy.jpg", WAYS[way]), ("b_original.jpg", lambda p, k: (p, k))):
        pixels, points = make(data.astronaut(), KEYPOINTS)
        path = tmp_path / name
        Image.fromarray(np.ascontiguousarray(pixels)).save(path, "JPEG", quality=92)
        kept.append(fingerprint(np.array(Image.open(path)), points, name=path))
    pairs = [(one.photo, one.quality) for one in kept]
    assert best_copy(pairs) == 1
    assert best_copy(pairs[::-1]) == 0


def test_of_equal_copies_the_larger_original_and_then_the_first_name_is_kept():
    pixels, points = data.astronaut(), KEYPOINTS
    view = fingerprint(pixels, points, "b.jpg"), fingerprint(pixels, points, "a.jpg")
    assert best_copy([(one.photo, one.quality) for one in view]) == 1
    larger = fingerprint(pixels, points, "c.jpg", size_px=(2048, 2048))
    assert best_copy([(one.photo, one.quality) for one in (*view, larger)]) == 2
