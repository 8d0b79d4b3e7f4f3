import logging
from dataclasses import replace

import cv2
import numpy as np
import pytest

from portrait_lora.dataset.coverage import yaw_bin
from portrait_lora.dataset.curate import TooFewPhotos, curate
from portrait_lora.dataset.duplicates import Fingerprints
from portrait_lora.dataset.photos import load_photo
from portrait_lora.errors import EXIT_PHOTOS, InputError
from portrait_lora.records import Finding

from .made_up import SAME, draw, embedding, made_up_face, report, save


def reports(folder, count, **face):
    return [report(folder, i, yaw=(i % 5 - 2) * 30.0, **face) for i in range(count)]


def codes(curated):
    return {r.photo.path.name: r.codes for r in curated.rejected}


def test_kept_holdout_and_rejected_are_disjoint_and_complete(tmp_path):
    photos = [*reports(tmp_path, 12), report(tmp_path, 50, person=2)]
    curated = curate(photos, SAME)
    parts = [r.photo.path for r in (*curated.kept, *curated.holdout, *curated.rejected)]
    assert sorted(parts) == sorted(r.photo.path for r in photos)
    assert (len(curated.kept), len(curated.holdout), len(curated.rejected)) == (9, 3, 1)
    assert np.linalg.norm(curated.centroid) == pytest.approx(1, abs=1e-5)
    assert curated.centroid @ embedding(1) > 0.8


def test_forty_percent_of_others_are_rejected_with_their_similarity(tmp_path):
    photos = [*reports(tmp_path, 9), *(report(tmp_path, 20 + i, person=2) for i in range(6))]
    curated = curate(photos, SAME)
    assert set(codes(curated).values()) == {("other_person",)}
    assert {r.photo.path.name for r in curated.rejected} == {f"photo_{i}.png" for i in range(20, 26)}
    finding = curated.rejected[0].findings[0]
    assert finding.measured < finding.threshold


def test_two_people_equally_often_ends_with_a_question(tmp_path):
    photos = [*reports(tmp_path, 5), *(report(tmp_path, 20 + i, person=2) for i in range(5))]
    with pytest.raises(TooFewPhotos, match="two people appear equally often"):
        curate(photos, SAME)


def test_of_near_duplicates_the_sharper_stays(tmp_path):
    def soft(seed):
        return cv2.GaussianBlur(draw(seed), (0, 0), 1.2)

    photos = [report(tmp_path, 1, pixels=soft(101)), *(report(tmp_path, i) for i in (0, 2, 3, 4, 5))]
    copies = [
        report(tmp_path, 30, pixels=soft(100), embedding=photos[1].face.embedding),
        report(tmp_path, 31, pixels=draw(101), embedding=photos[0].face.embedding),
    ]
    curated = curate([*photos, *copies], SAME)
    assert codes(curated) == {"photo_30.png": ("near_duplicate",), "photo_01.png": ("near_duplicate",)}
    advice = {r.photo.path.name: r.findings[-1].advice for r in curated.rejected}
    assert "photo_31.png" in advice["photo_01.png"]
    assert "photo_00.png" in advice["photo_30.png"]


def test_a_chain_of_copies_leaves_one_and_names_it(tmp_path):
    photos = reports(tmp_path, 6)
    for i in (40, 41, 42):
        photos.append(report(tmp_path, i, pixels=draw(100), embedding=embedding(1, 0)))
    curated = curate(photos, SAME)
    assert set(codes(curated)) == {"photo_40.png", "photo_41.png", "photo_42.png"}
    assert all("photo_00.png" in r.findings[-1].advice for r in curated.rejected)


def test_already_rejected_photos_stay_out_of_everything(tmp_path):
    photos = reports(tmp_path, 7)
    blurred = Finding("blurred", "reject", 3.0, 40.0, "Sharper.")
    photos[0] = replace(photos[0], findings=(blurred,))
    photos.append(
        report(tmp_path, 60, pixels=draw(100))
    )  # a copy of the blurred one: no duplicate of a kept one
    curated = curate(photos, SAME)
    assert codes(curated) == {"photo_00.png": ("blurred",)}


def test_too_few_photos_say_what_was_wrong(tmp_path):
    photos = [*reports(tmp_path, 4), report(tmp_path, 20, person=2)]
    with pytest.raises(TooFewPhotos) as error:
        curate(photos, SAME)
    assert error.value.exit_code == EXIT_PHOTOS
    assert "4 of 5" in str(error.value)
    assert "photo_20.png: other_person" in str(error.value)
    assert len(error.value.reports) == 5
    with pytest.raises(TooFewPhotos, match="0 of 0"):
        curate([], SAME)


def test_few_photos_give_a_warning_and_many_none(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("portrait_lora"), "propagate", True)
    curate(reports(tmp_path, 9), SAME)
    assert "only 9 usable photos" in caplog.text
    caplog.clear()
    curate([*reports(tmp_path, 9), report(tmp_path, 9)], SAME)
    assert caplog.text == ""


def test_above_the_limit_a_varied_subset_stays(tmp_path):
    photos = [report(tmp_path, i, yaw=0.0 if i < 9 else 35.0) for i in range(12)]
    curated = curate(photos, replace(SAME, max_photos=6))
    assert len(curated.kept) + len(curated.holdout) == 6
    assert {c for cs in codes(curated).values() for c in cs} == {"surplus"}
    assert sum(yaw_bin(r.face) == "right three-quarter" for r in (*curated.kept, *curated.holdout)) == 3


def test_the_subset_is_drawn_from_every_outfit(tmp_path):
    red, blue = (170, 30, 40), (30, 40, 160)
    photos = [
        report(tmp_path, i, pixels=draw(i, clothes=red if i < 8 else blue), sharpness=900.0 - i, yaw=float(i))
        for i in range(10)
    ]
    curated = curate(photos, replace(SAME, max_photos=5))
    left = {r.photo.path.name for r in (*curated.kept, *curated.holdout)}
    assert {"photo_08.png", "photo_09.png"} <= left


def test_photos_that_vanish_after_the_check_are_unreadable(tmp_path):
    photos = reports(tmp_path, 7)
    photos[2].photo.path.unlink()
    curated = curate(photos, SAME)
    assert codes(curated) == {"photo_02.png": ("unreadable",)}
    assert len(curated.kept) + len(curated.holdout) == 6


def test_looks_taken_before_spare_the_files(tmp_path):
    photos, fingerprints = reports(tmp_path, 6), Fingerprints()
    for one in photos:
        fingerprints.see(one.photo, load_photo(one.photo.path)[1], one.face)

    def never(_):
        raise AssertionError("opened again")

    assert len(curate(photos, SAME, fingerprints=fingerprints, load=never).kept) == 4


def test_embeddings_of_two_kinds_are_a_mistake(tmp_path):
    photos = [report(tmp_path, 0), report(tmp_path, 1, embedder_id="other")]
    with pytest.raises(ValueError, match="different embedders"):
        curate(photos, SAME)


def test_curation_writes_nothing_beside_the_photos(tmp_path):
    photos = reports(tmp_path, 6)
    save(tmp_path / "unrelated.png", draw(9))
    before = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    curate(photos, SAME)
    assert {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == before


def test_a_burst_is_a_remark_that_names_the_others_and_stays_on_one_side(tmp_path):
    photos = reports(tmp_path, 10)
    for i in (30, 31):
        pixels = draw(100)
        mouth = photos[0].face.keypoints_px[3:].astype(int)
        cv2.line(pixels, tuple(map(int, mouth[0])), tuple(map(int, mouth[1])), (200, 160, 150), 2 * (i - 29))
        photos.append(report(tmp_path, i, pixels=pixels, embedding=photos[0].face.embedding))
    curated = curate(photos, SAME)
    burst = {"photo_00.png", "photo_30.png", "photo_31.png"}
    remarks = {
        r.photo.path.name: f.advice
        for r in (*curated.kept, *curated.holdout)
        for f in r.findings
        if (f.code, f.severity) == ("burst", "warn")
    }
    assert set(remarks) == burst
    assert "photo_30.png, photo_31.png" in remarks["photo_00.png"]
    assert {r.photo.path.name for r in curated.kept} >= burst


def test_photos_of_one_second_stay_together_by_their_files(tmp_path):
    """The head has turned: without the time of exposure the two are not alike enough."""
    pixels, photos = draw(100), reports(tmp_path, 9)
    lean = np.array([[1, 0, 0], [0.2, 1, 0]], np.float32)
    turned = cv2.warpAffine(pixels, lean, pixels.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    photos.append(report(tmp_path, 30, pixels=turned))

    def of_a_burst(seconds):
        first, last = (
            replace(r, photo=replace(r.photo, taken_s=t))
            for r, t in zip((photos[0], photos[-1]), seconds, strict=True)
        )
        curated = curate([first, *photos[1:-1], last], SAME)
        every = (*curated.kept, *curated.holdout)
        return {r.photo.path.name for r in every for f in r.findings if f.code == "burst"}

    assert of_a_burst((1000.0, 1000.4)) == {"photo_00.png", "photo_30.png"}
    assert of_a_burst((1000.0, 1090.0)) == set()


def test_photos_that_are_all_alike_cannot_be_held_out(tmp_path):
    """Each differs from every other one in an eye or the mouth, in one second."""
    first = made_up_face()
    photos = []
    for i in range(7):
        pixels = draw(100)
        for bit, (x, y) in enumerate(first.keypoints_px[[0, 1, 4]].astype(int)):
            if i >> bit & 1:
                cv2.ellipse(pixels, (int(x), int(y)), (9, 5), 0, 0, 360, (210, 165, 140), -1)
        one = report(tmp_path, i, pixels=pixels, embedding=embedding(1, 0))
        photos.append(replace(one, photo=replace(one.photo, taken_s=1000.0)))
    with pytest.raises(TooFewPhotos, match="too alike to hold one out"):
        curate(photos, SAME)


def with_a_doubtful_one(folder):
    """Nine photos and a tenth that resembles the nearest two by 0.5, between a stranger and the subject."""
    photos = reports(folder, 9)
    near = photos[0].face.embedding + photos[1].face.embedding
    near = near / np.linalg.norm(near)
    away = embedding(9) - (embedding(9) @ near) * near
    share = 0.45 / float(photos[0].face.embedding @ near)
    vector = share * near + np.sqrt(1 - share**2) * away / np.linalg.norm(away)
    return [*photos, report(folder, 30, embedding=vector.astype(np.float32))]


def test_a_doubtful_photo_is_a_question_and_left_out_until_it_is_answered(tmp_path):
    photos = with_a_doubtful_one(tmp_path)
    curated = curate(photos, SAME)
    (doubtful,) = curated.rejected
    (finding,) = doubtful.findings
    assert (finding.code, finding.severity) == ("doubtful_person", "question")
    assert doubtful.questioned and not doubtful.accepted
    assert "photo_00.png" in finding.advice
    assert "dataset.curate.same_person" in finding.advice
    yes = curate(photos, replace(SAME, same_person=("photo_30.png",)))
    assert yes.rejected == ()
    no = curate(photos, replace(SAME, other_person=("photo_30.png",)))
    assert codes(no) == {"photo_30.png": ("other_person",)}
    assert not no.rejected[0].questioned


def test_an_answer_about_a_file_that_is_not_there_is_an_error_with_the_nearest_name(tmp_path):
    photos = reports(tmp_path, 6)
    for key in ("same_person", "other_person"):
        with pytest.raises(
            InputError, match=rf"dataset.curate.{key}.*photo_3.png.*Did you mean photo_03.png"
        ):
            curate(photos, replace(SAME, **{key: ("photo_3.png",)}))


def test_a_tie_asks_about_both_people(tmp_path):
    photos = [*reports(tmp_path, 5), *(report(tmp_path, 20 + i, person=2) for i in range(5))]
    with pytest.raises(
        TooFewPhotos, match=r"same_person=\[photo_00.png\].*same_person=\[photo_20.png\]"
    ) as error:
        curate(photos, SAME)
    assert all(r.questioned for r in error.value.reports)
    curated = curate(photos, replace(SAME, same_person=("photo_22.png",)))
    assert {r.photo.path.name for r in (*curated.kept, *curated.holdout)} == {
        f"photo_{20 + i}.png" for i in range(5)
    }
