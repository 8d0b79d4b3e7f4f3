"""Long pictures: faces are detected in windows, each once, where they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from portrait_lora.dataset import panorama
from portrait_lora.dataset.checks import check_photo

from .made_up import CHECKS, draw, made_up_face


class Finder:
    """Finds the drawn head by its backdrop wherever it is large enough in the picture it is shown."""

    embedder_id = "made_up"

    def __init__(self) -> None:
        self.shapes: list[tuple[int, int]] = []

    def find(self, image_rgb):
        height, width = image_rgb.shape[:2]
        self.shapes.append((width, height))
        ys, xs = np.nonzero(image_rgb.astype(int).max(axis=2) > 30)
        fit = max(width, height) / 640  # detectors see the longer side at about this
        if not len(xs) or np.ptp(xs) / max(fit, 1) < 60:
            return []
        if abs(np.ptp(ys) / np.ptp(xs) - 1.25) > 0.02:
            return []  # cut by the window
        face = made_up_face((int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1))
        return [panorama._moved(face, (int(xs.min()), int(ys.min())))]

    def covered_face(self, image_rgb):
        return None


@pytest.mark.parametrize(("at", "upright"), [(0, False), (1900, False), (4900, True)])
def test_a_face_in_a_panorama_is_found_once_and_whole(tmp_path, at, upright):
    head = draw(1, (600, 750))
    picture = np.zeros((800, 6_000, 3), np.uint8)
    picture[20:770, at : at + 600] = head
    place = np.array([at, 20])
    if upright:
        picture, place = np.zeros((6_000, 800, 3), np.uint8), np.array([100, at])
        picture[at : at + 750, 100:700] = head
    Image.fromarray(picture).save(tmp_path / "pano.png", compress_level=1)
    finder = Finder()
    report = check_photo(tmp_path / "pano.png", finder, CHECKS)
    assert report.face is not None and "several_faces" not in report.codes
    wanted = made_up_face((600, 750)).keypoints_px + place
    assert np.abs(report.face.keypoints_px - wanted).max() < 8
    assert not {"cut_off", "face_too_small"} & set(report.codes)
    assert all(max(shape) <= 1300 for shape in finder.shapes)


def test_a_face_that_two_windows_see_counts_once():
    face = made_up_face((600, 750))
    cut = replace(face, score=0.4, box_xyxy_px=(200.0, 190.0, 300.0, 400.0))
    other = panorama._moved(face, (700, 0))
    assert panorama._each_once([cut, face, face, other]) == [face, other]


def test_pictures_of_usual_shape_are_looked_at_whole():
    finder = Finder()
    panorama.in_windows(finder.find)(draw(1, (600, 750)))
    assert finder.shapes == [(600, 750)]
    assert panorama.is_long((12_000, 800)) and panorama.is_long((800, 12_000))
    assert not panorama.is_long((1170, 2532))
