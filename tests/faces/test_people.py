"""Who falls out of a folder of people, and why; a few wrong pictures do not decide."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from portrait_lora.errors import InputError
from portrait_lora.faces.people import MAX_PICTURES, look_at_people, surroundings, without_mistakes
from tests.faces.made_up_people import NO_FACE, TWO_FACES, MadeUp, open_made_up, write_people


def crowd(count: int, pictures: int = 4) -> dict[str, list[tuple[int, int]]]:
    return {f"p{i:02}": [(i, k) for k in range(pictures)] for i in range(count)}


def reasons(folder: Path) -> dict[str, str]:
    people = without_mistakes(look_at_people(folder, open_made_up))
    return {f"{one.person}/{one.file}": one.reason for one in people.left_out}


def test_every_picture_that_is_not_used_has_its_reason(tmp_path: Path) -> None:
    own = crowd(6) | {"x": [(90, 0), (90, 1), (NO_FACE, 0), (TWO_FACES, 0)], "y": [(91, 0), (NO_FACE, 0)]}
    folder = write_people(tmp_path / "people", own)
    (folder / "x" / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    shutil.copy(folder / "x" / "0.png", folder / "x" / "again.png")
    got = reasons(folder)
    assert got["x/2.png"] == "no face found" and got["x/3.png"] == "2 faces, 1 needed"
    assert got["x/broken.jpg"].startswith("cannot be read")
    assert got["x/again.png"] == "the same file as 0.png"
    assert got["y/"] == "1 usable pictures, 2 needed"
    assert not any(name.startswith("p") for name in got)


def test_no_person_brings_more_pictures_than_that(tmp_path: Path) -> None:
    folder = write_people(tmp_path / "people", crowd(3, MAX_PICTURES + 2))
    assert len(look_at_people(folder, open_made_up).seen) == 3 * MAX_PICTURES


def test_a_picture_of_somebody_else_is_found_and_the_others_stay(tmp_path: Path) -> None:
    own = crowd(12)
    own["p03"][2] = (5, 99)
    own["p07"] = [(7, 0), (8, 77)]
    got = reasons(write_people(tmp_path / "people", own))
    assert got == {
        "p03/2.png": "shows another person than the rest of the folder",
        "p07/": "the two pictures left show different people",
    }


def test_a_person_who_is_there_twice_counts_once(tmp_path: Path) -> None:
    own = crowd(12) | {"z": [(4, k) for k in range(50, 54)]}
    assert reasons(write_people(tmp_path / "people", own)) == {"z/": "the same person as p04"}


def test_an_embedder_that_finds_everybody_alike_finds_no_twins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def alike(self: MadeUp, image_rgb: np.ndarray, keypoints_px: np.ndarray) -> np.ndarray:
        noise = np.random.default_rng([*image_rgb[0, 0, :2], 7]).normal(size=16)
        return ((1 + 0.2 * noise) / np.linalg.norm(1 + 0.2 * noise)).astype(np.float32)

    monkeypatch.setattr(MadeUp, "embed", alike)
    got = reasons(write_people(tmp_path / "people", crowd(12)))
    assert not any("same person" in reason for reason in got.values())


def test_without_subfolders_there_are_no_people(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no people"):
        look_at_people(tmp_path, open_made_up)


def test_people_can_be_taken_from_all_over_the_folder(tmp_path: Path) -> None:
    folder = write_people(tmp_path / "people", crowd(9))
    names = {s.person for s in look_at_people(folder, open_made_up, most_people=3).seen}
    assert names == {"p00", "p03", "p06"}


def test_the_kept_surroundings_hold_the_keypoints_where_they_were() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (900, 1200, 3), dtype=np.uint8)
    points = np.array([[500, 400], [620, 400], [560, 470], [510, 540], [610, 540]], np.float32)
    crop, moved = surroundings(picture, (450, 330, 670, 600), points)
    assert max(crop.shape[:2]) == 400
    scale = 400 / 864  # 1.6 × the longer side of the box to both sides
    assert moved[1] - moved[0] == pytest.approx((points[1] - points[0]) * scale, abs=0.2)
    small, same = surroundings(picture, (0, 0, 40, 40), points)
    assert (small == picture[: small.shape[0], : small.shape[1]]).all() and (same == points).all()
