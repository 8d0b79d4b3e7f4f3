"""The figures of photographs, from labels and reports that are written out here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from portrait_lora.records import Face, Finding, Photo, PhotoReport, readonly
from scripts.evaluate import photographs
from scripts.evaluate.photographs import Judged, judged


def _report(*findings: tuple[str, str], yaw_deg: float | None = None) -> PhotoReport:
    pose = None if yaw_deg is None else (0.0, yaw_deg, 0.0)
    face = Face(
        (0, 0, 9, 9), 1.0, readonly(np.zeros((5, 2))), readonly(np.ones(1)), "e", 9.0, 99.0, pose_deg=pose
    )
    remarks = tuple(Finding(code, severity, None, None, "") for code, severity in findings)  # pyright: ignore[reportArgumentType]
    return PhotoReport(Photo(Path("x.jpg"), "", (9, 9)), face, remarks)


def _photo(label: dict[str, str], *findings: tuple[str, str], yaw_deg: float | None = None) -> Judged:
    return judged({"file": "ann/1.jpg"} | label, _report(*findings, yaw_deg=yaw_deg))


def _value(photos: list[Judged], name: str) -> float:
    return next(row.value for row in photographs.all_rows(photos) if row.name == name)


def test_only_usable_photos_of_the_subject_can_be_rejected_wrongly() -> None:
    blurred, small = ("blurred", "reject"), ("face_too_small", "reject")
    photos = [
        _photo({"usable": "yes"}, blurred),
        _photo({"usable": "yes"}, small),
        _photo({"usable": "yes"}, ("blurred", "warn")),
        _photo({"usable": "yes", "subject": "no"}, blurred),
        _photo({"usable": "no", "codes": "blurred"}, blurred),
    ]
    assert _value(photos, "usable photos rejected") == pytest.approx(1 / 3)
    assert _value(photos, "  as blurred") == pytest.approx(1 / 3)
    assert _value(photos, "  blurred found") == 1.0
    assert _value(photos, "the same of the worst person") == 1.0


def test_the_worst_person_counts_by_twenty_photos() -> None:
    many = [
        _photo({"usable": "yes", "file": f"bob/{i}.jpg"}, *([("blurred", "reject")] * (i < 4)))
        for i in range(40)
    ]
    few = [_photo({"usable": "yes"}, ("blurred", "reject"))]
    assert _value(many + few, "the same of the worst person") == 2.0


def test_lenses_count_what_is_found_and_what_is_right() -> None:
    dark, unsure = ("sunglasses", "reject"), ("sunglasses", "not_checked")
    photos = [
        _photo({"lenses": "sunglasses", "skin": "light"}, dark),
        _photo({"lenses": "sunglasses", "skin": "dark"}, unsure),
        _photo({"lenses": "glasses", "skin": "light"}),
        _photo({"lenses": "none", "skin": "light", "cap": "cap"}, dark),
        _photo({"lenses": "unclear"}, dark),
    ]
    assert _value(photos, "sunglasses found") == 0.5
    assert _value(photos, "sunglasses found, dark skin") == 0.0
    assert _value(photos, "sunglasses verdicts that are right") == 0.5
    assert _value(photos, "sunglasses verdicts that are right, caps and hats") == 0.0
    assert _value(photos, "right of those it dares to judge") == pytest.approx(2 / 3)
    assert _value(photos, "photos it does not dare to judge") == 0.25


@pytest.mark.parametrize(
    ("view", "yaw_deg", "agrees"),
    [
        ("frontal", 25.0, True),
        ("frontal", -35.0, False),
        ("left", -15.0, True),
        ("left", 15.0, False),
        ("right", 40.0, True),
        ("right-profile", 15.0, False),
        ("left-profile", -50.0, True),
    ],
)
def test_a_view_agrees_with_a_yaw(view: str, yaw_deg: float, agrees: bool) -> None:
    assert photographs.view_agrees(view, yaw_deg) is agrees
    photo = _photo({"view": view}, yaw_deg=yaw_deg)
    assert _value([photo], "left, front or right as by eye") == float(agrees)


def test_spectators_are_no_company_and_grey_is_named() -> None:
    several = ("several_faces", "reject")
    photos = [
        _photo({"faces": "company", "grey": "no"}, several),
        _photo({"faces": "spectators", "grey": "yes"}, several, ("monochrome", "warn")),
        _photo({"faces": "alone", "grey": "yes"}),
    ]
    assert _value(photos, "company named") == 1.0
    assert _value(photos, "alone or before spectators, called several") == 0.5
    assert _value(photos, "black and white or colour as by eye") == pytest.approx(2 / 3)


def test_a_label_with_an_unknown_word_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("file,view,codes\na/1.jpg,left,\na/2.jpg,lft,\n")
    with pytest.raises(ValueError, match=r"labels.csv:3: view is 'lft'"):
        photographs.read_labels([file])
    file.write_text("file,codes\na/1.jpg,blurry\n")
    with pytest.raises(ValueError, match="no such code: blurry"):
        photographs.read_labels([file])
    file.write_text("name\na\n")
    with pytest.raises(ValueError, match="no column `file`"):
        photographs.read_labels([file])


def test_without_labels_there_are_no_figures() -> None:
    assert photographs.all_rows([_photo({})]) == []
