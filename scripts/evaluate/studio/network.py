"""The classifier: one small convolutional network, one head per attribute; and what blurs its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scripts.evaluate.studio.attributes import ATTRIBUTES, UNLABELLED, mirrored
from scripts.precision import half
from scripts.train.face_pack import augment
from scripts.train.face_pack.nets import Residual, conv

SIZE_PX: Final = 128
CHANNELS: Final = (32, 64, 112, 176)
HIDDEN: Final = 320
_SQUEEZED: Final = 56
_SMOOTHING: Final = 0.02
_SHIFT_PX: Final = 5
_TINY: Final = 1e-6
_BESIDE: Final = 0.3
"""Weight of the attributes without a target."""


class Classifier(nn.Module):
    """(N, 3, 128, 128) pictures in -1..1 -> logits of every attribute, one after another."""

    def __init__(self, channels: Sequence[int] = CHANNELS, hidden: int = HIDDEN) -> None:
        super().__init__()
        first, *rest = channels
        layers: list[nn.Module] = [nn.PixelUnshuffle(2), conv(12, first)]
        for before, after in zip(channels, rest, strict=False):
            layers += [conv(before, after, 2), Residual(after)]
        side = SIZE_PX >> len(channels)
        self.features = nn.Sequential(*layers, conv(channels[-1], _SQUEEZED, size=1))
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(0.1),
            nn.Linear(_SQUEEZED * side**2, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, sum(len(a.words) for a in ATTRIBUTES)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def look(net: nn.Module, pictures: Tensor) -> list[Tensor]:
    """Logits (N, words) per attribute, for pictures (N, 3, 128, 128) of 0..255."""
    x = ((pictures.float() - 127.5) / 127.5).contiguous(memory_format=torch.channels_last)
    with half(x.device.type):
        out = net(x).float()
    return list(out.split([len(a.words) for a in ATTRIBUTES], 1))


def word_weights(wanted: Tensor) -> list[Tensor]:
    """Per attribute a weight for every word, larger for the rare ones, with mean 1 over the pictures."""
    weights: list[Tensor] = []
    for column, attribute in zip(wanted.unbind(1), ATTRIBUTES, strict=True):
        counts = torch.bincount(column[column != UNLABELLED], minlength=len(attribute.words)).float()
        weight = counts.clamp(min=1).rsqrt()
        weights.append(weight / ((weight * counts).sum() / counts.sum().clamp(min=1)).clamp(min=1e-6))
    return weights


def loss(logits: Sequence[Tensor], wanted: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Cross entropy summed over the attributes; what is not labelled does not count.

    It never counts how many are labelled: that would wait for the GPU once per attribute.
    """
    total = torch.zeros((), device=wanted.device)
    for guess, column, weight, attribute in zip(logits, wanted.unbind(1), weights, ATTRIBUTES, strict=True):
        off = F.cross_entropy(
            guess, column, weight, ignore_index=UNLABELLED, label_smoothing=_SMOOTHING, reduction="sum"
        )
        counted = (weight[column.clamp(min=0)] * (column != UNLABELLED)).sum()
        total = total + (1.0 if attribute.judged else _BESIDE) * off / counted.clamp(min=_TINY)
    return total


def disturb(pictures: Tensor, wanted: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pictures of 0..255 as a diffusion model might draw them: moved, mirrored, blurred, a little noisy."""
    flip = torch.rand(len(pictures), generator=generator) < 0.5
    pictures = torch.where(flip[:, None, None, None], pictures.flip(-1), pictures)
    wanted = torch.where(flip[:, None], mirrored(wanted), wanted)
    x, y = torch.randint(0, 2 * _SHIFT_PX + 1, (2,), generator=generator).tolist()
    side = pictures.shape[-1]
    padded = F.pad(pictures, (_SHIFT_PX,) * 4, mode="replicate")
    pictures = padded[..., y : y + side, x : x + side]
    pictures = augment.soften(pictures, generator, 0.35)
    pictures = augment.relight(pictures, generator, 0.15)
    return augment.grain(pictures, generator, 5.0).clamp(0, 255), wanted
