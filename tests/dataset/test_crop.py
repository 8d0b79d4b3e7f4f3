from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_lora.dataset.crop import (
    HEAD_PER_FACE,
    MAX_ENLARGEMENT,
    bucket_sizes,
    cut,
    frame,
    head_mask,
    person_mask,
    render_crop,
    save_png,
)
from portrait_lora.errors import InputError

from .made_up import draw, made_up_face

PHOTO = (1000, 1400)


def face_of(x0, y0, width, height):
    return made_up_face(PHOTO, box_xyxy_px=(float(x0), float(y0), float(x0 + width), float(y0 + height)))


def framings(face, size=128, count=2, photo=PHOTO):
    return frame(Path("a.jpg"), photo, face, size, count)


def test_a_close_and_a_wide_framing_of_head_and_shoulders():
    close, wide = framings(face_of(400, 400, 200, 260))
    assert close.shot == "close-up"
    assert wide.shot == "headshot"
    for one, low, high in ((close, 0.71, 0.8), (wide, 0.6, 0.68)):
        x0, y0, x1, y1 = one.box_xyxy_px
        assert x1 - x0 == y1 - y0
        assert low <= HEAD_PER_FACE * 260 / (y1 - y0) <= high
        assert x0 < 400
        assert x1 > 600
        assert y0 < 400 - 0.19 * 260
        assert y1 > 660 + 0.15 * 260
        assert x0 >= 0 and y0 >= 0 and x1 <= 1000 and y1 <= 1400


@pytest.mark.parametrize("corner", [(2, 60), (790, 60), (2, 1100), (790, 1100)])
def test_crops_slide_along_the_border_rather_than_leave_the_photo(corner):
    crops = framings(face_of(*corner, 200, 260))
    assert crops
    for one in crops:
        x0, y0, x1, y1 = one.box_xyxy_px
        assert x0 >= 0 and y0 >= 0 and x1 <= 1000 and y1 <= 1400
        assert x0 <= corner[0]
        assert x1 >= corner[0] + 200


def test_pixels_are_mirrored_only_where_the_photo_is_too_small():
    tight = made_up_face((300, 320), box_xyxy_px=(40.0, 20.0, 260.0, 310.0))
    (one,) = framings(tight, photo=(300, 320))[:1]
    x0, y0, x1, y1 = one.box_xyxy_px
    assert y0 < 0 or x0 < 0
    image = draw(3, (300, 320))
    crop = cut(image, one.box_xyxy_px)
    assert crop.shape[:2] == (y1 - y0, x1 - x0)
    assert np.array_equal(crop[-y0, -x0], image[0, 0])
    assert np.array_equal(crop[-y0, -x0 - 1], image[0, 1])


@pytest.mark.parametrize("height", [64, 90, 130, 300])
@pytest.mark.parametrize("size", [128, (96, 128), 512])
def test_nothing_is_enlarged_more_than_allowed(height, size):
    crops = framings(face_of(400, 500, int(height / 1.3), height), size)
    assert crops
    for one in crops:
        assert one.scale <= MAX_ENLARGEMENT + 0.01
        width, tall = one.size_px
        x0, y0, x1, y1 = one.box_xyxy_px
        assert (x1 - x0) / (y1 - y0) == pytest.approx(width / tall, abs=0.02)


def test_buckets_have_the_area_of_the_base_and_sides_for_latents():
    assert bucket_sizes(128) == [(128, 128)]
    for width, height in bucket_sizes(1024, ("1:1", "3:4", "2:3", "4:3")):
        assert width % 64 == height % 64 == 0
        assert width * height == pytest.approx(1024**2, rel=0.08)
    assert bucket_sizes(128, ("3:4",)) == [(112, 144)]
    for wrong in ("3x4", "0:1", "a:b", "3:"):
        with pytest.raises(InputError, match="not an aspect"):
            bucket_sizes(512, (wrong,))


def test_framings_take_the_buckets_in_turn_unless_one_leaves_the_photo():
    buckets = bucket_sizes(128, ("1:1", "3:4"))
    roomy = framings(face_of(400, 400, 200, 260), buckets)
    assert [one.size_px for one in roomy] == buckets
    for one in roomy:
        x0, y0, x1, y1 = one.box_xyxy_px
        assert (x1 - x0) / (y1 - y0) == pytest.approx(one.size_px[0] / one.size_px[1], abs=0.02)
    narrow = made_up_face((170, 1000), box_xyxy_px=(20.0, 400.0, 150.0, 570.0))
    sizes = {one.size_px for one in framings(narrow, buckets, photo=(170, 1000))}
    assert sizes == {(112, 144)}


def test_framings_that_come_out_equal_are_returned_once():
    assert len(framings(face_of(400, 500, 50, 64), 256)) == 1
    assert len(framings(face_of(400, 400, 200, 260), count=1)) == 1
    assert len(framings(face_of(400, 400, 200, 260), count=3)) == 3


def test_the_rendered_crop_shows_the_face_where_it_should_be():
    image = draw(0, PHOTO)
    face = made_up_face(PHOTO)
    crops = framings(face)
    assert crops
    for one in crops:
        crop = render_crop(image, one)
        assert crop.shape == (128, 128, 3)
        eye = (face.keypoints_px[0] - np.array(one.box_xyxy_px[:2])) * one.scale
        x, y = (round(float(v)) for v in eye)
        assert crop[y, x].mean() < 90 < crop[y - 12, x].mean()


def test_the_mask_covers_face_and_chest_softly_but_not_the_corners():
    face = made_up_face(PHOTO)
    one = framings(face)[1]
    mask = person_mask(face, one)
    assert mask.shape == (128, 128)
    points = ((face.keypoints_px - np.array(one.box_xyxy_px[:2])) * one.scale).astype(int)
    assert all(mask[y, x] > 240 for x, y in points)
    assert mask[127, 64] > 200
    assert mask[0, 0] < 20
    assert mask[0, 127] < 20
    assert len(np.unique(mask)) > 20


def test_the_mask_of_the_head_leaves_out_the_clothes():
    face = made_up_face(PHOTO)
    one = framings(face)[1]
    head, person = head_mask(face, one), person_mask(face, one)
    points = ((face.keypoints_px - np.array(one.box_xyxy_px[:2])) * one.scale).astype(int)
    assert all(head[y, x] > 240 for x, y in points)
    assert head[127, 64] < 20 < person[127, 64]
    assert (head <= person).all()


def test_png_files_carry_pixels_only(tmp_path):
    save_png(tmp_path / "a.png", draw(0))
    with Image.open(tmp_path / "a.png") as image:
        assert image.info == {}
        assert len(image.getexif()) == 0


def test_senseless_sizes_are_refused():
    with pytest.raises(ValueError, match="at least 8"):
        framings(face_of(400, 400, 200, 260), 0)


def test_in_profile_there_is_room_for_the_back_of_the_head():
    def middle(yaw):
        face = made_up_face(PHOTO, yaw=yaw, box_xyxy_px=(400.0, 500.0, 560.0, 740.0))
        x0, _, x1, _ = framings(face)[0].box_xyxy_px
        return (x0 + x1) / 2

    assert middle(70.0) < middle(0.0) - 30
    assert middle(-70.0) > middle(0.0) + 30
