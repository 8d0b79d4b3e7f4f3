"""insightface opens the pack and plays every model in its role."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from portrait_lora import manifest, synthetic, vocabulary
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.faces import FaceAnalyzer, packs, resolve_pack, shape
from portrait_lora.faces.packs import FacePack


@pytest.fixture(scope="module")
def pack(tiny_pack: Path) -> FacePack:
    return resolve_pack(str(tiny_pack))


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (96, 80, 3), dtype=np.uint8)


def test_a_pack_may_say_nothing_of_covered_faces(pack: FacePack, image: np.ndarray, tmp_path: Path) -> None:
    """Packs from before return one number less and have no `covered` in pack.json."""
    import torch

    from scripts.train.face_pack import attributes, export
    from scripts.train.face_pack.nets import Attributes

    assert pack.abilities["covered faces"]
    folder = Path(shutil.copytree(pack.folder, tmp_path / "older"))
    torch.manual_seed(0)
    export.export_net(attributes.NAME, Attributes(attributes.WIDTH - 1), folder / attributes.FILE)
    raw = json.loads((folder / "pack.json").read_text())
    del raw["attributes"]["covered"], raw["segmenter"]
    raw["files"][attributes.FILE] = manifest.sha256_file(folder / attributes.FILE)
    (folder / "pack.json").write_text(json.dumps(raw))
    older = resolve_pack(str(folder))
    assert not older.abilities["covered faces"]
    face = FaceAnalyzer(older).find(image)[0]
    assert face.covered_share is None
    assert face.glasses in vocabulary.GLASSES
    assert older.attributes is not None
    with pytest.raises(ArtifactError, match="another number"):
        FaceAnalyzer(replace(older, attributes=replace(older.attributes, covered=True)))


def test_every_ability_is_there(pack: FacePack, image: np.ndarray) -> None:
    faces = FaceAnalyzer(pack).find(image)
    assert faces
    assert [f.size_px for f in faces] == sorted((f.size_px for f in faces), reverse=True)
    face = faces[0]
    assert face.keypoints_px.shape == (5, 2)
    assert face.landmarks_px is not None
    assert face.landmarks_px.shape == (68, 2)
    assert face.pose_deg is not None
    assert face.expression in vocabulary.EXPRESSIONS
    assert face.glasses in vocabulary.GLASSES
    assert face.beard in vocabulary.BEARDS
    assert face.lighting in vocabulary.LIGHTINGS
    assert face.light_direction is not None
    assert np.linalg.norm(face.light_direction) == pytest.approx(1, abs=1e-5)
    assert face.covered_share is not None
    assert 0 < face.covered_share < 1
    assert np.linalg.norm(face.embedding) == pytest.approx(1, abs=1e-5)
    assert not face.embedding.flags.writeable


def test_a_pack_without_the_attribute_network_leaves_its_fields_empty(
    pack: FacePack, image: np.ndarray
) -> None:
    face = FaceAnalyzer(replace(pack, attributes=None)).find(image)[0]
    assert face.expression in vocabulary.EXPRESSIONS
    assert (face.glasses, face.beard, face.lighting, face.light_direction) == (None, None, None, None)


def test_an_attribute_network_of_another_width_is_an_error(pack: FacePack) -> None:
    assert pack.attributes is not None
    fewer = replace(pack.attributes, groups={"glasses": vocabulary.GLASSES})
    with pytest.raises(ArtifactError, match="another number of outputs"):
        FaceAnalyzer(replace(pack, attributes=fewer))


def test_the_two_embedders_differ_and_agree_on_faces(pack: FacePack, image: np.ndarray) -> None:
    select, report = FaceAnalyzer(pack, "select"), FaceAnalyzer(pack, "report")
    a, b = select.find(image)[0], report.find(image)[0]
    assert a.box_xyxy_px == b.box_xyxy_px
    assert a.embedder_id == "synthetic-a"
    assert b.embedder_id == "synthetic-b"
    assert a.covered_share is not None and select.parts(image, a) is not None
    assert b.covered_share is None and report.parts(image, b) is None and report.covered_face(image) is None
    assert abs(float(a.embedding @ b.embedding)) < 0.9
    assert float(a.embedding @ select.embed(image, a.keypoints_px)) == pytest.approx(1, abs=1e-4)
    assert float(b.embedding @ report.embed(image, b.keypoints_px)) == pytest.approx(1, abs=1e-4)


def test_the_same_picture_gives_the_same_numbers(pack: FacePack, image: np.ndarray) -> None:
    first, second = FaceAnalyzer(pack).find(image)[0], FaceAnalyzer(pack).find(image)[0]
    assert np.array_equal(first.embedding, second.embedding)
    assert first.sharpness == second.sharpness


def test_nothing_is_printed(pack: FacePack, image: np.ndarray, capfd: pytest.CaptureFixture[str]) -> None:
    FaceAnalyzer(pack, "report").find(image)
    assert capfd.readouterr() == ("", "")


def test_the_gallery_has_unit_rows_per_embedder(pack: FacePack) -> None:
    gallery = FaceAnalyzer(pack, "report").impostor_embeddings()
    assert gallery.shape == (3, 2, 128)
    assert np.allclose(np.linalg.norm(gallery, axis=-1), 1, atol=1e-5)


def test_wrong_arguments_are_errors(pack: FacePack) -> None:
    with pytest.raises(InputError, match="embedder"):
        FaceAnalyzer(pack, "best")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="RGB"):
        FaceAnalyzer(pack).find(np.zeros((8, 8), dtype=np.uint8))
    assert FaceAnalyzer(pack).find(np.zeros((4, 4, 3), dtype=np.uint8)) == []


def test_a_model_in_the_wrong_role_is_an_error(pack: FacePack) -> None:
    with pytest.raises(ArtifactError, match="insightface chose a different embedder"):
        FaceAnalyzer(replace(pack, embedder_select=pack.embedder_report, align="detector"))


def test_a_pack_says_where_its_keypoints_come_from(pack: FacePack, image: np.ndarray) -> None:
    on_landmarks = FaceAnalyzer(replace(pack, align="landmarks")).find(image)[0]
    on_detector = FaceAnalyzer(replace(pack, align="detector")).find(image)[0]
    assert on_landmarks.landmarks_px is not None
    assert np.array_equal(on_landmarks.keypoints_px, shape.five_points(on_landmarks.landmarks_px))
    assert on_landmarks.box_xyxy_px == on_detector.box_xyxy_px
    assert np.abs(on_landmarks.keypoints_px - on_detector.keypoints_px).max() > 0.1
    for face in (on_landmarks, on_detector):
        again = FaceAnalyzer(pack).embed(image, face.keypoints_px)
        assert float(face.embedding @ again) == pytest.approx(1, abs=1e-4)
    with pytest.raises(ArtifactError):
        FaceAnalyzer(replace(pack, embedder_report=pack.detector), "report")


def render(seed: int, views: tuple[int, ...], size_px: int = 192) -> list[np.ndarray]:
    people = synthetic.sample_people([seed]).take([0] * len(views))
    scenes = synthetic.sample_scenes([seed * 100 + v for v in views], max_yaw_deg=30.0)
    out = synthetic.render(people, scenes, size_px=size_px).image_BCHW
    return list(out.permute(0, 2, 3, 1).contiguous().numpy())


def test_the_embedded_pack_knows_who_is_who() -> None:
    pack = resolve_pack(packs.EMBEDDED)
    assert sum(pack.path(f).stat().st_size for f in ("det_synthetic.onnx", "landmark_synthetic.onnx")) < 3e6
    for role in ("select", "report"):
        analyzer = FaceAnalyzer(pack, role)
        vectors = []
        for seed in (71, 72, 73, 74):
            detections = [analyzer.find(image) for image in render(seed, (0, 1))]
            assert all(len(faces) == 1 for faces in detections)
            vectors.append([faces[0].embedding for faces in detections])
        table = np.asarray(vectors)
        likeness = np.einsum("id,jd->ij", table[:, 0], table[:, 1])
        own = np.diag(likeness)
        others = likeness[~np.eye(4, dtype=bool)]
        assert own.mean() > others.mean() + 0.3
        assert own.min() > np.median(others)
        assert analyzer.impostor_embeddings().shape == (96, 6, 128)
