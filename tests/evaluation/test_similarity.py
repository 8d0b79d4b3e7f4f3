"""Similarity, ceiling and impostor on vectors small enough to check by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_lora.errors import InputError, PhotosError
from portrait_lora.evaluation.adherence import Request, mean_adherence
from portrait_lora.evaluation.measure import PhotosSeen, PortraitsSeen, training_photos
from portrait_lora.evaluation.similarity import (
    MIN_HOLDOUT,
    PortraitItem,
    ReferenceSet,
    ceiling,
    embed_photos,
    impostor,
    impostor_scores,
    known_face,
    pose_matched_ceiling,
    read_rgb,
    real_scores,
    score_portraits,
    unlike_others,
    verified,
)
from portrait_lora.records import Face, IdentityScore, Portrait, Shot


def face(embedding, *, side=100.0, yaw=0.0):
    return Face(
        box_xyxy_px=(0.0, 0.0, side, side / 2),
        score=0.9,
        keypoints_px=np.zeros((5, 2), np.float32),
        embedding=np.asarray(embedding, np.float32),
        embedder_id="b",
        sharpness=100.0,
        brightness=120.0,
        pose_deg=None if yaw is None else (0.0, yaw, 0.0),
    )


class ByGrey:
    """Finds the faces that are filed under the grey level of the picture."""

    embedder_id = "b"

    def __init__(self, faces):
        self.faces = faces

    def find(self, image_rgb):
        return self.faces.get(int(image_rgb[0, 0, 0]), [])


def picture(folder: Path, name: str, grey: int) -> Path:
    path = folder / name
    Image.new("RGB", (8, 8), (grey, grey, grey)).save(path)
    return path


REFERENCES = ReferenceSet(np.array([[1, 0], [0.6, 0.8]], np.float32), ("a.png", "b.png"), "b")


def test_score_is_the_mean_cosine_and_names_the_nearest(tmp_path):
    finder = ByGrey({10: [face([0.6, 0.8], yaw=30.0)]})
    (score,) = score_portraits([PortraitItem(picture(tmp_path, "p.png", 10), "prompt")], REFERENCES, finder)
    assert score.similarity == pytest.approx((0.6 + 1.0) / 2)
    assert (score.portrait, score.prompt, score.nearest) == ("p.png", "prompt", "b.png")
    assert (score.pose_bin, score.embedder_id) == ("three-quarter", "b")
    assert (score.yaw_deg, score.face_px, score.faces) == (30.0, 100.0, 1)


def test_the_layers_of_a_portrait_reach_its_score_and_what_is_judged_by_them(tmp_path):
    """The sentence names two expressions, and only the layers say which one was asked for."""
    layers = (("view", "frontal"), ("expression", "smiling"), ("wardrobe", "t-shirt of a laughing dog"))
    prompt = "frontal headshot of ohwx man, smiling, t-shirt of a laughing dog"
    shot = Shot("s", prompt, "", (8, 8), 1, layers)
    paths = [picture(tmp_path, "smiling.png", 10), picture(tmp_path, "nobody.png", 90)]
    (tmp_path / "broken.png").write_bytes(b"no")
    items = [
        PortraitItem.of(Portrait(path, shot, 8, 5.0, 1.0, None)) for path in (*paths, tmp_path / "broken.png")
    ]
    smiling = replace(face([1, 0]), expression="smiling")
    seen = PortraitsSeen(items)
    scores = score_portraits(
        items,
        REFERENCES,
        ByGrey({10: [smiling]}),
        on_face=lambda path, image, _: seen(path, image, None),
        on_unreadable=seen.broken,
    )
    assert [score.layers for score in scores] == [layers] * 3
    assert [one.request for one in seen.seen] == [Request(prompt, layers)] * 3
    assert mean_adherence([(seen.seen[0].request, smiling)]) == 1.0
    (foreign,) = score_portraits([PortraitItem(paths[0], prompt)], REFERENCES, ByGrey({10: [smiling]}))
    assert foreign.layers == ()


def test_no_face_is_none_not_zero(tmp_path):
    (score,) = score_portraits(
        [PortraitItem(picture(tmp_path, "p.png", 10), "x", "n")], REFERENCES, ByGrey({})
    )
    assert score == IdentityScore("n", "x", None, None, None, "b")
    assert not verified(score, -1.0)


def test_the_largest_face_counts_and_an_unknown_pose_has_no_bin(tmp_path):
    finder = ByGrey({10: [face([0, 1], side=20), face([1, 0], side=90, yaw=None), face([0, 1], side=30)]})
    seen = []
    (score,) = score_portraits(
        [PortraitItem(picture(tmp_path, "p.png", 10), "x")],
        REFERENCES,
        finder,
        on_face=lambda path, image, detection: seen.append((path.name, image.shape, detection.size_px)),
    )
    assert score.similarity == pytest.approx(0.8)
    assert score.pose_bin is None
    assert (score.faces, score.face_px) == (3, 90.0)
    assert seen == [("p.png", (8, 8, 3), 90.0)]


def test_a_person_nearer_to_the_camera_is_not_taken_for_the_subject():
    known = ReferenceSet(np.array([[1.0, 0.2], [1.0, -0.2]]), ("a", "b"))
    near, subject, small = face([0.0, 1.0], side=200), face([0.9, 0.3]), face([1.0, 0.0], side=40)
    assert known_face([near, small, subject], known, 0.8) is subject
    assert known_face([near, subject], known, 0.999) is near  # nobody verified: the largest, as before
    assert known_face([], known, 0.8) is None


def test_training_photos_are_those_of_the_person_held_out(tmp_path):
    known = ReferenceSet(np.array([[1.0, 0.2], [1.0, -0.2]]), ("a", "b"))
    near, subject = face([0.0, 1.0], side=200), face([0.9, 0.3])
    photo, finder = picture(tmp_path, "c.png", 100), ByGrey({100: [near, subject]})
    training, _ = training_photos([photo], finder, PhotosSeen(), known, 0.8)
    assert training.embeddings[0] @ [1.0, 0.0] > 0.9


def test_verified_includes_the_threshold_itself():
    score = IdentityScore("p", "x", 0.5, "a", None, "b")
    assert verified(score, 0.5)
    assert not verified(score, 0.5001)


def test_embedders_are_not_mixed(tmp_path):
    other = ReferenceSet(REFERENCES.embeddings, REFERENCES.names, "a")
    with pytest.raises(InputError, match="different models"):
        score_portraits([PortraitItem(picture(tmp_path, "p.png", 10), "x")], other, ByGrey({}))
    with pytest.raises(InputError, match="different models"):
        real_scores(ReferenceSet(np.eye(2), ("c", "d"), "a"), REFERENCES)


def test_embed_photos_skips_photos_without_a_face(tmp_path):
    paths = [picture(tmp_path, f"{g}.png", g) for g in (10, 20, 30)]
    finder = ByGrey({10: [face([3, 4], yaw=12.0)], 30: [face([0, 1], yaw=None)]})
    references, skipped = embed_photos(paths, finder, min_faces=MIN_HOLDOUT)
    assert references.names == ("10.png", "30.png")
    assert references.embeddings == pytest.approx(np.array([[0.6, 0.8], [0, 1]]))
    assert references.yaws_deg == (12.0, None)
    assert references.embedder_id == "b"
    assert [(name, finding.code) for name, finding in skipped] == [("20.png", "no_face")]


def test_embed_photos_refuses_too_few_faces(tmp_path):
    paths = [picture(tmp_path, f"{g}.png", g) for g in (10, 20)]
    with pytest.raises(PhotosError, match=r"got 1 of 2; needed 2") as caught:
        embed_photos(paths, ByGrey({10: [face([1, 0])]}), min_faces=MIN_HOLDOUT)
    assert caught.value.exit_code == 3
    empty, skipped = embed_photos(paths, ByGrey({}))
    assert len(empty) == 0
    assert len(skipped) == 2


def test_an_unreadable_picture_says_which(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"bad\.png"):
        read_rgb(tmp_path / "bad.png")


def test_photos_are_read_upright(tmp_path):
    sideways = Image.new("RGB", (4, 2))
    exif = sideways.getexif()
    exif[0x0112] = 6
    sideways.save(tmp_path / "s.jpg", exif=exif)
    assert read_rgb(tmp_path / "s.jpg").shape == (4, 2, 3)


def test_ceiling_leaves_each_held_out_photo_out_of_its_own_comparison():
    training = ReferenceSet(np.array([[0, 1]], np.float32), ("c.png",), "b")
    # training photo: (0 + 0.8) / 2; each held-out photo against the other one: 0.6
    assert real_scores(training, REFERENCES) == pytest.approx([0.4, 0.6, 0.6])
    assert ceiling(training, REFERENCES) == pytest.approx(1.6 / 3)


def test_ceiling_without_training_photos():
    assert ceiling(ReferenceSet(np.zeros((0, 2)), (), "b"), REFERENCES) == pytest.approx(0.6)


def test_ceiling_refuses_a_leak_and_a_lone_photo():
    with pytest.raises(InputError, match=r"b\.png"):
        ceiling(ReferenceSet(np.array([[0, 1]]), ("b.png",), "b"), REFERENCES)
    with pytest.raises(PhotosError):
        ceiling(REFERENCES, ReferenceSet(np.array([[0, 1]]), ("c.png",), "b"))


def test_impostor_is_the_mean_over_the_gallery():
    gallery = np.array([[[0, 2.0], [1, 0]], [[-1, 0], [0, -1]]])
    assert impostor_scores(gallery, REFERENCES) == pytest.approx(np.array([[0.4, 0.8], [-0.8, -0.4]]))
    assert impostor(gallery, REFERENCES) == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(InputError, match="does not match"):
        impostor(np.zeros((2, 2, 3)), REFERENCES)


def test_references_are_unit_read_only_and_named():
    assert ReferenceSet(np.array([[3.0, 4.0]]), ("a",)).embeddings == pytest.approx(np.array([[0.6, 0.8]]))
    with pytest.raises(ValueError, match="read-only"):
        REFERENCES.embeddings[0, 0] = 2
    for rows, names in ((np.eye(2), ("a",)), (np.zeros((1, 2)), ("a",)), (np.array([[np.nan, 1]]), ("a",))):
        with pytest.raises(InputError):
            ReferenceSet(rows, names)


def test_an_unreadable_portrait_counts_as_one_without_a_face(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    item, unreadable = PortraitItem(tmp_path / "bad.png", "x"), []
    with pytest.raises(InputError, match="bad"):
        score_portraits([item], REFERENCES, ByGrey({}))
    (score,) = score_portraits(
        [item], REFERENCES, ByGrey({}), on_unreadable=lambda which, error: unreadable.append(which.label)
    )
    assert (score.similarity, score.faces, unreadable) == (None, 0, ["bad.png"])


def test_pose_matched_ceiling_takes_the_photos_of_like_yaw():
    holdout = ReferenceSet(REFERENCES.embeddings, REFERENCES.names, "b", (0.0, 40.0))  # 0.6 and 0.6
    training = ReferenceSet(np.array([[0, 1]], np.float32), ("c.png",), "b", (3.0,))  # 0.4
    assert pose_matched_ceiling(training, holdout, [45.0]) == pytest.approx(0.6)
    assert pose_matched_ceiling(training, holdout, [0.0]) == pytest.approx(0.5)
    assert pose_matched_ceiling(training, holdout, [0.0, 90.0]) == pytest.approx(0.55)
    assert pose_matched_ceiling(training, REFERENCES, []) is None
    unknown = ReferenceSet(training.embeddings, training.names, "b")
    assert pose_matched_ceiling(unknown, REFERENCES, [0.0]) is None


def test_a_stranger_among_the_references_is_named():
    own = np.array([[1.0, 0.1, 0], [1.0, -0.1, 0], [0.9, 0.3, 0], [0.6, 0.8, 0]])
    rows = np.concatenate([own, [[0.0, 0.0, 1.0]]])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    names = ("a", "b", "c", "profile", "stranger")
    assert unlike_others(ReferenceSet(rows, names, "e"), 0.5) == ("stranger",)
    assert unlike_others(ReferenceSet(rows[:4], names[:4], "e"), 0.5) == ()
    assert unlike_others(ReferenceSet(rows[[0, 4]], ("a", "stranger"), "e"), 0.5) == ()
