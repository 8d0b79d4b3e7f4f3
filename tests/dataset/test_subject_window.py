"""What is held out of a photograph shows the subject as the largest face."""

import numpy as np
from PIL import Image

from portrait_lora.dataset import build
from portrait_lora.dataset.photograph_crop import subject_window
from portrait_lora.records import Photo, PhotoReport

from .made_up import FixedFinder, made_up_face

PHOTO = (1600, 1200)


def _face(x, y, size):
    return made_up_face(PHOTO, box_xyxy_px=(x - size / 2, y - size / 2, x + size / 2, y + size / 2))


def test_alone_there_is_room_around_the_face():
    left, top, right, bottom = subject_window(PHOTO, _face(800, 500, 200))
    assert right - left >= 4 * 200 and bottom - top >= 4 * 200
    assert (left + right) / 2 == 800


def test_the_window_stays_in_the_photo():
    assert subject_window(PHOTO, _face(120, 100, 200))[:2] == (0, 0)
    left, top, right, bottom = subject_window((300, 300), _face(150, 150, 200))
    assert (left, top, right, bottom) == (0, 0, 300, 300)


def test_a_larger_face_beside_the_subject_is_left_out():
    subject, larger = _face(700, 500, 200), (900.0, 380.0, 1130.0, 620.0)
    left, top, right, bottom = subject_window(PHOTO, subject, [larger])
    assert right < (larger[0] + larger[2]) / 2
    assert left < 600 and right > 800 and bottom > 600 and top < 400


def test_a_smaller_face_does_not_narrow_it():
    subject, smaller = _face(700, 500, 200), (900.0, 400.0, 1000.0, 500.0)
    assert subject_window(PHOTO, subject, [smaller]) == subject_window(PHOTO, subject)


def test_the_held_out_picture_is_that_window_of_a_photograph_only(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (1200, 1600, 3), dtype=np.uint8)
    path = tmp_path / "p.png"
    Image.fromarray(pixels).save(path)
    subject = _face(700, 500, 200)
    report = PhotoReport(Photo(path, build.manifest.sha256_file(path), PHOTO), subject)
    (tmp_path / "holdout").mkdir()
    for find, expected in ((None, (1024, 768)), (FixedFinder(subject, size_px=PHOTO).find, None)):
        row = build._write_holdout(tmp_path, report, find)
        size = Image.open(tmp_path / "holdout" / row["file_name"]).size
        if expected is not None:
            assert size == expected
        else:
            left, top, right, bottom = subject_window(PHOTO, subject)
            assert size == (right - left, bottom - top)
            held = np.asarray(Image.open(tmp_path / "holdout" / row["file_name"]))
            assert np.array_equal(held, pixels[top:bottom, left:right])
