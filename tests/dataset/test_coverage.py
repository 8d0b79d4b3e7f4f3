from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from portrait_lora.dataset.coverage import PITCH_BINS, YAW_BINS, coverage, pitch_bin, yaw_bin
from portrait_lora.dataset.surroundings import Surroundings
from portrait_lora.records import Finding, Photo, PhotoReport

from .made_up import embedding, made_up_face


def faces(*poses, findings=()):
    out = []
    for i, (yaw, expression) in enumerate(poses):
        face = made_up_face(yaw=yaw, expression=expression)
        out.append(PhotoReport(Photo(Path(f"{i}"), str(i), (240, 300)), face, findings))
    return out


@pytest.mark.parametrize(
    ("yaw", "word"),
    [
        (-70.0, "left profile"),
        (-30.0, "left three-quarter"),
        (0.0, "frontal"),
        (15.0, "frontal"),
        (30.0, "right three-quarter"),
        (70.0, "right profile"),
    ],
)
def test_yaw_bins_follow_the_sign(yaw, word):
    assert yaw_bin(made_up_face(yaw=yaw)) == word


def test_counts_per_cell_of_accepted_photos_only():
    rejected = faces((0.0, "smiling"), findings=(Finding("blurred", "reject", 1.0, 2.0, "x"),))
    grid = coverage([*faces((0.0, "smiling"), (0.0, "smiling"), (-30.0, "neutral")), *rejected])
    table = dict(zip(grid.yaw_bins, grid.counts, strict=True))
    assert grid.yaw_bins == YAW_BINS
    assert table["frontal"][grid.expression_bins.index("smiling")] == 2
    assert sum(sum(row) for row in grid.counts) == 3


def test_advice_names_the_side_and_the_expression_that_are_short():
    grid = coverage(faces(*[(0.0, "neutral")] * 4, *[(-30.0, "neutral")] * 2))
    assert grid.missing == ("right three-quarter", "smiling")
    assert grid.advice == ("Add two photos turned a little to your left, one of them smiling.",)


def test_a_well_spread_set_needs_nothing():
    poses = [(0.0, "neutral")] * 3 + [(-30.0, "smiling")] * 2 + [(30.0, "laughing")] * 2
    assert coverage(faces(*poses)).advice == ()


def test_without_pose_the_grid_has_an_unknown_row():
    report = PhotoReport(Photo(Path("x"), "x", (240, 300)), made_up_face(pose_deg=None, expression=None))
    grid = coverage([report])
    assert grid.yaw_bins[-1] == grid.expression_bins[-1] == "unknown"
    assert grid.counts[-1][-1] == 1
    assert "does not measure the pose" in grid.advice[0]


def test_pitch_has_bins_of_its_own_and_every_photo_stands_in_one_cell():
    photos = faces((0.0, "neutral"), (0.0, "neutral"), (30.0, "smiling"))
    photos[1] = replace(photos[1], face=made_up_face(pose_deg=(20.0, 0.0, 0.0)))
    photos[2] = replace(photos[2], face=made_up_face(pose_deg=(-20.0, 30.0, 0.0), expression="smiling"))
    grid = coverage(photos)
    cells = np.array(grid.cells)
    assert cells.shape == (len(grid.yaw_bins), len(PITCH_BINS), len(grid.expression_bins))
    assert cells.sum() == 3
    assert np.array_equal(cells.sum(axis=1), np.array(grid.counts))
    place = grid.yaw_bins.index("right three-quarter"), PITCH_BINS.index("looking down")
    assert cells[place][grid.expression_bins.index("smiling")] == 1
    assert pitch_bin(made_up_face(pose_deg=None)) == "unknown"
    assert pitch_bin(made_up_face(pose_deg=(30.0, 0.0, 0.0), pose_from_points=True)) == "unknown"


def test_poses_from_five_points_fill_the_views_and_leave_the_tilt_unknown():
    rough = [
        replace(r, face=replace(r.face, pose_from_points=True))
        for r in faces((0.0, "neutral"), (30.0, "smiling"))
    ]
    grid = coverage(rough)
    assert "unknown" not in grid.yaw_bins and grid.pitch_bins[-1] == "unknown"
    assert sum(grid.cells[2][3]) == 1 and "right three-quarter" not in grid.missing


def test_heads_that_are_all_level_get_a_wish_once_there_are_ten():
    poses = [(0.0, "neutral")] * 4 + [(-30.0, "smiling")] * 3 + [(30.0, "laughing")] * 3
    assert coverage(faces(*poses[:9])).advice == ()
    assert "chin a little up, one a little down" in coverage(faces(*poses)).advice[0]
    some_up = [replace(r, face=made_up_face(pose_deg=(20.0, 0.0, 0.0))) for r in faces(*poses[:2])]
    assert coverage([*faces(*poses[2:]), *some_up]).advice == ("Add one photo with the chin a little down.",)


def test_one_outfit_or_backdrop_in_most_photos_is_reported_with_its_count():
    same, other = (20.0, 3.0, -15.0), (70.0, 40.0, 30.0)
    grey = [(float(30 * i), 0.0, 0.0) for i in range(6)]
    alike = [Surroundings(same, g) for g in grey]
    assert any("6 of 6 photos show the same outfit" in a for a in coverage([], alike).advice)
    assert not any("same backdrop" in a for a in coverage([], alike).advice)
    mixed = [Surroundings(same if i % 2 else other, None) for i in range(6)]
    assert not any("same" in a for a in coverage([], mixed).advice)
    grid = coverage([], mixed)
    assert [(v.kind, v.groups) for v in grid.variety] == [("outfit", (3, 3))]


def test_light_that_never_changes_is_reported():
    alike = [Surroundings(None, None, (0.1 * i, 0.0, 5.0, 1.0)) for i in range(8)]
    assert any("8 photos are lit alike" in a for a in coverage([], alike).advice)
    other = Surroundings(None, None, (4.0, 0.0, 5.0, 1.0))
    assert not any("lit alike" in a for a in coverage([], [*alike, other]).advice)


def test_photos_whose_outfit_or_backdrop_is_not_sure_count_as_different_ones():
    plain, crowd = Surroundings((20.0, 3.0, -15.0), (60.0, 0.0, 0.0)), Surroundings(None, None)
    assert any("same backdrop" in a for a in coverage([], [plain] * 6 + [crowd] * 4).advice)
    assert not any("same" in a for a in coverage([], [plain] * 5 + [crowd] * 5).advice)


def looks(*people, count=4):
    out = []
    for person in people:
        for i in range(count):
            face = made_up_face(embedding=embedding(person, i))
            out.append(PhotoReport(Photo(Path(f"{person}_{i}.jpg"), f"{person}{i}", (240, 300)), face))
    return out


def test_two_looks_of_one_face_are_distinguished_by_name():
    advice = " ".join(coverage(looks(1, 2), same_person_similarity=0.45).advice)
    assert "looks different in 4 photos" in advice
    assert "_0.jpg" in advice
    assert "looks different" not in " ".join(coverage(looks(1), same_person_similarity=0.45).advice)
    assert coverage(looks(1)).appearance_spread < coverage(looks(1, 2)).appearance_spread


def test_many_black_and_white_photos_are_named():
    grey = Finding("monochrome", "warn", 0.5, 6.0, "Grey.")
    poses = [(0.0, "neutral")] * 3 + [(-30.0, "smiling")] * 2 + [(30.0, "laughing")] * 2
    some = [*faces(*poses[:5]), *faces(*poses[5:], findings=(grey,))]
    assert "2 of 7 photos are black-and-white" in coverage(some).advice[0]
    assert coverage([*faces(*poses[:6]), *faces(poses[6], findings=(grey,))]).advice == ()
