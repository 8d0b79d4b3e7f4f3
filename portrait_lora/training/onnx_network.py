"""An ONNX graph of a face embedder as a torch module, so that gradients flow through it.

onnxruntime gives no gradients, and face packs come as ONNX files.  Only what recognition networks are built
of is known here; another operator is an error, and whether the module answers as onnxruntime does is for the
caller to check on pictures.

Shape legend: B pictures, C channels, H W rows and columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from portrait_lora.errors import ArtifactError, InputError

Attributes = Mapping[str, Any]
Inputs = Sequence[Any]
"""Tensors, and None for an optional input that is left out."""
Operator = Callable[[Inputs, Attributes], Tensor]


class OnnxNetwork(nn.Module):
    """The graph of a file with one picture input; its weights are frozen float32 buffers.

    Raises `ArtifactError` for a file that is no ONNX model, `InputError` for operators that are not known.
    """

    def __init__(self, path: Path):
        super().__init__()
        try:
            graph = onnx.load(str(path)).graph
        except Exception as error:  # protobuf raises unrelated types
            raise ArtifactError("this is no ONNX model", where=path, got=error) from error
        unknown = sorted({node.op_type for node in graph.node} - set(_OPERATORS))
        if unknown:
            raise InputError(
                "the embedder has operators without a gradient here", where=path, got=", ".join(unknown)
            )
        self._names: dict[str, str] = {}
        for i, one in enumerate(graph.initializer):
            self._names[one.name] = f"weight_{i}"
            self.register_buffer(self._names[one.name], _tensor(one))
        self._input = next(one.name for one in graph.input if one.name not in self._names)
        self._output = graph.output[0].name
        self._nodes = [(n.op_type, tuple(n.input), n.output[0], _attributes(n)) for n in graph.node]

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        """(B, D) embeddings as the graph gives them, of pictures preprocessed as it wants them."""
        values: dict[str, Tensor] = {name: getattr(self, own) for name, own in self._names.items()}
        values[self._input] = pixels_BCHW
        for kind, inputs, output, attributes in self._nodes:
            known = [values[name] if name else None for name in inputs]
            values[output] = _OPERATORS[kind](known, attributes)
        return values[self._output]


def _tensor(stored: onnx.TensorProto) -> Tensor:
    """A constant of the graph; halves become float32, in which the module computes."""
    value = np.array(numpy_helper.to_array(stored))
    return torch.from_numpy(value.astype(np.float32) if value.dtype == np.float16 else value)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    read: dict[str, Any] = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    if isinstance(read.get("value"), onnx.TensorProto):
        read["value"] = _tensor(read["value"])
    return read


def _padded(x: Tensor, attributes: Attributes, fill: float = 0.0) -> Tensor:
    """ONNX lists the pads of all axes' beginnings, then of their ends: (top, left, bottom, right)."""
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    return functional.pad(x, (left, right, top, bottom), value=fill) if top | left | bottom | right else x


def _convolution(x: Inputs, a: Attributes) -> Tensor:
    bias = x[2] if len(x) > 2 else None
    steps = {"stride": a.get("strides", 1), "dilation": a.get("dilations", 1), "groups": a.get("group", 1)}
    return functional.conv2d(_padded(x[0], a), x[1], bias, **steps)


def _batch_norm(x: Inputs, a: Attributes) -> Tensor:
    scale, shift, mean, variance = x[1:5]
    return functional.batch_norm(x[0], mean, variance, scale, shift, eps=a.get("epsilon", 1e-5))


def _prelu(x: Inputs, a: Attributes) -> Tensor:
    return torch.where(x[0] >= 0, x[0], x[0] * x[1])


def _gemm(x: Inputs, a: Attributes) -> Tensor:
    left = x[0].t() if a.get("transA") else x[0]
    right = x[1].t() if a.get("transB") else x[1]
    product = left @ right * a.get("alpha", 1.0)
    return product if len(x) < 3 or x[2] is None else product + x[2] * a.get("beta", 1.0)


def _average_pool(x: Inputs, a: Attributes) -> Tensor:
    top, left, bottom, right = a.get("pads", (0, 0, 0, 0))
    if (top, left) != (bottom, right):
        raise InputError("the embedder pools with uneven pads", got=a.get("pads"))
    counted = bool(a.get("count_include_pad", 0))
    return functional.avg_pool2d(x[0], a["kernel_shape"], a.get("strides", 1), (top, left), False, counted)


def _max_pool(x: Inputs, a: Attributes) -> Tensor:
    return functional.max_pool2d(_padded(x[0], a, -torch.inf), a["kernel_shape"], a.get("strides", 1))


def _clip(x: Inputs, a: Attributes) -> Tensor:
    """The limits are inputs or, before opset 11, attributes."""
    low = x[1] if len(x) > 1 else a.get("min")
    high = x[2] if len(x) > 2 else a.get("max")
    return x[0] if low is None and high is None else x[0].clamp(low, high)


def _reshape(x: Inputs, a: Attributes) -> Tensor:
    """0 keeps an axis; the batch is kept as well where the graph states one picture."""
    shape = [x[0].shape[i] if side == 0 else side for i, side in enumerate(x[1].tolist())]
    return x[0].reshape(x[0].shape[0], *shape[1:]) if shape[0] == 1 else x[0].reshape(shape)


def _flatten(x: Inputs, a: Attributes) -> Tensor:
    axis = a.get("axis", 1)
    return x[0].flatten(1) if axis == 1 else x[0].reshape(int(np.prod(x[0].shape[:axis])), -1)


def _expand(x: Inputs, a: Attributes) -> Tensor:
    """Both shapes are broadcast, as ONNX says."""
    return x[0].expand(torch.broadcast_shapes(x[0].shape, tuple(x[1].tolist())))


def _slice(x: Inputs, a: Attributes) -> Tensor:
    starts, ends = x[1].tolist(), x[2].tolist()
    axes = x[3].tolist() if len(x) > 3 else list(range(len(starts)))
    steps = x[4].tolist() if len(x) > 4 else [1] * len(starts)
    cut = x[0]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        places = range(cut.shape[axis])[slice(start, None if end < -cut.shape[axis] else end, step)]
        cut = cut.index_select(axis, torch.tensor(list(places), device=cut.device))
    return cut


def _norm(x: Inputs, a: Attributes) -> Tensor:
    axes = a["axes"] if "axes" in a else x[1].tolist()
    return torch.linalg.vector_norm(x[0], dim=tuple(axes), keepdim=bool(a.get("keepdims", 1)))


def _mean(x: Inputs, a: Attributes) -> Tensor:
    axes = a["axes"] if "axes" in a else x[1].tolist()
    return x[0].mean(dim=tuple(axes), keepdim=bool(a.get("keepdims", 1)))


def _cast(x: Inputs, a: Attributes) -> Tensor:
    """Between kinds of floating point nothing is done: everything computes in float32."""
    wanted = onnx.helper.tensor_dtype_to_np_dtype(a["to"])
    floats = np.issubdtype(wanted, np.floating)
    return x[0].float() if floats else x[0].to(torch.from_numpy(np.zeros(0, wanted)).dtype)


_OPERATORS: Final[Mapping[str, Operator]] = {
    "Add": lambda x, a: x[0] + x[1],
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda x, a: torch.cat(tuple(x), a["axis"]),
    "Constant": lambda x, a: cast(Tensor, a["value"]),
    "Conv": _convolution,
    "Div": lambda x, a: x[0] / x[1],
    "Dropout": lambda x, a: x[0],
    "Expand": _expand,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda x, a: x[0].mean(dim=(2, 3), keepdim=True),
    "Identity": lambda x, a: x[0],
    "LeakyRelu": lambda x, a: functional.leaky_relu(x[0], a.get("alpha", 0.01)),
    "MatMul": lambda x, a: x[0] @ x[1],
    "MaxPool": _max_pool,
    "Mul": lambda x, a: x[0] * x[1],
    "PRelu": _prelu,
    "ReduceL2": _norm,
    "ReduceMean": _mean,
    "Relu": lambda x, a: functional.relu(x[0]),
    "Reshape": _reshape,
    "Shape": lambda x, a: torch.tensor(x[0].shape),
    "Sigmoid": lambda x, a: x[0].sigmoid(),
    "Slice": _slice,
    "Sqrt": lambda x, a: x[0].sqrt(),
    "Squeeze": lambda x, a: x[0].squeeze(tuple(a["axes"] if "axes" in a else x[1].tolist())),
    "Sub": lambda x, a: x[0] - x[1],
    "Transpose": lambda x, a: x[0].permute(*a["perm"]),
    "Unsqueeze": lambda x, a: x[0].unsqueeze((a["axes"] if "axes" in a else x[1].tolist())[0]),
}
