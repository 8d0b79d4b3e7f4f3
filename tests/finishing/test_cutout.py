"""The cut-out: alpha and colours against the studio's truth, models from a file, and bad pictures."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from pydantic import ValidationError

from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.finishing import cutout, cutout_models
from portrait_lora.finishing.canvas import Canvas
from portrait_lora.finishing.steps.cutout import Cutout, CutoutSettings, is_cut
from portrait_lora.records import NOT_SEEN, Parts
from tests.finishing import studio

BACKDROPS = ("grey seamless backdrop", "green textured backdrop", "brick wall", "blurred office")


def cut(canvas: Canvas, folder: Path = Path(), **values: object) -> Canvas:
    return Cutout().apply(canvas, CutoutSettings.model_validate(values), studio.tools(folder))


@pytest.mark.parametrize("setting", BACKDROPS)
def test_alpha_is_near_the_truth(setting: str) -> None:
    one = studio.sitter(3, setting)
    alpha = cut(one.canvas).alpha_HW
    assert alpha is not None and alpha.dtype == np.float32
    off = np.abs(alpha - one.alpha)
    assert off.mean() < 0.01
    soft = (one.alpha > 0.02) & (one.alpha < 0.98)
    assert off[soft].mean() < 0.15  # a hard mask: 0.25 or more


@pytest.mark.parametrize(("seed", "above"), [(3, 0), (5, 1)])
def test_nothing_of_the_backdrop_stays_above_a_head_at_the_upper_edge(seed: int, above: int) -> None:
    one = studio.sitter(seed)
    first = int(np.flatnonzero((one.alpha > 0.5).any(1))[0]) - above
    alpha = cut(Canvas.of(np.ascontiguousarray(one.picture[first:]))).alpha_HW
    assert alpha is not None
    assert np.abs(alpha[:2] - one.alpha[first : first + 2]).mean() < 0.01  # widened at the edge: 0.04


def test_without_a_segmenter_head_and_shoulders_are_found_by_colour() -> None:
    one = studio.sitter(3)
    face = studio.tools().face(one.canvas)
    assert np.abs(cutout.person_alpha(one.canvas, face, None, 0.04) - one.alpha).mean() < 0.01
    five_points = replace(face, landmarks_px=None)
    assert np.abs(cutout.person_alpha(one.canvas, five_points, None, 0.04) - one.alpha).mean() < 0.01


def test_a_pack_without_a_segmenter_cuts_nothing_out_unless_a_guess_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, tools = studio.sitter(3), studio.tools()
    monkeypatch.setattr(type(tools), "parts", lambda self, canvas: None)
    with pytest.raises(InputError, match="matting network"):
        Cutout().apply(one.canvas, CutoutSettings(), tools)
    assert is_cut(Cutout().apply(one.canvas, CutoutSettings(rough=True), tools))


def test_a_segmenter_that_sees_part_of_the_picture_only() -> None:
    one = studio.sitter(3)
    tools = studio.tools()
    parts = tools.parts(one.canvas)
    assert parts is not None
    labels = parts.labels_HW.copy()
    labels[150:] = NOT_SEEN
    seen = Parts(parts.names, labels)
    alpha = cutout.person_alpha(one.canvas, tools.face(one.canvas), seen, 0.04)
    assert np.abs(alpha - one.alpha).mean() < 0.01


def test_a_larger_picture_gets_an_edge_of_its_own_size() -> None:
    one = studio.sitter(3)
    size = (960, 1200)
    large = np.asarray(Image.fromarray(one.picture).resize(size, Image.Resampling.BICUBIC))
    truth = np.asarray(Image.fromarray((one.alpha * 255).astype(np.uint8)).resize(size)) / 255
    result = cut(Canvas.of(large))
    assert result.alpha_HW is not None and result.alpha_HW.shape == (1200, 960)
    assert np.abs(result.alpha_HW - truth).mean() < 0.006
    opaque = result.alpha_HW >= 0.999
    assert np.array_equal(result.rgb_HW3[opaque], Canvas.of(large).rgb_HW3[opaque])


def test_the_same_picture_gives_the_same_bytes() -> None:
    first, second = cut(studio.sitter(3).canvas), cut(studio.sitter(3).canvas)
    assert first.alpha_HW is not None and second.alpha_HW is not None
    assert first.alpha_HW.tobytes() == second.alpha_HW.tobytes()
    assert first.rgb_HW3.tobytes() == second.rgb_HW3.tobytes()


def test_twice_is_once_and_a_picture_with_alpha_stays() -> None:
    once = cut(studio.sitter(3).canvas)
    assert cut(once) is once
    full = Canvas(once.rgb_HW3, np.ones(once.rgb_HW3.shape[:2], np.float32))
    again = cut(full)  # opaque everywhere: not cut out yet
    assert again.alpha_HW is not None and float(again.alpha_HW.min()) == 0.0


def test_a_picture_without_a_face_and_with_two() -> None:
    empty = Canvas.of(np.full((240, 192, 3), 120, np.uint8))
    with pytest.raises(InputError, match="no face"):
        cut(empty)
    pair = np.concatenate([studio.sitter(3).picture, studio.sitter(5).picture], 1)
    with pytest.raises(InputError, match="several faces"):
        cut(Canvas.of(pair))


def test_a_face_at_the_edge_is_refused() -> None:
    one = studio.sitter(3)
    face = studio.tools().face(one.canvas)
    x0, y0, x1, y1 = face.box_xyxy_px
    moved = replace(face, box_xyxy_px=(x0 - (x0 + x1) / 2, y0, (x1 - x0) / 2, y1))
    with pytest.raises(InputError, match=r"cut by the edge.*got 50% of it inside"):
        cutout.check_face(one.canvas, moved)


def test_one_colour_everywhere_is_no_cutout() -> None:
    face = studio.tools().face(studio.sitter(3).canvas)
    large = replace(
        face, box_xyxy_px=(0, 0, 192, 240), keypoints_px=face.keypoints_px * 0 + 90, landmarks_px=None
    )
    plain = Canvas.of(np.full((240, 192, 3), 120, np.uint8))
    with pytest.raises(InputError, match="cannot be told from the backdrop"):
        cutout.person_alpha(plain, large, None, 0.04)


def test_premultiplied_is_a_file_of_its_own_that_says_so() -> None:
    result = cut(studio.sitter(3).canvas, premultiplied=True)
    (product,) = result.products
    assert product.name == "-premultiplied.tif" and result.alpha_HW is not None
    picture: Any = Image.open(io.BytesIO(product.data))
    assert picture.tag_v2[338] == (1,)
    y, x = np.argwhere((result.alpha_HW > 0.3) & (result.alpha_HW < 0.7))[0]
    alpha = result.alpha_HW[y, x]
    want = np.floor(np.append(result.rgb_HW3[y, x] * alpha, alpha) * 255 + 0.5)
    start = picture.tag_v2[273][0] + 4 * (y * 192 + x)
    assert list(product.data[start : start + 4]) == want.tolist()


def matting_net(
    path: Path, side: int, *, logits: bool, outputs: int = 1, gain: float = -20.0, at: float = 1.9
) -> Path:
    """A network that takes for the person what is darker, as it is fed, than `at`."""
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["y" if logits else "z"])]
    nodes += [] if logits else [helper.make_node("Sigmoid", ["z"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "matting",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, outputs, side, side])],
        [
            numpy_helper.from_array(np.full((outputs, 3, 1, 1), gain / 3, np.float32), "w"),
            numpy_helper.from_array(np.full(outputs, -gain * at, np.float32), "b"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, str(path))
    return path


def on_white(shade: float = 0.7) -> Canvas:
    """A studio portrait on pure white, itself a little darker than it was."""
    one = studio.sitter(3)
    alpha = one.alpha[..., None]
    return Canvas.of((one.alone * shade * alpha + 255 * (1 - alpha)).astype(np.uint8))


KINDS = [("birefnet-portrait", 1024, 1.9), ("modnet", 512, 0.6)]


@pytest.mark.parametrize(("network", "side", "at"), KINDS)
def test_a_model_from_a_file(tmp_path: Path, network: str, side: int, at: float) -> None:
    matting_net(tmp_path / "net.onnx", side, logits=network != "modnet", at=at)
    tools = studio.tools(tmp_path)
    settings = CutoutSettings(model="net.onnx", network=network, model_licence="MIT")
    result = Cutout().apply(on_white(), settings, tools)
    assert result.alpha_HW is not None and result.alpha_HW.shape == (240, 192)
    assert np.abs(result.alpha_HW - studio.sitter(3).alpha).mean() < 0.03
    assert list(tools.used()) == ["net.onnx"]
    tools.commercial = True
    Cutout().open(settings, tools)
    with pytest.raises(InputError, match=r"commercial use.*got of my own"):
        Cutout().open(settings.model_copy(update={"model_licence": "of my own"}), tools)


def test_a_model_is_fed_as_its_row_says(tmp_path: Path) -> None:
    """The logit of one colour, from the mean and the spread of the table."""
    matting_net(tmp_path / "net.onnx", 1024, logits=True, gain=-2.0, at=1.5)
    row = cutout_models.NETWORKS["birefnet-portrait"]
    grey = np.full((16, 16, 3), 0.8, np.float32)
    logit = 3 - 2 * np.mean([(0.8 - m) / s for m, s in zip(row.mean, row.std, strict=True)])
    got = cutout_models.Matting(tmp_path / "net.onnx", row).alpha(grey)
    assert got == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)


def test_a_model_that_cuts_into_the_face_is_refused(tmp_path: Path) -> None:
    matting_net(tmp_path / "net.onnx", 1024, logits=True, gain=8.0)  # what is bright is the person
    with pytest.raises(InputError, match="cuts into the face"):
        cut(on_white(0.5), tmp_path, model="net.onnx", model_licence="MIT")


@pytest.mark.parametrize(
    ("network", "side", "outputs", "message"),
    [
        ("birefnet-portrait", 512, 1, "does not run"),
        ("birefnet-portrait", 1024, 2, r"another output shape.*\(1, 2, 1024, 1024\)"),
        ("modnet", 512, 1, "is no alpha.*`network`"),
    ],
)
def test_a_model_that_does_not_fit(
    tmp_path: Path, network: str, side: int, outputs: int, message: str
) -> None:
    matting_net(tmp_path / "net.onnx", side, logits=True, outputs=outputs)
    with pytest.raises(ArtifactError, match=message):
        cut(on_white(), tmp_path, model="net.onnx", network=network, model_licence="MIT")


def test_a_file_that_is_no_network(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"no network")
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        cut(on_white(), tmp_path, model="net.onnx", model_licence="MIT")


def test_a_model_by_name_alone_is_refused_with_the_way_to_it() -> None:
    with pytest.raises(InputError, match=r"no checksum.*ZhengPeng7/BiRefNet-portrait.*MIT"):
        cut(on_white(), model="birefnet-portrait")
    with pytest.raises(InputError, match="no such matting model"):
        cut(on_white(), model="rembg")


def test_settings_name_what_is_missing() -> None:
    with pytest.raises(ValidationError, match="under which licence"):
        CutoutSettings(model="net.onnx")
    with pytest.raises(ValidationError, match="network is one of birefnet-portrait"):
        CutoutSettings(network="u2net")
