from pathlib import Path

import pytest

from portrait_lora.dataset.coverage import (
    YAW_BINS,
    Surroundings,
    backdrop_pixels,
    clothes_pixels,
    coverage,
    surroundings_of,
    yaw_bin,
)
from portrait_lora.records import Finding, Photo, PhotoReport

from .made_up import draw, made_up_face


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
    found = coverage([*faces((0.0, "smiling"), (0.0, "smiling"), (-30.0, "neutral")), *rejected])
    table = dict(zip(found.yaw_bins, found.counts, strict=True))
    assert found.yaw_bins == YAW_BINS
    assert table["frontal"][found.expression_bins.index("smiling")] == 2
    assert sum(sum(row) for row in found.counts) == 3


def test_advice_names_the_side_and_the_expression_that_are_short():
    found = coverage(faces(*[(0.0, "neutral")] * 4, *[(-30.0, "neutral")] * 2))
    assert found.missing == ("right three-quarter", "smiling")
    assert found.advice == ("Add two photos turned a little to your left, one of them smiling.",)


def test_a_well_spread_set_needs_nothing():
    poses = [(0.0, "neutral")] * 3 + [(-30.0, "smiling")] * 2 + [(30.0, "laughing")] * 2
    assert coverage(faces(*poses)).advice == ()


def test_without_pose_the_grid_has_an_unknown_row():
    report = PhotoReport(Photo(Path("x"), "x", (240, 300)), made_up_face(pose_deg=None, expression=None))
    found = coverage([report])
    assert found.yaw_bins[-1] == found.expression_bins[-1] == "unknown"
    assert found.counts[-1][-1] == 1
    assert "does not measure the pose" in found.advice[0]


def test_one_outfit_or_backdrop_everywhere_is_said():
    same, other = (20.0, 3.0, -15.0), (70.0, 40.0, 30.0)
    grey = [(float(10 * i), 0.0, 0.0) for i in range(6)]
    alike = [Surroundings(same, g) for g in grey]
    assert any("same outfit" in a for a in coverage([], alike).advice)
    assert not any("same backdrop" in a for a in coverage([], alike).advice)
    mixed = [Surroundings(same if i % 2 else other, None) for i in range(6)]
    assert not any("same" in a for a in coverage([], mixed).advice)


def test_where_clothes_and_backdrop_are_looked_for():
    image = draw(0, (480, 600), clothes=(20, 30, 200), backdrop=(30, 160, 40))
    face = made_up_face((480, 600))
    small = made_up_face((480, 600), box_xyxy_px=(190.0, 132.0, 290.0, 262.0))
    assert clothes_pixels(image, face).mean(axis=0).argmax() == 2
    assert backdrop_pixels(image, small).mean(axis=0).argmax() == 1
    around = surroundings_of(image, small)
    assert around.backdrop_lab is not None
    low = made_up_face((480, 600), box_xyxy_px=(140.0, 340.0, 340.0, 598.0))
    assert clothes_pixels(image, low).shape == (0, 3)
