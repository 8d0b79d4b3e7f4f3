"""A face pack of random networks in the layout that insightface expects, built in a second."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from portrait_lora import vocabulary
from portrait_lora.faces import shape
from portrait_lora.faces.packs import LandmarkHead
from scripts.train.face_pack import attributes, export, segmenter
from scripts.train.face_pack.nets import Attributes, Detector, EmbedderA, EmbedderB, Landmarks, Segmenter


def _head(labels: tuple[str, ...]) -> LandmarkHead:
    generator = torch.Generator().manual_seed(len(labels))
    weight = torch.randn(len(labels), shape.FEATURES, generator=generator)
    return LandmarkHead(
        mean=(0.0,) * shape.FEATURES,
        scale=(1.0,) * shape.FEATURES,
        weights=(tuple(tuple(row) for row in weight.tolist()),),
        biases=((0.0,) * len(labels),),
        labels=labels,
    )


def write_tiny_pack(out: Path, *, landmarks: bool = True) -> Path:
    """Random weights; the detector is made to shout, on its coarsest stride: every picture has few faces."""
    torch.manual_seed(0)
    out.mkdir(parents=True, exist_ok=True)
    detector = Detector()
    for layer in detector.out:
        torch.nn.init.normal_(layer.weight, std=0.3)
        layer.bias.data[:2] = 1.0 if layer is detector.out[-1] else -20.0
    nets = {
        "detector": detector,
        "landmarks": Landmarks(),
        "embedder-a": EmbedderA(),
        "embedder-b": EmbedderB(),
        attributes.NAME: Attributes(attributes.WIDTH),
        segmenter.NAME: Segmenter(segmenter.OUTPUTS),
    }
    for name, net in nets.items():
        export.export_net(name, net, out / export.FILES[name])
    gallery = {role: torch.randn(3, 2, 128).half() for role in ("select", "report")}
    save_file(gallery, str(out / export.IMPOSTORS))
    facts = {
        "det_size_px": 64,
        "det_thresh": 0.3,
        "false_match_rate": 1e-3,
        "thresholds": {"synthetic-a": 0.4, "synthetic-b": 0.5},
        "pose_calibration": _head(("pitch", "yaw", "roll")).to_json(),
        "expression_model": _head(vocabulary.EXPRESSIONS).to_json(),
    }
    export.write_pack(out, facts)
    return out


def copy_pack(source: Path, target: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(source, target))
