from pathlib import Path

import cv2
import numpy as np
import pytest

from portrait_lora.dataset.crop import face_height, person_mask
from portrait_lora.dataset.person import head_extent, photograph_masks
from portrait_lora.dataset.photograph_crop import frame_photograph, other_faces

from .made_up import FixedFinder, made_up_face
from .pictured import BOX, SIZE, face, photograph

GREY, NAVY = (150, 150, 150), (26, 36, 78)


def crops(subject, head=None, photo=SIZE, size=(192, 256), count=2, others=()):
    return frame_photograph(Path("a.jpg"), photo, subject, head or subject.box_xyxy_px, size, count, others)


def test_high_hair_is_found_and_stays_in_the_crop():
    plain, high = (head_extent(photograph(GREY, NAVY, hair_px=h), face()) for h in (0, 45))
    assert high[1] < plain[1] - 50
    for framing in crops(face(), high):
        assert framing.box_xyxy_px[1] < 320 - 2 * 45 - 120 + 5
        assert framing.box_xyxy_px[3] > BOX[3]


def test_wide_hair_widens_the_crop_only_so_far():
    wide = (60.0, 200.0, 540.0, 425.0)
    close = crops(face(), wide)[0]
    usual = crops(face(), (220.0, 220.0, 380.0, 425.0))[0]
    assert close.box_xyxy_px[2] - close.box_xyxy_px[0] > 1.3 * (usual.box_xyxy_px[2] - usual.box_xyxy_px[0])
    assert close.head_fraction >= 0.49


@pytest.mark.parametrize(
    "box", [(0.0, 20.0, 140.0, 195.0), (455.0, 300.0, 598.0, 475.0), (230.0, 620.0, 370.0, 798.0)]
)
def test_crops_near_the_border_are_moved_never_mirrored(box):
    for framing in crops(made_up_face(SIZE, box_xyxy_px=box)):
        x0, y0, x1, y1 = framing.box_xyxy_px
        assert x0 >= 0 and y0 >= 0 and x1 <= SIZE[0] and y1 <= SIZE[1]
        assert x0 <= box[0] and x1 >= box[2] and y0 <= box[1] and y1 >= box[3]


def test_a_face_that_fills_the_photo_gives_one_closer_crop():
    tight = made_up_face((300, 330), box_xyxy_px=(40.0, 20.0, 270.0, 320.0))
    (only,) = crops(tight, photo=(300, 330))
    assert only.box_xyxy_px == (31, 0, 279, 330)


def test_two_framings_even_where_hair_decides_their_size():
    close, wide = crops(face(), (150.0, 120.0, 450.0, 425.0))
    assert wide.box_xyxy_px[3] - wide.box_xyxy_px[1] > 1.1 * (close.box_xyxy_px[3] - close.box_xyxy_px[1])


def test_another_face_is_kept_out_where_that_is_possible():
    other = (395.0, 260.0, 520.0, 420.0)

    def overlap(framing):
        return max(0.0, framing.box_xyxy_px[2] - other[0])

    alone, beside = crops(face())[1], crops(face(), others=[other])[1]
    assert overlap(alone) > 20
    assert overlap(beside) < 0.5 * overlap(alone)
    assert beside.box_xyxy_px[0] <= BOX[0] and beside.box_xyxy_px[2] >= BOX[2]
    far = crops(face(), others=[(20.0, 20.0, 60.0, 70.0)])
    assert far == crops(face())


def test_other_faces_are_those_that_are_not_the_subject():
    stranger = made_up_face(SIZE, box_xyxy_px=(30.0, 260.0, 150.0, 420.0))
    again = made_up_face(SIZE, box_xyxy_px=(236.0, 258.0, 366.0, 430.0))
    finder = FixedFinder(again, stranger, size_px=SIZE)
    image = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    assert other_faces(image, face(), finder.find) == [stranger.box_xyxy_px]
    large = np.zeros((4 * SIZE[1], 4 * SIZE[0], 3), np.uint8)
    subject = made_up_face(SIZE, box_xyxy_px=(920.0, 1000.0, 1480.0, 1700.0))
    (box,) = other_faces(large, subject, finder.find)
    assert box == pytest.approx([120.0, 1040.0, 600.0, 1680.0], abs=2)


def shares(mask, image, framing):
    """The mask where the hair of `photograph` is, and in the upper corners of the crop, 0..255."""
    x0, y0, x1, y1 = framing.box_xyxy_px
    rows = np.linspace(y0, y1 - 1, mask.shape[0]).round().astype(int)
    columns = np.linspace(x0, x1 - 1, mask.shape[1]).round().astype(int)
    seen = image[np.ix_(rows, columns)].astype(int)
    hair = (np.abs(seen - (40, 26, 20)).max(axis=-1) < 12) & (rows[:, None] < BOX[1])
    corner = mask[: mask.shape[0] // 12, : mask.shape[1] // 12]
    return mask[hair], corner


def test_masks_contain_a_top_knot_that_the_proportions_cut():
    image = photograph(GREY, NAVY, hair_px=40)
    framing = crops(face(), head_extent(image, face()))[-1]
    person, head = photograph_masks(image, face(), framing)
    assert shares(person_mask(face(), framing), image, framing)[0].min() < 20
    for mask in (person, head):
        hair, corner = shares(mask, image, framing)
        assert (hair > 200).mean() > 0.97
        assert corner.mean() < 60


def test_hair_in_the_colour_of_the_background_is_not_cut():
    image = photograph((42, 28, 22), NAVY, hair_px=20)
    framing = crops(face(), head_extent(image, face()))[-1]
    person, _ = photograph_masks(image, face(), framing)
    scale = framing.scale
    top = round((320 - 140 + 8 - framing.box_xyxy_px[1]) * scale)
    middle = round((300 - framing.box_xyxy_px[0]) * scale)
    assert person[top:, middle].min() >= 120


def test_the_head_ends_below_the_neck_and_the_person_does_not():
    image = photograph(GREY, NAVY)
    framing = crops(face(), head_extent(image, face()))[-1]
    person, head = photograph_masks(image, face(), framing)
    assert (head <= person).all()
    assert person[-2, 96] > 240 and head[-2, 96] < 60
    again, _ = photograph_masks(image, face(), framing)
    assert (again == person).all()


def test_a_face_that_is_all_there_is_has_a_mask():
    small = np.full((40, 40, 3), 128, np.uint8)
    subject = made_up_face((40, 40), box_xyxy_px=(1.0, 1.0, 39.0, 39.0))
    (framing,) = crops(subject, photo=(40, 40), size=(32, 32))
    person, _ = photograph_masks(small, subject, framing)
    assert person.shape == (32, 32) and person.mean() > 200
    assert face_height(subject) > 38


def test_the_astronauts_hair_is_in_crop_and_mask():
    image = pytest.importorskip("skimage.data").astronaut()
    points = np.array([[204, 101], [247, 104], [224, 129], [202, 140], [246, 142]], np.float32)
    astronaut = face(box_xyxy_px=(180.0, 60.0, 272.0, 180.0), keypoints_px=points)
    for framing in crops(astronaut, head_extent(image, astronaut), photo=(512, 512)):
        x0, y0, x1, _ = framing.box_xyxy_px
        assert x0 <= 160 and x1 >= 288 and y0 <= 18  # curls at both sides, and the crown
        person, head = photograph_masks(image, astronaut, framing)
        for x, y in ((172, 70), (282, 75), (225, 24), (175, 110)):
            at = round((y - y0) * framing.scale), round((x - x0) * framing.scale)
            assert person[at] > 200 and head[at] > 200


@pytest.mark.parametrize("takes_all", [True, False])
def test_without_a_border_the_usual_head_stands_and_hair_around_it_is_doubtful(monkeypatch, takes_all):
    """As on black-and-white pictures, where GrabCut takes all that it may, or nothing that it need not."""

    def without_border(bgr, labels, *rest):
        doubtful = (labels == cv2.GC_PR_BGD) | (labels == cv2.GC_PR_FGD)
        labels[doubtful] = cv2.GC_PR_FGD if takes_all else cv2.GC_PR_BGD

    monkeypatch.setattr(cv2, "grabCut", without_border)
    image = photograph(GREY, NAVY)
    framing = crops(face(), (100.0, 100.0, 500.0, 425.0))[-1]
    person, head = photograph_masks(image, face(), framing)
    x, y = (round((v - o) * framing.scale) for v, o in zip((300, 150), framing.box_xyxy_px[:2], strict=True))
    assert 100 < person[y, x] < 150 and 100 < head[y, x] < 150
    assert head[0, 0] < 20 and person[0, -1] < 20
