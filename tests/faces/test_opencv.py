"""OpenCV's detector and embedders behind the same door as insightface's."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_lora import manifest
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.faces import FaceAnalyzer, opencv, quality, resolve_pack
from portrait_lora.faces.backends import open_analyzer
from portrait_lora.faces.opencv import OpenCvAnalyzer
from portrait_lora.faces.pack import FacePack
from portrait_lora.faces.packs import embedded_folder
from portrait_lora.faces.pose import pose_of_points
from portrait_lora.tasks.calibrate import calibrate
from tests.faces.tiny_opencv import write_embedder, write_yunet


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> FacePack:
    folder = tmp_path_factory.mktemp("cv")
    write_yunet(folder / "det.onnx")
    write_embedder(folder / "w_select.onnx", 1)
    write_embedder(folder / "x_report.onnx", 2)
    files = {p.name: manifest.sha256_file(p) for p in folder.glob("*.onnx")}
    described = {
        "format": 1,
        "name": "tiny",
        "synthetic": False,
        "licence": "MIT",
        "commercial": "yes",
        "backend": "opencv",
        "models": {"detector": "det.onnx", "embedder_select": "w_select.onnx"}
        | {"embedder_report": "x_report.onnx"},
        "embedder_ids": {"select": "tiny-sface", "report": "tiny-arcface"},
        "kinds": {"tiny-sface": "sface", "tiny-arcface": "arcface"},
        "files": files,
        "det_size_px": 64,
        "det_thresh": 0.5,
        "false_match_rate": 0.001,
        "thresholds": {"tiny-sface": 0.4, "tiny-arcface": 0.5},
        "calibrated": False,
    }
    (folder / "pack.json").write_text(json.dumps(described))
    return resolve_pack(str(folder))


def image(height: int = 64, width: int = 64) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 255, (height, width, 3), dtype=np.uint8)


def test_a_face_has_box_points_and_embedding_and_nothing_it_cannot_know(pack: FacePack) -> None:
    (face,) = OpenCvAnalyzer(pack).find(image())
    assert face.box_xyxy_px == pytest.approx((0, 0, 32, 32))
    assert face.keypoints_px[0] == pytest.approx((9.6, 9.6))
    assert face.keypoints_px[4] == pytest.approx((20.8, 22.4))
    assert face.score == pytest.approx(0.9)
    assert np.linalg.norm(face.embedding) == pytest.approx(1, abs=1e-5)
    assert (face.expression, face.landmarks_px) == (None, None)
    assert face.pose_deg == pose_of_points(face.keypoints_px) and face.pose_from_points
    assert not pack.abilities["pose"] and not pack.abilities["calibrated threshold"]


def test_keypoints_are_refined_before_they_are_used(pack: FacePack, monkeypatch: pytest.MonkeyPatch) -> None:
    better = np.array([(10, 12), (24, 12), (17, 20), (11, 27), (23, 27)], np.float32)
    monkeypatch.setattr(opencv, "refined", lambda image, points, detect, largest_px: better)
    analyzer = OpenCvAnalyzer(pack)
    (face,) = analyzer.find(image())
    assert (face.keypoints_px == better).all()
    assert face.embedding == pytest.approx(analyzer.embed(image(), better))


def test_a_larger_picture_is_shrunk_and_the_face_put_back(pack: FacePack) -> None:
    (face,) = OpenCvAnalyzer(pack).find(image(256, 256))
    assert face.box_xyxy_px == pytest.approx((0, 0, 128, 128))
    assert face.keypoints_px[0] == pytest.approx((38.4, 38.4))


def test_two_embedders_see_the_same_crop_and_disagree(pack: FacePack) -> None:
    picture = image()
    a, b = (OpenCvAnalyzer(pack, role).find(picture)[0] for role in ("select", "report"))
    assert (a.embedder_id, b.embedder_id) == ("tiny-sface", "tiny-arcface")
    assert abs(float(a.embedding @ b.embedding)) < 0.9
    for role, face in (("select", a), ("report", b)):
        again = OpenCvAnalyzer(pack, role).embed(picture, face.keypoints_px)
        assert float(again @ face.embedding) == pytest.approx(1, abs=1e-4)
    assert a.sharpness == pytest.approx(quality.sharpness(quality.aligned_crop(picture, a.keypoints_px)))


def test_the_door_opens_the_right_backend(pack: FacePack, tiny_pack: Path) -> None:
    assert isinstance(open_analyzer(pack), OpenCvAnalyzer)
    assert isinstance(open_analyzer(resolve_pack(str(tiny_pack)), "report"), FaceAnalyzer)


def test_wrong_arguments_and_wrong_graphs_are_errors(pack: FacePack, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="embedder"):
        OpenCvAnalyzer(pack, "best")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="RGB"):
        OpenCvAnalyzer(pack).find(np.zeros((8, 8), np.uint8))
    assert OpenCvAnalyzer(pack).find(np.zeros((4, 4, 3), np.uint8)) == []
    with pytest.raises(ArtifactError):
        OpenCvAnalyzer(replace(pack, embedder_report=pack.detector), "report")
    (tmp_path / "det.onnx").write_bytes(b"no graph")
    with pytest.raises(ArtifactError, match="cannot load"):
        OpenCvAnalyzer(replace(pack, folder=tmp_path))


def test_a_threshold_is_calibrated_with_an_opencv_pack(pack: FacePack, tmp_path: Path) -> None:
    for person in range(3):
        (tmp_path / "people" / str(person)).mkdir(parents=True)
        for i in range(2 + person):
            seed = np.random.default_rng(10 * person + i)
            picture = Image.fromarray(seed.integers(0, 255, (64, 64, 3), dtype=np.uint8))
            picture.save(tmp_path / "people" / str(person) / f"{i}.png")
    result = calibrate(
        str(pack.folder), tmp_path / "people", tmp_path / "t.json", references=1, false_match_rate=0.3
    )
    assert result.threshold.embedder_id == "tiny-arcface"
    assert (result.threshold.people, result.threshold.impostor_scores) == (3, 12), "everybody's own number"


@pytest.mark.parametrize(
    ("backend", "scrfd", "remedy"),
    [("insightface", False, '"backend": "opencv"'), ("opencv", True, '"backend": "insightface"')],
)
def test_a_detector_for_the_other_backend_is_refused_with_the_way_out(
    pack: FacePack, tmp_path: Path, backend: str, scrfd: bool, remedy: str
) -> None:
    shutil.copytree(pack.folder, tmp_path / "pack")
    raw = json.loads((tmp_path / "pack" / "pack.json").read_text())
    if scrfd:
        shutil.copyfile(embedded_folder() / "det_synthetic.onnx", tmp_path / "pack" / "det.onnx")
        raw["files"]["det.onnx"] = manifest.sha256_file(tmp_path / "pack" / "det.onnx")
    raw |= {"backend": backend, "kinds": {"tiny-sface": "arcface", "tiny-arcface": "arcface"}}
    (tmp_path / "pack" / "pack.json").write_text(json.dumps(raw))
    with pytest.raises(ArtifactError, match="cannot read the outputs of the detector") as caught:
        open_analyzer(resolve_pack(str(tmp_path / "pack")), "report")
    assert remedy in str(caught.value) and "det.onnx" in str(caught.value)
