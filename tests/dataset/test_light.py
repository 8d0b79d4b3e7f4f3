import cv2
import numpy as np
import pytest

from portrait_lora.dataset.light import chroma, contrast_stops
from portrait_lora.dataset.second_look import _find_turned
from portrait_lora.records import readonly

from .made_up import SIZE, made_up_face


def skin(left=0.4, right=0.4, at=SIZE[0] // 2):
    """Even skin with these luminances left and right of a column, by default the made-up face's middle."""
    linear = np.full((SIZE[1], SIZE[0], 3), left)
    linear[:, at:] = right
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * srgb).astype(np.uint8)


def with_landmarks():
    """Sixty-eight points on the ellipse of the made-up face's box."""
    x0, y0, x1, y1 = made_up_face().box_xyxy_px
    turn = np.linspace(0, 2 * np.pi, 68)
    points = [(x0 + x1) / 2 + (x1 - x0) / 2 * np.cos(turn), (y0 + y1) / 2 + (y1 - y0) / 2 * np.sin(turn)]
    return made_up_face(landmarks_px=readonly(np.stack(points, axis=1)))


@pytest.mark.parametrize("face", [made_up_face(), with_landmarks()])
@pytest.mark.parametrize("stops", [0.0, 1.0, 3.0, 5.0])
def test_the_ratio_of_the_two_sides_is_measured_in_stops(face, stops):
    assert contrast_stops(skin(0.4, 0.4 / 2**stops), face) == pytest.approx(stops, abs=0.12)
    assert contrast_stops(skin(0.4 / 2**stops, 0.4), face) == pytest.approx(stops, abs=0.12)


def test_dark_skin_and_dark_glasses_are_not_hard_light():
    face = with_landmarks()
    assert contrast_stops(skin(0.04, 0.04), face) < 0.1
    image = skin()
    for x, y in face.keypoints_px[:2]:
        cv2.ellipse(image, (int(x), int(y)), (13, 9), 0, 0, 360, (15, 15, 18), -1)
    assert contrast_stops(image, face) < 0.5


def test_the_sides_are_those_of_a_leaning_head():
    leaning = _find_turned(skin(), 90.0, lambda turned: [_in_the_middle(turned)])[0]
    image = np.full((SIZE[1], SIZE[0], 3), 180, np.uint8)
    image[: SIZE[1] // 2] = 12  # across the line of the eyes, which runs downwards here
    assert contrast_stops(image, leaning) > 4
    assert contrast_stops(skin(0.4, 0.4 / 2**5, at=140), leaning) < 1  # from above: on both sides


def _in_the_middle(image):
    height, width = image.shape[:2]
    points = np.array([(-20, -25), (20, -25), (0, 0), (-16, 25), (16, 25)])
    points = points + np.array([width / 2, height / 2])
    return made_up_face(
        keypoints_px=readonly(points),
        box_xyxy_px=(width / 2 - 40, height / 2 - 50, width / 2 + 40, height / 2 + 50),
    )


def test_a_face_outside_the_picture_gives_a_figure():
    face = made_up_face(keypoints_px=readonly(made_up_face().keypoints_px + 900))
    assert np.isfinite(contrast_stops(skin(), face))


def half_in_black(*, backdrop, shoulders):
    """A face whose landmarks cover its lit half alone, at 60..120 of 240 columns."""
    image = np.full((240, 240, 3), 120, np.uint8)
    image[:, 120:] = backdrop
    image[60:160, 60:120] = 170
    image[175:, :120] = 90
    image[175:, 120:] = shoulders
    points = np.array([(62, 62), (118, 62), (118, 158), (62, 158), (90, 110)], np.float32)
    marks = np.concatenate([points] * 13 + [points[:3]])
    return image, made_up_face(landmarks_px=readonly(marks), keypoints_px=readonly(points))


def test_a_half_that_is_black_counts_beside_the_landmarks():
    assert contrast_stops(*half_in_black(backdrop=1, shoulders=1)) > 5
    assert contrast_stops(*half_in_black(backdrop=1, shoulders=90)) < 1  # a dark backdrop, no shadow
    image, face = half_in_black(backdrop=1, shoulders=1)
    image[:, :60] = 0  # black on both sides is a backdrop as well
    assert contrast_stops(image, face) < 1


def test_a_black_beard_is_not_hard_light_without_landmarks():
    """Beards begin below the cheeks; a turned head shows more of it on one side."""
    face = made_up_face()
    mouth = face.keypoints_px[3:].mean(axis=0)
    image = skin()
    cv2.ellipse(image, (int(mouth[0]) + 22, int(mouth[1]) + 8), (26, 22), 0, 0, 360, (6, 6, 6), -1)
    assert contrast_stops(image, face) < 1.0


def test_a_dark_suit_beside_five_points_is_not_a_side_in_black():
    image, face = half_in_black(backdrop=1, shoulders=1)
    points = np.array([(72, 90), (108, 90), (90, 108), (75, 128), (105, 128)], np.float32)
    assert contrast_stops(image, made_up_face(landmarks_px=None, keypoints_px=readonly(points))) < 1
    assert contrast_stops(image, face) > 5


@pytest.mark.parametrize("skin_rgb", [(224, 172, 150), (141, 95, 70), (70, 45, 35)])
def test_chroma_tells_colour_from_grey_on_any_skin(skin_rgb):
    face = made_up_face()
    image = np.full((SIZE[1], SIZE[0], 3), skin_rgb, np.uint8)
    grey = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    assert (chroma(image, face) or 0) > 10
    assert chroma(grey, face) == pytest.approx(0, abs=0.1)


def test_black_and_burnt_faces_have_no_chroma_to_measure():
    face = made_up_face()
    assert chroma(np.full((SIZE[1], SIZE[0], 3), 8, np.uint8), face) is None
    assert chroma(np.full((SIZE[1], SIZE[0], 3), 253, np.uint8), face) is None
    half = np.full((SIZE[1], SIZE[0], 3), (190, 130, 110), np.uint8)
    half[:, : SIZE[0] // 2] = 0  # a side in the shade is no reason to call the photo grey
    assert (chroma(half, face) or 0) > 10
