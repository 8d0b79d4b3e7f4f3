"""Who a picture is of, and whether others in it count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from portrait_lora.dataset.checks import check_folder, check_photo
from portrait_lora.dataset.prominence import most_like, ordered
from portrait_lora.records import Face, PhotoReport

from .made_up import CHECKS, FixedFinder, draw, embedding, made_up_face, save

WIDE = (900, 480)
NOISE = np.random.default_rng(0).integers(0, 255, (480, 900, 3), dtype=np.uint8)


def at(x: float, size: float, y: float = 200.0, **changes) -> Face:
    """A face of this size around a point, its keypoints moved along."""
    box = (x - 0.4 * size, y - size / 2, x + 0.4 * size, y + size / 2)
    places = np.array([(0.3, 0.42), (0.7, 0.42), (0.5, 0.62), (0.34, 0.78), (0.66, 0.78)], np.float32)
    points = (places * (0.8 * size, size) + box[:2]).astype(np.float32)
    return made_up_face(WIDE, box_xyxy_px=box, keypoints_px=points, **changes)


def check(folder: Path, *faces: Face, pixels: np.ndarray = NOISE) -> PhotoReport:
    return check_photo(save(folder / "photo.png", pixels), FixedFinder(*faces, size_px=WIDE), CHECKS)


def remark(report: PhotoReport) -> tuple[str, str]:
    hits = [f for f in report.findings if f.code == "several_faces"]
    return (hits[0].severity, hits[0].advice) if hits else ("", "")


def test_two_heads_together_reject(tmp_path: Path) -> None:
    report = check(tmp_path, at(400, 150), at(530, 140))
    assert report.codes == ("several_faces",)
    assert "too close" in report.findings[0].advice and len(report.others) == 1


def test_somebody_beyond_the_crop_is_a_warning_with_the_crop_as_advice(tmp_path: Path) -> None:
    report = check(tmp_path, at(300, 150), at(750, 145))
    assert report.accepted
    assert remark(report)[0] == "warn" and "cropped to the subject" in remark(report)[1]


def test_somebody_small_in_the_crop_is_named_and_does_not_reject(tmp_path: Path) -> None:
    report = check(tmp_path, at(450, 180), at(580, 80, y=120.0))
    assert report.accepted and remark(report)[0] == "warn" and "behind or at the edge" in remark(report)[1]


def test_somebody_out_of_focus_does_not_reject(tmp_path: Path) -> None:
    import cv2

    soft = NOISE.copy()
    soft[:, 490:] = cv2.GaussianBlur(NOISE, (0, 0), 6)[:, 490:]
    sharp, blurred = (check(tmp_path, at(400, 150), at(550, 140), pixels=p) for p in (NOISE, soft))
    assert "several_faces" in sharp.codes and "several_faces" not in blurred.codes


def test_a_passer_by_is_no_remark(tmp_path: Path) -> None:
    report = check(tmp_path, at(400, 150), at(520, 50))
    assert remark(report) == ("", "") and report.others == ()


def test_a_doubted_face_at_the_border_is_not_the_subject(tmp_path: Path) -> None:
    flag, subject = at(840, 190, score=0.5), at(430, 150, score=0.85)
    assert ordered([flag, subject], NOISE)[0] is subject
    doubted, sure = at(600, 190, score=0.5), at(300, 150, score=0.85)  # equally far from the middle
    assert ordered([doubted, sure], NOISE)[0] is sure
    report = check(tmp_path, flag, subject)
    assert report.face is not None and report.face.size_px == pytest.approx(150)


def test_the_subject_is_the_face_most_like_the_other_photos(tmp_path: Path) -> None:
    class Finder(FixedFinder):
        """One face of person 1 in every photo; in the wide one a larger one of person 2 as well."""

        def find(self, image_rgb: np.ndarray) -> list[Face]:
            if image_rgb.shape[:2] == WIDE[::-1]:
                return [at(300, 170, embedding=embedding(2)), at(700, 150, embedding=embedding(1, 9))]
            return [made_up_face(embedding=embedding(1, int(image_rgb[0, 0, 0])))]

    for i in range(4):
        save(tmp_path / f"a{i}.png", draw(i))
    save(tmp_path / "wide.png", NOISE)
    seen: dict[str, Face] = {}
    reports = check_folder(
        tmp_path, Finder(), CHECKS, seen=lambda photo, image, face: seen.update({photo.path.name: face})
    )
    face = reports[-1].face
    assert face is not None and face.box_xyxy_px[0] == pytest.approx(640) and reports[-1].accepted
    assert seen["wide.png"].box_xyxy_px[0] == pytest.approx(640)


def test_a_slightly_better_likeness_does_not_change_the_subject() -> None:
    subject = embedding(1)
    first, other = made_up_face(embedding=embedding(1, 3)), made_up_face(embedding=embedding(1, 4))
    assert most_like([first, other], subject)[0] is first
    assert most_like([other, first], subject)[0] is other
    assert most_like([made_up_face(embedding=embedding(5)), other], subject)[0] is other
    assert most_like([first], None) == [first]
