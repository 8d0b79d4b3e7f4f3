"""Write the networks as ONNX and seal the folder of the pack."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from portrait_lora import manifest
from scripts.train.face_pack import attributes, segmenter
from scripts.train.face_pack.nets import (
    AttributesOnnx,
    DetectorOnnx,
    EmbedderOnnx,
    LandmarksOnnx,
    SegmenterOnnx,
)
from scripts.train.face_pack.stages import trained

OPSET: Final = 17
FILES: Final = {
    "detector": "det_synthetic.onnx",
    "landmarks": "landmark_synthetic.onnx",
    "embedder-a": "w_embedder_a.onnx",
    "embedder-b": "x_embedder_b.onnx",
    attributes.NAME: attributes.FILE,
    segmenter.NAME: segmenter.FILE,
}
IMPOSTORS: Final = "impostors.safetensors"
EMBEDDER_IDS: Final = {"select": "synthetic-a", "report": "synthetic-b"}
NAME: Final = "synthetic-studio"
_LARGE: Final = 512
OWN_FIELDS: Final = frozenset(
    {
        *("format", "name", "synthetic", "licence", "commercial", "models", "embedder_ids", "align", "files"),
        *("attributes", "segmenter"),
    }
)
"""Of pack.json: what `write_pack` knows by itself."""


def folded(net: nn.Module) -> nn.Module:
    """Batch norms merged into the layer before them, everywhere in `net`."""
    for name, child in net.named_children():
        if isinstance(child, nn.Sequential):
            layers: list[nn.Module] = []
            for layer in child:
                previous = layers[-1] if layers else None
                if isinstance(layer, nn.BatchNorm2d) and isinstance(previous, nn.Conv2d):
                    layers[-1] = fuse_conv_bn_eval(previous, layer)
                elif not isinstance(layer, nn.Dropout):
                    layers.append(folded(layer))
            setattr(net, name, nn.Sequential(*layers))
        else:
            folded(child)
    norm, head = getattr(net, "norm", None), getattr(net, "head", None)
    if (
        isinstance(norm, nn.BatchNorm1d)
        and isinstance(head, nn.Sequential)
        and isinstance(head[-1], nn.Linear)
    ):
        head[-1] = fuse_linear_bn_eval(head[-1], norm)
        net.norm = nn.Identity()
    return net


def _export(
    wrapper: nn.Module, side: int, file: Path, outputs: list[str], axes: dict[str, dict[int, str]]
) -> None:
    example = torch.zeros(1, 3, side, side)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            wrapper.eval(),
            (example,),
            str(file),
            dynamo=False,
            opset_version=OPSET,
            input_names=["input"],
            output_names=outputs,
            dynamic_axes=axes,
        )
    model = onnx.load(str(file))
    for index, node in enumerate(model.graph.node):
        node.name = f"n{index}"  # names that begin with Sub or Mul would change insightface's scaling
    model.doc_string = "Synthetic faces only; see CARD.md."
    onnx.checker.check_model(model)
    onnx.save(model, str(file))


def halve(file: Path) -> None:
    """Store large weights in half precision; they are cast back when the model is opened."""
    model = onnx.load(str(file))
    graph = model.graph
    for tensor in list(graph.initializer):
        if tensor.data_type != onnx.TensorProto.FLOAT or math.prod(tensor.dims) < _LARGE:
            continue
        half = onnx.numpy_helper.to_array(tensor).astype(np.float16)
        stored = f"{tensor.name}.half"
        graph.initializer.remove(tensor)
        graph.initializer.append(onnx.numpy_helper.from_array(half, stored))
        cast = onnx.helper.make_node(
            "Cast", [stored], [tensor.name], name=f"c.{tensor.name}", to=onnx.TensorProto.FLOAT
        )
        graph.node.insert(0, cast)
    onnx.checker.check_model(model)
    onnx.save(model, str(file))


def export_net(name: str, net: nn.Module, file: Path) -> None:
    """One network in the layout that insightface expects of its kind."""
    net = folded(net.eval())
    if name == "detector":
        names = [f"{kind}_{stride}" for kind in ("score", "bbox", "kps") for stride in (8, 16, 32)]
        axes = {n: {0: f"anchors_{n.split('_')[1]}"} for n in names}
        _export(DetectorOnnx(net), 256, file, names, {"input": {2: "height", 3: "width"}, **axes})
    elif name == "landmarks":
        _export(LandmarksOnnx(net), 192, file, ["landmarks"], {})
    elif name == attributes.NAME:
        file.parent.mkdir(parents=True, exist_ok=True)
        _export(AttributesOnnx(net), 192, file, ["attributes"], {})
    elif name == segmenter.NAME:
        file.parent.mkdir(parents=True, exist_ok=True)
        _export(SegmenterOnnx(net), 192, file, ["parts"], {})
        halve(file)
    else:
        _export(EmbedderOnnx(net), 112, file, ["embedding"], {})
        halve(file)


def export_nets(folder: Path, out: Path) -> None:
    """All of them, from their checkpoints."""
    out.mkdir(parents=True, exist_ok=True)
    for name, file in FILES.items():
        export_net(name, trained(folder, name), out / file)


def write_pack(out: Path, facts: dict[str, Any]) -> None:
    """`pack.json` with the sha256 of every model; `facts` are the measured fields."""
    names = [*FILES.values(), IMPOSTORS]
    raw = {
        "format": 1,
        "name": NAME,
        "synthetic": True,
        "licence": "Apache-2.0",
        "commercial": "yes",
        "models": {
            "detector": FILES["detector"],
            "landmarks": FILES["landmarks"],
            "embedder_select": FILES["embedder-a"],
            "embedder_report": FILES["embedder-b"],
            "impostors": IMPOSTORS if (out / IMPOSTORS).exists() else None,
        },
        "embedder_ids": EMBEDDER_IDS,
        "align": "landmarks",
        "attributes": attributes.facts() if (out / attributes.FILE).exists() else None,
        "segmenter": segmenter.facts() if (out / segmenter.FILE).exists() else None,
        "files": {n: manifest.sha256_file(out / n) for n in names if (out / n).exists()},
        **facts,
    }
    manifest.write_bytes_atomic(out / "pack.json", _compact(raw))


def _compact(raw: dict[str, Any]) -> bytes:
    """Indented JSON, with rows of numbers kept on one line."""
    import json
    import re

    text = json.dumps(raw, indent=1, allow_nan=False)
    text = re.sub(
        r"\[\s*(-?[\d.e+-]+(?:,\s*-?[\d.e+-]+)*)\s*\]", lambda m: "[" + "".join(m[1].split()) + "]", text
    )
    return (text + "\n").encode()
