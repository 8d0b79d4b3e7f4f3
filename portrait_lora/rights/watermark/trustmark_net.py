"""TrustMark's two networks in torch, with the names of the published weights.

Bui, Agarwal and Collomosse 2023, TrustMark: Universal Watermarking for Arbitrary Resolution Images
(arXiv:2311.18297), variant Q: a U-Net that draws a secret of 100 bits into a picture of 256 px, and a
ResNet-50 (He et al. 2015) that reads it from 224 px.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as f

SECRET_BITS: Final = 100
ENCODER_PX: Final = 256
DECODER_PX: Final = 224
_COARSE_PX: Final = 16


class _Conv(nn.Module):
    """A convolution under the name `conv`, then an activation."""

    def __init__(self, ins: int, outs: int, kernel: int, stride: int, padding: int, activation: nn.Module):
        super().__init__()
        self.conv = nn.Conv2d(ins, outs, kernel, stride, padding)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W)."""
        return self.activation(self.conv(x))


class _Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.model = nn.Sequential(
            _Conv(width, width, 3, 1, 1, nn.SiLU()), _Conv(width, width, 3, 1, 1, nn.Identity())
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) + x


class _Residuals(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.model = nn.Sequential(_Residual(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class _Up(nn.Module):
    def __init__(self, ins: int, skipped: int, outs: int):
        super().__init__()
        self.conv1 = _Conv(ins, outs, 2, 1, 0, nn.SiLU())
        self.conv2 = _Conv(outs + skipped, outs, 3, 1, 1, nn.SiLU())

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        larger = f.pad(f.interpolate(x, scale_factor=2.0, mode="nearest"), (0, 1, 0, 1))
        return self.conv2(torch.cat([self.conv1(larger), skip], 1))


class _Drawn(nn.Module):
    """The secret as a picture of 16 px, enlarged."""

    def __init__(self, secret_bits: int):
        super().__init__()
        self.dense = nn.Linear(secret_bits, _COARSE_PX**2 * 3)

    def forward(self, secret: Tensor, side_px: int) -> Tensor:
        coarse = f.relu(self.dense(secret).view(-1, 3, _COARSE_PX, _COARSE_PX))
        return f.interpolate(coarse, size=(side_px, side_px), mode="nearest")


class Encoder(nn.Module):
    """Picture (B, 3, 256, 256) in -1..1 and secret (B, 100) of 0 and 1 -> the marked picture."""

    def __init__(self, width: int = 32, downs: int = 4):
        super().__init__()
        self.secret2image = _Drawn(SECRET_BITS)
        self.pre = _Conv(6, width, 3, 1, 1, nn.SiLU())
        widths = [width * 2**i for i in range(downs + 1)]
        self.enc = nn.ModuleList(_Conv(a, b, 3, 2, 1, nn.ReLU()) for a, b in pairwise(widths))
        self.middle = nn.ModuleList([_Residuals(widths[-1])])
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.dec = nn.ModuleList(
            _Up(wide, narrow + (6 if i == downs - 1 else 0), narrow) for i, (wide, narrow) in enumerate(pairs)
        )
        self.post = nn.Sequential(
            _Conv(width, width, 3, 1, 1, nn.SiLU()),
            _Conv(width, width // 2, 1, 1, 0, nn.SiLU()),
            _Conv(width // 2, 3, 1, 1, 0, nn.Tanh()),
        )

    def forward(self, picture: Tensor, secret: Tensor) -> Tensor:
        """See the class."""
        both = torch.cat([picture, self.secret2image(secret, picture.shape[-1])], 1)
        x, skips = self.pre(both), []
        for layer in self.enc:
            skips.append(x)
            x = layer(x)
        for layer in self.middle:
            x = layer(x)
        skips[0] = torch.cat([skips[0], both], 1)
        for layer, skip in zip(self.dec, reversed(skips), strict=True):
            x = layer(x, skip)
        return self.post(x)


class _Bottleneck(nn.Module):
    def __init__(self, ins: int, width: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(ins, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample = None
        if stride > 1 or ins != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(ins, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = f.relu(self.bn1(self.conv1(x)))
        out = self.bn3(self.conv3(f.relu(self.bn2(self.conv2(out)))))
        return f.relu(out + (x if self.downsample is None else self.downsample(x)))


class Decoder(nn.Module):
    """Picture (B, 3, 224, 224) in -1..1 -> (B, 100), above 0 where the bit is 1."""

    def __init__(self, blocks: tuple[int, ...] = (3, 4, 6, 3), width: int = 64):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        ins = width
        for i, count in enumerate(blocks):
            wide = width * 2**i
            layers = [_Bottleneck(ins, wide, 2 if i else 1)]
            layers += [_Bottleneck(4 * wide, wide, 1) for _ in range(count - 1)]
            setattr(self, f"layer{i + 1}", nn.Sequential(*layers))
            ins = 4 * wide
        self.fc = nn.Linear(ins, SECRET_BITS)

    def forward(self, picture: Tensor) -> Tensor:
        """See the class."""
        x = f.max_pool2d(f.relu(self.bn1(self.conv1(picture))), 3, 2, 1)
        for i in range(1, 5):
            x = getattr(self, f"layer{i}")(x)
        return self.fc(x.mean((2, 3)))
