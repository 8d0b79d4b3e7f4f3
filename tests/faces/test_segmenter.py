"""The embedded segmenter knows what pixels show and how much of a face is hidden."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from portrait_lora import manifest, synthetic
from portrait_lora.errors import ArtifactError
from portrait_lora.faces import FaceAnalyzer, resolve_pack, shape
from portrait_lora.records import NOT_SEEN
from portrait_lora.synthetic.parts import PARTS, part_labels
from scripts.evaluate import covering
from tests.faces.tiny_pack import copy_pack

SEED = 8
SIDE = 192


@pytest.fixture(scope="module")
def analyzer() -> FaceAnalyzer:
    return FaceAnalyzer(resolve_pack())


@pytest.fixture(scope="module")
def labelled() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A picture, its landmarks, and its parts."""
    people, scenes = synthetic.sample_people([SEED]), synthetic.sample_scenes([SEED])
    render = synthetic.render(people, scenes, SIDE, supersample=2)
    image = render.image_BCHW[0].permute(1, 2, 0).contiguous().numpy()
    return image, render.landmarks_px[0].numpy(), part_labels(people, scenes, SIDE)[0].numpy()


def test_parts_agree_with_the_truth(
    analyzer: FaceAnalyzer, labelled: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    image, _, truth = labelled
    parts = analyzer.parts(image, analyzer.find(image)[0])
    assert parts is not None and parts.labels_HW.shape == truth.shape
    seen = parts.labels_HW != NOT_SEEN
    assert seen.mean() > 0.5
    for name in ("backdrop", "skin", "hair"):
        predicted, true = parts.where(name) & seen, (truth == PARTS.index(name)) & seen
        assert (predicted & true).sum() / (predicted | true).sum() > 0.8, name
    assert not parts.where("no such part").any()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.45])
def test_the_covered_share_is_measured(
    analyzer: FaceAnalyzer, labelled: tuple[np.ndarray, np.ndarray, np.ndarray], share: float
) -> None:
    image, landmarks, _ = labelled
    spoilt = covering.covered(image, landmarks, share, seed=1) if share else image
    covered = analyzer.find(spoilt)[0].covered_share
    assert covered == pytest.approx(share, abs=0.15)


def test_a_leaning_head_is_not_a_covered_one(
    analyzer: FaceAnalyzer, labelled: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    image, landmarks, truth = labelled
    for angle in (-40.0, 40.0):
        turn = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), angle, 1.0)
        leaning = cv2.warpAffine(image, turn, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
        face = replace(
            analyzer.find(image)[0],
            keypoints_px=shape.five_points(landmarks @ turn[:, :2].T + turn[:, 2]),
        )
        parts = analyzer.parts(leaning, face)
        assert parts is not None
        skin = cv2.warpAffine((truth == PARTS.index("skin")).astype(np.uint8), turn, (SIDE, SIDE)) > 0
        predicted = parts.where("skin")
        assert (predicted & skin).sum() / (predicted | skin).sum() > 0.75
        assert (parts.where("thing") & skin).sum() / skin.sum() < 0.05


def test_a_segmenter_of_another_shape_is_refused(tiny_pack: Path, tmp_path: Path) -> None:
    pack = resolve_pack(str(tiny_pack))
    assert pack.segmenter is not None and pack.abilities["hair and backdrop"]
    fewer = replace(pack, segmenter=replace(pack.segmenter, parts=pack.segmenter.parts[1:]))
    with pytest.raises(ArtifactError, match="another output shape"):
        FaceAnalyzer(fewer)
    folder = copy_pack(tiny_pack, tmp_path / "broken")
    (folder / pack.segmenter.file).write_bytes(b"no onnx")
    raw = json.loads((folder / "pack.json").read_text())
    raw["files"][pack.segmenter.file] = manifest.sha256_file(folder / pack.segmenter.file)
    (folder / "pack.json").write_text(json.dumps(raw))
    with pytest.raises(ArtifactError, match="segmenter cannot be loaded"):
        FaceAnalyzer(resolve_pack(str(folder)))
    raw["segmenter"]["parts"] = ["skin"]
    (folder / "pack.json").write_text(json.dumps(raw))
    with pytest.raises(ArtifactError, match="lacks the parts"):
        resolve_pack(str(folder))


def test_what_lies_beyond_the_picture_hides_nothing(
    analyzer: FaceAnalyzer, labelled: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    image, landmarks, _ = labelled
    cut = np.ascontiguousarray(image[:, : int(np.median(landmarks[:, 0])) + 12])
    faces = analyzer.find(cut)
    assert not faces or (faces[0].covered_share or 0) < 0.15


def test_training_labels_are_those_of_the_crop() -> None:
    from scripts.train.face_pack import segmenter
    from scripts.train.face_pack.data import box_crop

    parts = torch.randint(0, len(PARTS), (2, 96, 96), dtype=torch.uint8)
    box = torch.tensor([[28.0, 28.0, 68.0, 68.0]]).expand(2, 4)
    crop, affine = box_crop(parts[:, None].float(), box, None, 96, 96 / 40)
    assert torch.equal(segmenter.warp_labels(parts, affine), parts.long())
    assert crop.shape == (2, 1, 96, 96)
    beyond = segmenter.warp_labels(parts, affine + torch.tensor([0, 0, 90.0]))
    assert (beyond == -1).float().mean() > 0.5


def test_a_face_too_covered_to_be_certain_is_still_found(
    labelled: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    image, landmarks, _ = labelled
    doubting = FaceAnalyzer(replace(resolve_pack(), det_thresh=0.999))
    spoilt = covering.covered(image, landmarks, 0.3, seed=1)
    assert not doubting.find(spoilt)
    face = doubting.covered_face(spoilt)
    assert face is not None and face.covered_share == pytest.approx(0.3, abs=0.15)
    assert not doubting.find(spoilt), "the detector's own limit is back"
    assert doubting.covered_face(image) is None, "nothing hides this one"
    assert doubting.covered_face(np.full_like(image, 120)) is None
