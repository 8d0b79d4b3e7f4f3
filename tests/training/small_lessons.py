"""A small recogniser with gradients, and lessons for the identity loss of a tiny family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from portrait_lora.faces.preprocessing import Preprocessing
from portrait_lora.families.family import Family
from portrait_lora.training import cache
from portrait_lora.training.identity import Lesson, Lessons, Recogniser
from portrait_lora.training.onnx_network import OnnxNetwork
from tests.tiny_models import make_crops

SIDE, WIDTH = 16, 6
TURN = np.array([[0.24, -0.05, 1.5], [0.05, 0.24, -1.0]], np.float32)


def embedder(path: Path) -> Path:
    """A small recogniser as they are published: convolutions, batch norm, PReLU, a shortcut, a projection."""
    random = np.random.default_rng(0)

    def weight(name: str, *shape: int, positive: bool = False) -> Any:
        value = random.normal(0, 0.5, shape).astype(np.float32)
        return numpy_helper.from_array(np.abs(value) + 0.2 if positive else value, name)

    weights = [
        weight("w1", 8, 3, 3, 3), weight("b1", 8), weight("slope", 8, 1, 1), weight("w2", 8, 1, 3, 3),
        *(weight(f"{kind}1", 8, positive=kind in "sv") for kind in "stmv"),
        *(weight(f"{kind}2", WIDTH, positive=kind in "sv") for kind in "stmv"),
        weight("w3", WIDTH, 8 * 16), weight("b3", WIDTH),
    ]  # fmt: skip

    def node(kind: str, inputs: str, output: str, **more: Any) -> Any:
        return helper.make_node(kind, inputs.split(), [output], **more)

    nodes = [
        node("Conv", "x w1 b1", "c1", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]),
        node("BatchNormalization", "c1 s1 t1 m1 v1", "n1", epsilon=1e-3),
        node("PRelu", "n1 slope", "p1"),
        node("Conv", "p1 w2", "c2", kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=8),
        node("Add", "p1 c2", "r1"),
        node("MaxPool", "r1", "m", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", "m", "f"),
        node("Gemm", "f w3 b3", "g", transB=1),
        node("BatchNormalization", "g s2 t2 m2 v2", "y"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "embedder", [value("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [value("y", TensorProto.FLOAT, [1, WIDTH])], weights,
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


def lessons_of(family: Family, folder: Path, network: Path) -> Lessons:
    """Three lessons of 64 x 64 px and two photos."""
    shown = make_crops(folder, ((64, 64),) * 3, seed=8)
    samples = cache.encode(family, shown, folder / "cache").samples
    known = np.random.default_rng(5).normal(size=(2, WIDTH)).astype(np.float32)
    return Lessons(
        tuple(Lesson(sample, TURN) for sample in samples),
        known / np.linalg.norm(known, axis=1, keepdims=True),
        Recogniser(OnnxNetwork(network), Preprocessing.arcface(SIDE, "BGR", 100.0, 60.0)),
    )
