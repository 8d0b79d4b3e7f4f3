import logging
from dataclasses import replace

import cv2
import numpy as np
import pytest

from portrait_lora.dataset.checks import check_folder, check_photo
from portrait_lora.dataset.duplicates import Fingerprints
from portrait_lora.dataset.findings import CODES, NEEDS, face_luma
from portrait_lora.faces.quality import blur_limit_px, source_px_per_aligned_px
from portrait_lora.records import readonly

from .made_up import CHECKS, SIZE, FixedFinder, draw, made_up_face, save


def check(tmp_path, *faces, pixels=None, size_px=SIZE):
    path = save(tmp_path / "photo.png", draw(0, size_px) if pixels is None else pixels)
    return check_photo(path, FixedFinder(*faces, size_px=size_px), CHECKS)


def test_a_good_photo_is_accepted_and_says_what_it_could_not_check(tmp_path):
    report = check(tmp_path, made_up_face())
    assert report.accepted
    assert {f.code: f.severity for f in report.findings} == {"occluded": "not_checked"}


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("under_exposed", {"brightness": 9.0}),
        ("over_exposed", {"brightness": 245.0}),
        ("extreme_pose", {"pose_deg": (0.0, 89.0, 0.0)}),
        ("extreme_pose", {"pose_deg": (55.0, 0.0, 0.0)}),
        ("cut_off", {"box_xyxy_px": (-20.0, 60.0, 76.0, 180.0)}),
        ("cut_off", {"box_xyxy_px": (70.0, 0.0, 170.0, 120.0)}),
        ("cut_off", {"landmarks_px": readonly(np.full((68, 2), 301.0))}),
        ("face_too_small", {"box_xyxy_px": (90.0, 90.0, 130.0, 140.0)}),
    ],
)
def test_each_fault_has_its_code_with_both_figures(tmp_path, code, changes):
    report = check(tmp_path, made_up_face(**changes))
    assert report.codes == (code,)
    finding = next(f for f in report.findings if f.code == code)
    assert finding.measured is not None
    assert finding.threshold is not None
    assert finding.advice.endswith(".")
    assert code in CODES


def softened(sigma, gain=1.0, size=SIZE):
    return (cv2.GaussianBlur(draw(0, size), (0, 0), sigma) * gain).astype(np.uint8)


def test_blur_is_measured_on_the_aligned_crop_and_not_by_contrast(tmp_path):
    big = (480, 600)
    aligned = source_px_per_aligned_px(made_up_face(big).keypoints_px)
    soft = check(tmp_path, made_up_face(big), pixels=softened(1.7 * aligned, size=big), size_px=big)
    assert soft.codes == ("blurred",)
    finding = soft.findings[0]
    assert 1.4 < finding.measured < 2.2
    assert finding.threshold == pytest.approx(blur_limit_px(CHECKS.max_blur_px, aligned))
    face = made_up_face(big, brightness=60.0)
    dark = check(tmp_path, face, pixels=softened(0.4, gain=0.5, size=big), size_px=big)
    assert "blurred" not in dark.codes


def test_a_small_face_is_not_called_blurred_for_being_enlarged(tmp_path):
    tiny = made_up_face(box_xyxy_px=(90.0, 90.0, 130.0, 140.0))
    assert check(tmp_path, tiny, pixels=softened(3.0)).codes == ("face_too_small",)
    size = (160, 200)
    settings = replace(CHECKS, min_face_px=40.0)
    path = save(tmp_path / "small.png", softened(2.0, size=size))
    report = check_photo(path, FixedFinder(made_up_face(size), size_px=size), settings)
    assert report.codes == ("blurred",)
    assert report.findings[0].threshold > 1.1 * CHECKS.max_blur_px


def dark_lenses(pixels, face):
    for x, y in face.keypoints_px[:2]:
        cv2.ellipse(pixels, (int(x), int(y)), (13, 9), 0, 0, 360, (15, 15, 18), -1)
    return pixels


def test_dark_lenses_are_seen_unless_the_head_is_turned_too_far(tmp_path):
    face = made_up_face()
    assert check(tmp_path, face, pixels=dark_lenses(draw(0), face)).codes == ("sunglasses",)
    small = CHECKS.min_face_px + 60.0
    tiny = check_photo(tmp_path / "photo.png", FixedFinder(face), replace(CHECKS, min_face_px=small))
    assert tiny.codes == ("face_too_small",)
    assert ("sunglasses", "not_checked") in {(f.code, f.severity) for f in tiny.findings}
    turned = made_up_face(yaw=60.0)
    report = check(tmp_path, turned, pixels=dark_lenses(draw(0), turned))
    assert ("sunglasses", "not_checked") in {(f.code, f.severity) for f in report.findings}


def test_a_covered_face_is_reported_with_both_figures(tmp_path):
    report = check(tmp_path, made_up_face(covered_share=0.31))
    assert report.codes == ("occluded",)
    finding = next(f for f in report.findings if f.code == "occluded")
    assert (finding.measured, finding.threshold) == (0.31, CHECKS.max_covered_share)
    assert "covers part of the face" in finding.advice


def test_what_a_pack_can_measure_is_not_reported_as_unchecked(tmp_path):
    clear = made_up_face(covered_share=0.02, glasses="no glasses")
    assert check(tmp_path, clear).findings == ()
    worn = check(tmp_path, made_up_face(yaw=60.0, covered_share=0.02, glasses="round glasses"))
    assert [(f.code, f.severity) for f in worn.findings] == [("sunglasses", "not_checked")]
    turned = check(tmp_path, made_up_face(yaw=60.0, covered_share=0.02, glasses="no glasses"))
    assert turned.findings == ()


def test_every_code_says_what_it_needs():
    assert set(NEEDS) == set(CODES)
    assert all(NEEDS.values())


def test_exposure_is_also_read_from_the_pixels(tmp_path):
    dark = (draw(0) * 0.2).astype(np.uint8)
    assert check(tmp_path, made_up_face(), pixels=dark).codes == ("under_exposed",)
    burnt = np.clip(draw(0).astype(int) * 2 + 60, 0, 255).astype(np.uint8)
    assert check(tmp_path, made_up_face(), pixels=burnt).codes == ("over_exposed",)


def test_dark_skin_in_good_light_is_not_under_exposed(tmp_path):
    pixels = draw(0)
    dark_skin = (pixels * 0.42).astype(np.uint8)
    cv2.circle(dark_skin, (110, 95), 9, (170, 150, 140), -1)  # a highlight on the forehead
    report = check(tmp_path, made_up_face(brightness=52.0), pixels=dark_skin)
    assert report.accepted


def test_black_and_white_together_are_harsh_not_burnt(tmp_path):
    pixels = draw(0)
    x0, y0, x1, y1 = (int(v) for v in made_up_face().box_xyxy_px)
    middle = (x0 + x1) // 2
    pixels[y0:y1, x0:middle], pixels[y0:y1, middle:x1] = 4, 254
    report = check(tmp_path, made_up_face(), pixels=pixels)
    assert "over_exposed" not in report.codes
    assert "harsh_contrast" in {f.code for f in report.findings}


def test_harsh_contrast_is_a_remark(tmp_path):
    pixels = draw(0)
    x0, y0, x1, y1 = (int(v) for v in made_up_face().box_xyxy_px)
    pixels[y0:y1, x0 : x0 + int(0.55 * (x1 - x0))] = 4
    report = check(tmp_path, made_up_face(), pixels=pixels)
    assert report.accepted
    assert [f.severity for f in report.findings if f.code == "harsh_contrast"] == ["warn"]


def test_a_black_and_white_photo_is_named_and_kept(tmp_path):
    grey = np.repeat(draw(0).mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    report = check(tmp_path, made_up_face(), pixels=grey)
    assert report.accepted
    assert [f.severity for f in report.findings if f.code == "monochrome"] == ["warn"]
    assert "monochrome" not in {f.code for f in check(tmp_path, made_up_face()).findings}
    dark = check(tmp_path, made_up_face(brightness=9.0), pixels=grey)
    assert [f.code for f in dark.findings if f.severity != "not_checked"] == ["under_exposed"]


def test_no_face_and_a_picture_on_its_side(tmp_path):
    report = check(tmp_path)
    assert report.codes == ("no_face",)
    assert report.face is None

    class UprightOnly(FixedFinder):
        def find(self, image_rgb):
            height, width = image_rgb.shape[:2]
            upright = height > width and image_rgb[-8, width // 2].mean() < 100  # clothes are below
            return super().find(image_rgb) if upright else []

    path = save(tmp_path / "side.png", np.rot90(draw(0)).copy())
    report = check_photo(path, UprightOnly(made_up_face()), CHECKS)
    assert report.codes == ("extreme_pose",)
    assert abs(report.findings[0].measured) == pytest.approx(90.0)
    assert "on its side. Turn it to the right" in report.findings[0].advice


def test_a_thumbnail_is_low_resolution(tmp_path):
    report = check(tmp_path, made_up_face((100, 110)), size_px=(100, 110))
    assert "low_resolution" in report.codes


def test_a_pose_from_five_points_rejects_by_its_yaw_but_never_by_its_pitch(tmp_path):
    bowed = check(tmp_path, made_up_face(pose_deg=(-55.0, 0.0, 0.0), pose_from_points=True))
    assert bowed.accepted
    assert ("extreme_pose", "not_checked") in {(f.code, f.severity) for f in bowed.findings}
    turned = check(tmp_path, made_up_face(pose_deg=(0.0, 88.0, 0.0), pose_from_points=True))
    assert turned.codes == ("extreme_pose",)


def test_a_pack_without_pose_says_so(tmp_path):
    report = check(tmp_path, made_up_face(pose_deg=None))
    assert report.accepted
    assert ("extreme_pose", "not_checked") in {(f.code, f.severity) for f in report.findings}


def test_faces_are_measured_in_pixels_of_the_original(tmp_path):
    size = (1600, 2000)
    report = check(tmp_path, made_up_face(size), size_px=size)
    assert report.photo.size_px == size
    assert np.allclose(report.face.box_xyxy_px, made_up_face(size).box_xyxy_px, atol=2)


def test_a_small_face_in_a_large_photo_is_looked_at_again_at_full_size(tmp_path):
    size = (2000, 1500)
    centre = (900.0, 700.0)

    class Looker(FixedFinder):
        embedder_id = "made_up"

        def __init__(self):
            self.shapes = []

        def find(self, image_rgb):
            self.shapes.append(image_rgb.shape)
            if image_rgb.shape[1] == 1280:  # the reduced picture: the face is small and soft
                box = (532.0, 400.0, 620.0, 496.0)
                return [made_up_face(box_xyxy_px=box, sharpness=5.0)]
            height, width = image_rgb.shape[:2]
            box = (width / 2 - 65, height / 2 - 72, width / 2 + 65, height / 2 + 72)
            return [made_up_face(box_xyxy_px=box, sharpness=200.0)]

    looker = Looker()
    path = save(tmp_path / "large.png", draw(0, size))
    report = check_photo(path, looker, CHECKS)
    assert len(looker.shapes) == 2
    assert report.face.sharpness == 200.0
    x0, y0, x1, y1 = report.face.box_xyxy_px
    assert abs((x0 + x1) / 2 - centre[0]) < 5
    assert abs((y0 + y1) / 2 - centre[1]) < 5


def test_a_folder_gives_one_report_per_file_and_leaves_the_originals_alone(tmp_path):
    save(tmp_path / "b.png", draw(1))
    save(tmp_path / "a.jpg", draw(2))
    (tmp_path / "c.jpg").write_bytes(b"")
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.iterdir()}
    reports = check_folder(tmp_path, FixedFinder(made_up_face()), CHECKS)
    assert [(r.photo.path.name, r.codes) for r in reports] == [
        ("a.jpg", ()),
        ("b.png", ()),
        ("c.jpg", ("unreadable",)),
    ]
    assert {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.iterdir()} == before


def test_face_luma_survives_boxes_outside_the_picture():
    face = made_up_face(box_xyxy_px=(400.0, 400.0, 500.0, 500.0))
    assert face_luma(draw(0), face).size > 0


def test_a_face_behind_something_is_reported_as_covered_not_as_missing(tmp_path):
    class Doubting(FixedFinder):
        def covered_face(self, image_rgb):
            return made_up_face(covered_share=0.4)

    report = check_photo(save(tmp_path / "hand.png", draw(0)), Doubting(), CHECKS)
    assert report.codes == ("occluded",)
    assert report.face is not None


def test_a_face_that_only_brightening_shows_is_under_exposed(tmp_path):
    class NightBlind(FixedFinder):
        """Finds the face once the picture is bright enough."""

        embedder_id = "made-up"

        def find(self, image_rgb):
            return [made_up_face()] if image_rgb.max() > 150 else []

    rng = np.random.default_rng(0)
    dark = save(tmp_path / "dark.png", rng.integers(0, 25, (*SIZE[::-1], 3), dtype=np.uint8))
    grey = save(tmp_path / "grey.png", np.full((*SIZE[::-1], 3), 140, np.uint8))
    report = check_photo(dark, NightBlind(), CHECKS)
    assert report.codes == ("under_exposed",) and report.findings[0].measured < CHECKS.min_brightness
    assert check_photo(grey, NightBlind(), CHECKS).codes == ("no_face",)


def test_accepted_photos_are_shown_to_whoever_asks_while_they_are_open(tmp_path):
    big = (2000, 2500)
    save(tmp_path / "a.jpg", draw(1, big))
    (tmp_path / "b.jpg").write_bytes(b"")
    fingerprints = Fingerprints()
    (good, bad) = check_folder(
        tmp_path, FixedFinder(made_up_face(big), size_px=big), CHECKS, seen=fingerprints.see
    )
    assert fingerprints.of(good.photo).photo.sha256 == good.photo.sha256
    assert fingerprints.of(bad.photo) is None


def test_pictures_in_subfolders_are_mentioned(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("portrait_lora"), "propagate", True)
    (tmp_path / "holiday").mkdir()
    for name in ("x.jpg", "y.PNG", "notes.txt", ".hidden.jpg"):
        (tmp_path / "holiday" / name).write_bytes(b"x")
    assert check_folder(tmp_path, FixedFinder(), CHECKS) == []
    assert "2 pictures in the subfolder 'holiday'" in caplog.text


def test_a_photo_that_goes_away_between_two_looks_is_unreadable(tmp_path):
    size = (2000, 1500)
    path = save(tmp_path / "large.png", draw(0, size))

    class Thief(FixedFinder):
        def find(self, image_rgb):
            path.unlink(missing_ok=True)
            return super().find(image_rgb)

    small = made_up_face(size, box_xyxy_px=(800.0, 600.0, 900.0, 720.0))
    assert check_photo(path, Thief(small, size_px=size), CHECKS).codes == ("unreadable",)
