from collections import Counter
from dataclasses import replace

import pytest

from portrait_lora.dataset.coverage import yaw_bin
from portrait_lora.dataset.holdout import choose_holdout, holdout_count

from .made_up import report


def reports(folder, count, **face):
    return [report(folder, i, yaw=(i % 5 - 2) * 30.0, **face) for i in range(count)]


@pytest.mark.parametrize(
    ("accepted", "held"), [(5, 2), (9, 2), (10, 3), (14, 3), (15, 4), (20, 4), (21, 5), (40, 5)]
)
def test_how_many_are_held_out(accepted, held):
    assert holdout_count(accepted) == held


def test_the_holdout_is_spread_and_leaves_every_view_to_training(tmp_path):
    yaws = [0.0] * 6 + [-30.0] * 4 + [30.0] * 4 + [70.0]
    words = ["neutral", "smiling", "laughing"] * 5
    photos = [report(tmp_path, i, yaw=y, expression=words[i]) for i, y in enumerate(yaws)]
    held = choose_holdout(photos, 4)
    views = Counter(yaw_bin(photos[i].face) for i in held)
    assert views == {"frontal": 2, "left three-quarter": 1, "right three-quarter": 1}
    assert len({photos[i].face.expression for i in held}) >= 2
    left = {yaw_bin(r.face) for i, r in enumerate(photos) if i not in held}
    assert "right profile" in left


def test_the_holdout_depends_on_neither_order_nor_names(tmp_path):
    photos = reports(tmp_path, 12)
    first = {photos[i].photo.sha256 for i in choose_holdout(photos, 3)}
    renamed = [
        replace(r, photo=replace(r.photo, path=tmp_path / f"z{99 - i}.png")) for i, r in enumerate(photos)
    ][::-1]
    assert {renamed[i].photo.sha256 for i in choose_holdout(renamed, 3)} == first


def test_faces_without_pose_can_be_held_out_too(tmp_path):
    photos = [report(tmp_path, i, pose_deg=None, expression=None) for i in range(6)]
    assert len(choose_holdout(photos, 2)) == 2


def sides(held, groups):
    """For every group, how many of it are held out and how many are not."""
    return [(sum(i in held for i in group), sum(i not in held for i in group)) for group in groups]


@pytest.mark.parametrize(
    "groups",
    [
        [[0, 1]],
        [[0, 5, 10]],
        [[0, 1], [2, 3], [4, 5], [6, 7]],
        [list(range(8))],
        [list(range(11))],
        [[0, 1, 2, 3], [4, 5, 6, 7, 8, 9, 10, 11]],
    ],
)
def test_photos_that_belong_together_are_never_on_both_sides(tmp_path, groups):
    held = choose_holdout(reports(tmp_path, 12), 3, groups)
    assert held
    assert all(0 in side for side in sides(held, groups))


def test_single_photos_are_held_out_before_groups(tmp_path):
    assert not set(choose_holdout(reports(tmp_path, 12), 3, [[0, 1], [2, 3, 4]])) & {0, 1, 2, 3, 4}
    held = choose_holdout(reports(tmp_path, 12), 3, [list(range(9)), [9, 10]])
    assert held == [9, 10, 11]


def test_only_a_small_group_may_exceed_the_number(tmp_path):
    photos = reports(tmp_path, 10)
    assert len(choose_holdout(photos, 3, [list(range(5)), list(range(5, 10))])) == 5
    assert choose_holdout(photos, 3, [list(range(10))]) == []
