"""Who may be a minor is trained on with a guardian or a date of birth; an age is read with doubt."""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.faces import age
from portrait_lora.faces.age import ERROR_YEARS, Age
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.records import Face, Photo, PhotoReport, RGBImage
from portrait_lora.results import CheckResult, PhotoCounts, PhotoFinding, PhotoVerdict
from portrait_lora.rights import consent
from portrait_lora.stages import minors
from tests.tasks.made_up import make_likeness

TODAY = dt.date(2026, 11, 30)


@dataclass
class Reader:
    """A stand-in that reads one age off every face, and keeps the boxes."""

    years: float | None
    boxes: list[tuple[float, ...]]

    def read(self, image_rgb: RGBImage, box_xyxy_px: tuple[float, float, float, float]) -> Age | None:
        self.boxes.append(box_xyxy_px)
        return None if self.years is None else Age(self.years, self.years - 8, self.years + 8)


def report(path: Path) -> PhotoReport:
    keypoints = np.zeros((5, 2), np.float32)
    face = Face((10.0, 12.0, 30.0, 40.0), 0.9, keypoints, np.ones(4, np.float32) / 2, "a", 1.0, 100.0)
    return PhotoReport(Photo(path, "0" * 64, (48, 48)), face)


@pytest.mark.parametrize(("years", "young"), [(9.0, True), (24.9, True), (25.0, False), (None, False)])
def test_a_photograph_of_a_young_face_has_the_finding(
    tmp_path: Path, years: float | None, young: bool
) -> None:
    photo = make_likeness(tmp_path / "me") / "photos" / "anna_0.png"
    reader = Reader(years, [])
    (seen,) = minors.with_ages([report(photo)], reader)
    assert [f.code for f in seen.findings] == ([minors.CODE] if young else [])
    assert seen.accepted and reader.boxes == [(10.0, 12.0, 30.0, 40.0)]
    if young and years is not None:
        (finding,) = seen.findings
        assert (finding.measured, finding.threshold) == (years, 25.0)
        assert (
            f"{years:.0f} years old, which is uncertain ({years - 8:.0f} to {years + 8:.0f})"
            in finding.advice
        )


def test_made_up_people_have_no_age_and_a_pack_without_a_network_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made_up = report(make_likeness(tmp_path / "studio", studio=True) / "photos" / "anna_0.png")
    reader = Reader(9.0, [])
    assert minors.with_ages([made_up], reader) == [made_up] and not reader.boxes
    assert age.reader_of(resolve_pack("embedded")) is None
    logger = logging.getLogger("portrait_lora")
    logger.addHandler(caplog.handler)
    try:
        assert minors.with_ages([made_up], None) == [made_up] and not caplog.records
        photo = report(make_likeness(tmp_path / "me") / "photos" / "anna_0.png")
        assert minors.with_ages([photo], None) == [photo]
    finally:
        logger.removeHandler(caplog.handler)
    assert "not checked" in caplog.text


def context(root: Path, young: int, photos: int = 4) -> Any:
    """A likeness whose last check saw so many young faces, and one in a photo that is not used."""
    remark = PhotoFinding(code=minors.CODE, severity="warn", measured=15.0, threshold=25.0, advice="")
    rows = tuple(
        PhotoVerdict(file=f"{i}.png", accepted=i >= 0, findings=(remark,) if i < young else ())
        for i in range(-1, photos)
    )
    result = CheckResult(
        photos=PhotoCounts(given=photos, accepted=photos, rejected=(), held_out=0),
        held_out=(), findings=rows, missing=(), advice=(), enough=True, report="",
    )  # fmt: skip
    journal = SimpleNamespace(result=lambda kind: result)
    return SimpleNamespace(likeness=SimpleNamespace(root=root), journal=journal)


def test_most_photos_young_asks_for_a_guardian_or_a_date_of_birth(tmp_path: Path) -> None:
    root = make_likeness(tmp_path / "me")
    agreed = consent.of_subject("Anna", dt.date.today())
    consent.write(root, agreed)
    minors.require_adult_or_guardian(context(root, young=2))
    with pytest.raises(InputError, match="may be a minor") as refused:
        minors.require_adult_or_guardian(context(root, young=3))
    assert "3 of 4 photos" in str(refused.value.got) and "--consent FILE" in refused.value.remedy
    consent.write(root, replace(agreed, guardian="Eve"))
    minors.require_adult_or_guardian(context(root, young=4))
    consent.write(root, replace(agreed, born="1990-05-01"))
    minors.require_adult_or_guardian(context(root, young=4))
    (root / consent.NAME).unlink()
    minors.require_adult_or_guardian(context(root, young=4))  # `consent.require` has refused it already


@pytest.mark.parametrize(
    ("born", "adult"), [("2008-11-30", True), ("2008-12-01", False), ("2015-01-01", False), ("", False)]
)
def test_eighteen_on_the_day(tmp_path: Path, born: str, adult: bool) -> None:
    root = make_likeness(tmp_path / "me")
    values = {"who": "Ann", "purposes": ["training"], "until": "2999-01-01", "statement": "I agree."}
    consent.write(root, consent.of_values(values | ({"born": born} if born else {}), TODAY))
    if adult:
        consent.require_age(root, "4 of 4 photos", today=TODAY)
        return
    with pytest.raises(InputError, match="may be a minor"):
        consent.require_age(root, "4 of 4 photos", today=TODAY)
    with pytest.raises(InputError, match="not a date"):
        consent.of_values(values | {"born": "yesterday"}, TODAY)


def network(path: Path, outputs: int, years: float) -> None:
    """An ONNX network in the layout of insightface's, which answers always the same."""
    values = [0.1, 0.2, years / 100][:outputs] + [0.0] * max(0, outputs - 3)
    answer = helper.make_tensor("answer", TensorProto.FLOAT, [1, outputs], values)
    nodes = [
        helper.make_node("ReduceMean", ["data"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node(
            "Constant", [], ["zero"], value=helper.make_tensor("z", TensorProto.FLOAT, [1], [0.0])
        ),
        helper.make_node("Mul", ["mean", "zero"], ["none"]),
        helper.make_node("Constant", [], ["fixed"], value=answer),
        helper.make_node("Add", ["fixed", "none"], ["fc1"]),
    ]
    graph = helper.make_graph(
        nodes, "age",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["n", 3, 96, 96])],
        [helper.make_tensor_value_info("fc1", TensorProto.FLOAT, [1, outputs])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    path.parent.mkdir(parents=True)
    onnx.save(model, str(path))


def test_the_network_of_a_pack_is_run_as_insightface_does(tmp_path: Path) -> None:
    image, box = np.full((64, 64, 3), 90, np.uint8), (8.0, 8.0, 40.0, 48.0)

    def pack(outputs: int, years: float = 0.0) -> Any:
        folder = tmp_path / f"{outputs}-{years}"
        network(folder / age.FILE, outputs, years)
        return SimpleNamespace(path=lambda name: folder / name)

    reader = age.reader_of(pack(3, 31.0))
    assert reader and reader.read(image, box) == Age(31.0, 31 - ERROR_YEARS, 31 + ERROR_YEARS)
    child = age.reader_of(pack(3, 4.0))
    assert child and child.read(image, box) == Age(4.0, 0.0, 12.0)
    nonsense = age.reader_of(pack(3, 900.0))
    assert nonsense and nonsense.read(image, box) is None
    with pytest.raises(ArtifactError, match="reads no age"):
        age.reader_of(pack(5))
    broken = pack(4)
    broken.path(age.FILE).write_bytes(b"no network")
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        age.reader_of(broken)
