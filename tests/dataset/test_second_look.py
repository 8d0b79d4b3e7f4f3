from dataclasses import replace

import cv2
import numpy as np
import pytest

from portrait_lora.dataset.checks import check_photo
from portrait_lora.dataset.second_look import SURE_SCORE, roll_deg, second_look
from portrait_lora.records import readonly

from .made_up import CHECKS, made_up_face, save

RED, BLUE = (230, 40, 40), (40, 40, 230)
EYES = np.array([(-40.0, -50.0), (40.0, -50.0)])


def picture(lean_deg, centre=(260, 300), light=1.0):
    """Two coloured eyes that show where an upright head would be, leaning clockwise by `lean_deg`."""
    image = np.full((640, 520, 3), 140, np.uint8)
    c, s = np.cos(np.radians(lean_deg)), np.sin(np.radians(lean_deg))
    for eye, colour in zip(EYES @ np.array([(c, s), (-s, c)]) + centre, (RED, BLUE), strict=True):
        cv2.circle(image, tuple(round(float(v)) for v in eye), 12, colour, -1)
    return np.rint(image * light).astype(np.uint8)


class Upright:
    """Finds the head by its eyes when it leans by at most 25 degrees, less surely the more it leans."""

    embedder_id = "made_up"

    def __init__(self, darkest=0, pose=True):
        self.calls, self.darkest, self.pose = 0, darkest, pose

    def find(self, image_rgb):
        self.calls += 1
        image = image_rgb.astype(int)
        eyes = []
        for mine, other in ((0, 2), (2, 0)):
            there = (image[..., mine] > 2 * image[..., other]) & (image[..., mine] > self.darkest)
            rows, columns = np.nonzero(there)
            if len(rows) < 50:
                return []
            eyes.append((columns.mean(), rows.mean()))
        (x0, y0), (x1, y1) = eyes
        lean = float(np.degrees(np.arctan2(y1 - y0, x1 - x0)))
        if abs(lean) > 25:
            return []
        across = np.array((x1 - x0, y1 - y0))
        down = np.array((-across[1], across[0]))
        middle = np.array(eyes).mean(axis=0) + 0.6 * down
        points = np.array([eyes[0], eyes[1], middle, middle + down / 2 - across / 3, middle + down / 2])
        box = (middle[0] - 60, middle[1] - 80, middle[0] + 60, middle[1] + 80)
        face = made_up_face(keypoints_px=readonly(points), box_xyxy_px=box, score=0.95 - abs(lean) / 100)
        return [replace(face, pose_deg=(0.0, 0.0, lean) if self.pose else None)]


@pytest.mark.parametrize("lean", [-150.0, -75.0, -35.0, 40.0, 62.0, 90.0, 180.0])
def test_leaning_heads_are_found_with_their_lean_in_the_pixels_of_the_picture(lean):
    image, finder = picture(lean), Upright()
    assert finder.find(image) == []
    faces, hidden = second_look(image, [], finder.find)
    assert not hidden
    assert abs((roll_deg(faces[0]) - lean + 180) % 360 - 180) < 1.5
    c, s = np.cos(np.radians(lean)), np.sin(np.radians(lean))
    assert np.allclose(faces[0].keypoints_px[:2], EYES @ np.array([(c, s), (-s, c)]) + (260, 300), atol=2)
    x0, y0, x1, y1 = faces[0].box_xyxy_px
    assert np.allclose(((x0 + x1) / 2, (y0 + y1) / 2), faces[0].keypoints_px[2], atol=2)
    quarter = abs(lean) == 90
    if quarter or abs(lean) == 180:
        assert (x1 - x0, y1 - y0) == pytest.approx((160, 120) if quarter else (120, 160), abs=1)


def test_a_sure_face_is_not_looked_for_again():
    finder = Upright()
    sure = [made_up_face(score=SURE_SCORE)]
    assert second_look(picture(0), sure, finder.find) == (sure, False)
    assert finder.calls == 0


def test_a_doubtful_face_gives_way_only_to_a_clearly_surer_one():
    doubtful = [made_up_face(score=0.55)]
    assert roll_deg(second_look(picture(45), doubtful, Upright().find)[0][0]) == pytest.approx(45, abs=1.5)
    assert second_look(np.full((300, 240, 3), 140, np.uint8), doubtful, Upright().find)[0] is doubtful
    almost = [made_up_face(score=0.74)]
    weak = [made_up_face(score=0.8)]
    assert second_look(picture(0), almost, lambda _: weak)[0] is almost


def test_looks_are_bounded_where_there_is_no_face():
    finder = Upright()
    assert second_look(np.zeros((300, 240, 3), np.uint8), [], finder.find) == ([], False)
    assert finder.calls <= 11


def test_shadows_are_lifted_and_the_light_is_that_of_the_picture():
    dark = picture(0, light=0.15)
    finder = Upright(darkest=60)
    assert finder.find(dark) == []
    faces, hidden = second_look(dark, [], finder.find)
    assert hidden
    assert faces[0].brightness < 30


@pytest.mark.parametrize("pose", [True, False])
def test_the_check_says_how_far_a_head_leans(tmp_path, pose):
    path = save(tmp_path / "lean.png", picture(62))
    report = check_photo(path, Upright(pose=pose), CHECKS)
    findings = {f.code: f for f in report.findings}
    assert not report.accepted
    assert findings["extreme_pose"].measured == pytest.approx(62, abs=1.5)
    assert "leaning" in findings["extreme_pose"].advice
    path = save(tmp_path / "slight.png", picture(38))
    assert "extreme_pose" not in check_photo(path, Upright(), CHECKS).codes


def test_a_face_that_only_shows_from_farther_away_is_located_in_the_pixels_of_the_picture():
    image, finder = picture(0.0), Upright()
    near = finder.find(image)[0]

    def far(shown):
        return finder.find(shown) if shown.shape[1] > image.shape[1] else []

    faces, lifted_only = second_look(image, [], far)
    assert not lifted_only
    assert faces[0].box_xyxy_px == pytest.approx(near.box_xyxy_px, abs=1.0)
    assert faces[0].keypoints_px == pytest.approx(near.keypoints_px, abs=1.0)
    assert faces[0].pose_deg == near.pose_deg
