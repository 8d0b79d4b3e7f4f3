"""Networks in the layouts of YuNet and SFace, with weights that make every picture have a face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
KINDS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}


def write_yunet(path: Path, side_px: int = 64) -> Path:
    """Twelve outputs of (1, cells, channels); one cell in the middle of the coarsest stride sees a face."""
    nodes, tensors, outputs = [], [], []

    def constant(name: str, value: np.ndarray) -> str:
        tensors.append(numpy_helper.from_array(value, name))
        return name

    for kind, channels in KINDS.items():
        for stride in STRIDES:
            name, cells = f"{kind}_{stride}", (side_px // stride) ** 2
            weight = constant(f"{name}_w", np.zeros((channels, 3, stride, stride), np.float32))
            wanted = np.zeros((1, cells, channels), np.float32)
            if stride == 32:
                wanted[0, 0] = FACE[kind]
            offset = constant(f"{name}_c", wanted)
            shape = constant(f"{name}_s", np.array([1, cells, channels], np.int64))
            nodes += [
                helper.make_node("Conv", ["input", weight], [f"{name}_f"], strides=[stride, stride]),
                helper.make_node("Transpose", [f"{name}_f"], [f"{name}_t"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"{name}_t", shape], [f"{name}_r"]),
                helper.make_node("Add", [f"{name}_r", offset], [name]),
            ]
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, cells, channels]))
    return _save(path, nodes, [1, 3, side_px, side_px], "input", outputs, tensors)


FACE = {
    "cls": np.array([0.9], np.float32),
    "obj": np.array([0.9], np.float32),
    "bbox": np.array([0.5, 0.5, 0.0, 0.0], np.float32),  # centre of the cell; width and height e^0 strides
    "kps": np.array([0.3, 0.3, 0.7, 0.3, 0.5, 0.5, 0.35, 0.7, 0.65, 0.7], np.float32),
}


def write_embedder(path: Path, seed: int, width: int = 16) -> Path:
    """112 px in, (1, width) out: random projections of an 8 × 8 thumbnail."""
    rng = np.random.default_rng(seed)
    weight = numpy_helper.from_array(rng.normal(size=(width, 3, 14, 14)).astype(np.float32) / 500, "w")
    heads = numpy_helper.from_array(rng.normal(size=(width * 64, width)).astype(np.float32), "h")
    shape = numpy_helper.from_array(np.array([1, width * 64], np.int64), "s")
    nodes = [
        helper.make_node("Conv", ["data", "w"], ["f"], strides=[14, 14]),
        helper.make_node("Reshape", ["f", "s"], ["v"]),
        helper.make_node("MatMul", ["v", "h"], ["fc1"]),
    ]
    outputs = [helper.make_tensor_value_info("fc1", TensorProto.FLOAT, [1, width])]
    return _save(path, nodes, [1, 3, 112, 112], "data", outputs, [weight, heads, shape])


def _save(path, nodes, shape, name, outputs, tensors) -> Path:  # type: ignore[no-untyped-def]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return path
