"""An embedder as the decoder's second teacher: the person must stay the same person.

Only embedder A teaches (it also selects checkpoints).  B, which reports likeness, has no part in it, so what
the decoder owes to A alone does not show in what is reported.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from scripts.precision import half
from scripts.train.checkpoint import averaged
from scripts.train.face_pack.data import aligned, five_points, unit
from scripts.train.face_pack.nets import EmbedderA

NAME = "embedder-a"


class Teacher:
    """Embedder A with frozen weights."""

    def __init__(self, net: nn.Module, device: torch.device) -> None:
        self._net = net.eval().requires_grad_(False).to(device)

    def embed(self, pictures: Tensor, landmarks: Tensor) -> Tensor:
        """(N, D) unit embeddings of pictures (N, 3, H, W) in -1..1, aligned on `landmarks` (N, 68, 2)."""
        crop = aligned((pictures + 1) * 127.5, five_points(landmarks), None, 0.0)
        with half(pictures.device.type):
            return nn.functional.normalize(self._net(unit(crop)).float(), dim=1)

    def unlikeness(self, decoded: Tensor, real: Tensor, landmarks: Tensor) -> Tensor:
        """Mean of 1 - cosine between two versions of pictures; the gradient goes to `decoded` only."""
        with torch.no_grad():
            wanted = self.embed(real, landmarks)
        return (1 - (self.embed(decoded, landmarks) * wanted).sum(1)).mean()


def teacher_of(folder: Path, device: torch.device) -> Teacher:
    """From the checkpoint that `scripts.train.face_pack` left.  Raises `FileNotFoundError` without one."""
    net = EmbedderA()
    net.load_state_dict(averaged(folder, NAME))
    return Teacher(net, device)
