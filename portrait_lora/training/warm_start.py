"""A warm start: where a training begins when many other people were learnt before.

A file holds one adapter shared by all people, A and B of every layer, and gates: the change of a layer is
B diag(1 + G z) A, where z are the coordinates of a person's embedding among those people.  Somebody new
begins with the B that their own z gives, instead of with nothing, and trains as usual from there.  Shared
projections are those of Meta-LoRA (2503.22352); that a person's part is read off an embedding is the idea of
HyperDreamBooth (Ruiz et al. 2023).  `scripts.train.warm_start` learns such a file.

Shape legend: R rank, I inputs, O outputs, K coordinates, D embedding width.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from portrait_lora import manifest
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.records import FloatArray

MIDDLE: Final = "identity.middle"
DIRECTIONS: Final = "identity.directions"
_A, _B, _GATE = ".lora_A.weight", ".lora_B.weight", ".gate.weight"
_FARTHEST: Final = 3.0
"""Coordinates beyond so many standard deviations of people are cut: the gates never saw such."""
_REMEDY: Final = "Learn one with `python -m scripts.train.warm_start`, or leave training.warm_start empty."


@dataclass(frozen=True, slots=True)
class Start:
    """First values of a person's adapter: layer -> A (R, I) and B (O, R) at scale 1, of a convolution with
    its kernel.  `digest` is of the file and the embedding."""

    layers: Mapping[str, tuple[Tensor, Tensor]]
    digest: str

    def put_into(self, layer: str, down: nn.Parameter, up: nn.Parameter, scale: float) -> None:
        """Give a layer its first values; further ranks keep theirs.  `scale` is what training multiplies by.

        Raises `InputError` where the shapes do not fit.
        """
        if layer not in self.layers:
            return
        a, b = self.layers[layer]
        rank = a.shape[0]
        if rank > down.shape[0]:
            raise InputError(
                "the warm start has a higher rank than the adapter",
                where="training.rank",
                got=down.shape[0],
                needed=f"{rank} or more",
            )
        if a.shape[1:] != down.shape[1:] or b.shape[0] != up.shape[0]:
            raise InputError(
                "the warm start is of another network",
                where=layer,
                got=f"{tuple(a.shape)} and {tuple(b.shape)}",
                needed=f"{tuple(down.shape)} and {tuple(up.shape)}",
                remedy=_REMEDY,
            )
        with torch.no_grad():
            down[:rank] = a.to(down)
            up[:, :rank] = (b / scale).to(up)


@dataclass(frozen=True, slots=True)
class WarmStart:
    """A file of `scripts.train.warm_start`: what of it fits which base and which embedder."""

    path: Path
    sha256: str
    base: str
    embedder: str
    people: int
    tensors: Mapping[str, Tensor]

    def start(self, embedding_D: FloatArray) -> Start:
        """Where the person with this mean embedding begins."""
        middle_D, along_KD = self.tensors[MIDDLE], self.tensors[DIRECTIONS]
        mean_D = torch.from_numpy(np.asarray(embedding_D, dtype=np.float32).copy())
        if mean_D.shape != middle_D.shape:
            raise InputError(
                "the warm start was learned with other embeddings",
                where=self.path,
                got=f"{len(mean_D)} numbers",
                needed=f"{len(middle_D)}",
                remedy=_REMEDY,
            )
        z_K = (along_KD @ (mean_D - middle_D)).clamp(-_FARTHEST, _FARTHEST)
        layers: dict[str, tuple[Tensor, Tensor]] = {}
        for key, down in self.tensors.items():
            if key.endswith(_A):
                name = key.removesuffix(_A)
                up = self.tensors[name + _B]
                gate_R = 1 + self.tensors[name + _GATE] @ z_K
                layers[name] = down, up * gate_R.view(1, -1, *[1] * (up.dim() - 2))
        rounded = [round(float(v), 4) for v in z_K]
        return Start(layers, manifest.digest([self.sha256, rounded]))


def read(path: Path) -> WarmStart:
    """Raises `ArtifactError` for a file that is none, or is damaged."""
    try:
        with safe_open(path, "pt") as stream:
            tensors = {n: stream.get_tensor(n).float() for n in stream.keys()}  # noqa: SIM118 - not a dict
            about = stream.metadata() or {}
        facts = cast(Mapping[str, object], json.loads(about["warm_start"]))
        base, embedder, people = str(facts["base"]), str(facts["embedder"]), int(str(facts["people"]))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        unnamed = isinstance(error, KeyError | TypeError)  # an ordinary LoRA, or somebody else's record
        got = "a file that does not name its base, embedder and people" if unnamed else error
        raise ArtifactError("not a warm start", where=path, got=got, remedy=_REMEDY) from error
    names = [key.removesuffix(_A) for key in tensors if key.endswith(_A)]
    missing = [n + end for n in names for end in (_B, _GATE) if n + end not in tensors]
    missing += [key for key in (MIDDLE, DIRECTIONS) if key not in tensors]
    if missing or not names or not all(bool(t.isfinite().all()) for t in tensors.values()):
        got = f"no {missing[0]}" if missing else "no layers, or values that are not finite"
        raise ArtifactError("the warm start is damaged", where=path, got=got, remedy=_REMEDY)
    return WarmStart(path, manifest.sha256_file(path), base, embedder, people, tensors)
