"""What pack.json states is what the network gets; a pack that states nothing stays as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from insightface.utils import face_align
from onnx import TensorProto, helper
from skimage import data

from portrait_lora import synthetic
from portrait_lora.errors import ArtifactError
from portrait_lora.faces import pack_file, packs
from portrait_lora.faces.analyzer import FaceAnalyzer
from portrait_lora.faces.backends import open_untested
from portrait_lora.faces.embedder import Embedder, similarity_transform
from portrait_lora.faces.pack import Role
from portrait_lora.faces.packs import resolve_pack
from portrait_lora.faces.preprocessing import ARCFACE, Preprocessing, scaled
from tests.faces.test_packs import edit
from tests.faces.tiny_pack import copy_pack

EYES = np.array([[200, 110], [250, 112], [226, 140], [205, 165], [246, 166]], np.float32)

PLAIN = {"side_px": 112, "colour": "RGB", "mean": 0, "std": 1}


def write_mean_colour(path: Path, side: int | str = 112) -> Path:
    """(N, 3, side, side) to the mean of every channel: the input can be read off the embedding."""
    node = helper.make_node("ReduceMean", ["data", "axes"], ["out"], keepdims=0)
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3])
    inputs = [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["n", 3, side, side])]
    outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 3])]
    graph = helper.make_graph([node], "mean", inputs, outputs, [axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return path


def expected(values: list[float]) -> np.ndarray:
    return np.array(values) / np.linalg.norm(values)


def test_side_colour_mean_and_std_reach_the_network(tmp_path: Path) -> None:
    aligned = np.zeros((112, 112, 3), np.uint8) + np.array([200, 100, 50], np.uint8)
    path = write_mean_colour(tmp_path / "m.onnx")
    rgb = Embedder(path, Preprocessing.arcface(mean=0, std=10))
    assert rgb.embed_aligned(aligned) == pytest.approx(expected([20, 10, 5]))
    bgr = Embedder(path, Preprocessing(112, "BGR", (50, 20, 10), (1, 2, 4), ARCFACE, named=True))
    assert bgr.embed_aligned(aligned) == pytest.approx(expected([0, 40, 47.5]), abs=1e-6)


def test_the_similarity_transform_is_insightfaces() -> None:
    ours = similarity_transform(EYES, np.asarray(ARCFACE))
    assert ours == pytest.approx(face_align.estimate_norm(EYES), abs=1e-3)


@pytest.mark.parametrize("side", [96, 150])
def test_another_side_and_template_show_the_same_face(tmp_path: Path, side: int) -> None:
    picture = data.astronaut()
    small = Embedder(write_mean_colour(tmp_path / "a.onnx"), Preprocessing.arcface(mean=0, std=1))
    other = Embedder(write_mean_colour(tmp_path / "b.onnx", side), Preprocessing.arcface(side, mean=0, std=1))
    assert float(small.embed(picture, EYES) @ other.embed(picture, EYES)) > 0.99999
    shifted = tuple((x, y - side / 4) for x, y in scaled(side))
    moved = Embedder(tmp_path / "b.onnx", Preprocessing(side, "RGB", (0, 0, 0), (1, 1, 1), shifted))
    assert float(moved.embed(picture, EYES) @ other.embed(picture, EYES)) < 0.9999


@pytest.mark.parametrize("side", [112, "s"])
def test_a_graph_that_takes_another_side_is_refused(tmp_path: Path, side: int | str) -> None:
    path = write_mean_colour(tmp_path / "m.onnx", side)
    if side == 112:
        with pytest.raises(ArtifactError, match="does not take the stated input"):
            Embedder(path, Preprocessing.arcface(150))
    else:
        assert Embedder(path, Preprocessing.arcface(150)).free_side


def studio() -> np.ndarray:
    people, scenes = synthetic.sample_people([71]), synthetic.sample_scenes([7101], max_yaw_deg=10.0)
    image = synthetic.render(people, scenes, size_px=192).image_BCHW
    return image.permute(0, 2, 3, 1).contiguous().numpy()[0]


@pytest.mark.parametrize("role", ["select", "report"])
def test_the_embedded_pack_gives_the_same_when_its_preprocessing_is_stated(
    tmp_path: Path, role: Role
) -> None:
    picture = studio()
    before = FaceAnalyzer(resolve_pack(), role)
    recogniser: Any = before._recogniser
    stated = Preprocessing.arcface(mean=recogniser.input_mean, std=recogniser.input_std)
    folder = copy_pack(packs.embedded_folder(), tmp_path / "pack")
    edit(folder, {"preprocessing": {before.embedder_id: stated.to_json()}})
    after = open_untested(resolve_pack(str(folder)), role)
    (old,), (new,) = before.find(picture), after.find(picture)
    assert new.embedding == pytest.approx(old.embedding, abs=1e-5)
    assert after.embed(picture, old.keypoints_px) == pytest.approx(old.embedding, abs=1e-5)
    edit(folder, {"preprocessing": {before.embedder_id: stated.to_json() | {"mean": 0.0, "std": 500.0}}})
    (other,) = open_untested(resolve_pack(str(folder)), role).find(picture)
    assert float(other.embedding @ old.embedding) < 0.99, "the statement is obeyed"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"treshold": 1}, "unknown key: got treshold"),
        ({"preprocessing": {"synthetic-a": PLAIN | {"x": 1}}},
         r"unknown key: got preprocessing\.synthetic-a\.x"),
        ({"preprocessing": {"synthetic-a": PLAIN | {"colour": "GRB"}}}, "colour"),
        ({"preprocessing": {"synthetic-a": PLAIN | {"std": 0}}}, "std"),
        ({"preprocessing": {"nobody": PLAIN}}, "nobody"),
        ({"preprocessing": {"synthetic-a": PLAIN}, "kinds": {"synthetic-a": "sface"}}, "FaceRecognizerSF"),
        ({"backend": "torch"}, "backend"),
    ],
)  # fmt: skip
def test_unknown_keys_and_wrong_statements_are_errors(
    tiny_pack: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    other = copy_pack(tiny_pack, tmp_path / "p")
    edit(other, change)
    with pytest.raises(ArtifactError, match=words):
        resolve_pack(str(other))


def test_the_guide_explains_every_key_of_pack_json() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guide.md").read_text(encoding="utf-8")
    keys = set(pack_file.schema()["properties"]) | set(pack_file.Models.model_fields)
    keys |= set(pack_file.Stated.model_fields) | set(pack_file.DerivedFrom.model_fields)
    assert [key for key in sorted(keys) if f"`{key}`" not in guide] == []


def test_the_schema_describes_the_embedded_pack() -> None:
    raw = json.loads((packs.embedded_folder() / packs.PACK_FILE).read_text(encoding="utf-8"))
    assert pack_file.problem(raw) is None
    assert pack_file.schema()["additionalProperties"] is False
    assert set(raw) <= set(pack_file.schema()["properties"])
