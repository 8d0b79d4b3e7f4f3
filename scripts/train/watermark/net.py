"""The reading network in torch, for its training, and how well a mark stands out of what it answers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as f

from portrait_lora.rights.watermark.extractor import FILTER_PX, FLOOR, SPREAD_PX
from portrait_lora.rights.watermark.lattice import REACH

_TINY = 1e-4
"""Its root has a slope where there is nothing at all."""


class Extractor(nn.Module):
    """The same computation as `portrait_lora.rights.watermark.extractor`, which runs it without torch."""

    def __init__(self, filters: int = 4, features: int = 8):
        super().__init__()
        self.filters = nn.Parameter(torch.randn(filters, 1, FILTER_PX, FILTER_PX) * 0.1)
        with torch.no_grad():
            span = torch.arange(FILTER_PX) - FILTER_PX // 2
            square = (span[:, None] ** 2 + span[None] ** 2).float()
            for i, (fine, coarse) in enumerate(((0.7, 4.0), (0.5, 1.0), (1.0, 2.0), (2.0, 4.0))[:filters]):
                one, wide = torch.exp(-square / (2 * fine**2)), torch.exp(-square / (2 * coarse**2))
                self.filters[i, 0] = one / one.sum() - wide / wide.sum()
        self.first = nn.Conv2d(filters + 1, features, 3)
        self.last = nn.Conv2d(features, 1, 3)
        nn.init.zeros_(self.last.weight)
        self.plain = nn.Parameter(torch.tensor([1.0] + [0.0] * (filters - 1)))

    def forward(self, luma_B1HW: Tensor) -> Tensor:
        """(B, 1, H, W) grey levels -> (B, 1, H, W)."""
        filters = self.filters - self.filters.mean((2, 3), keepdim=True)
        half = FILTER_PX // 2
        seen = f.conv2d(f.pad(luma_B1HW, (half,) * 4, mode="reflect"), filters)
        power = seen.square().mean(1, keepdim=True)
        around = SPREAD_PX // 2
        spread = f.avg_pool2d(f.pad(power, (around,) * 4, mode="reflect"), SPREAD_PX, 1)
        spread = (spread + _TINY).sqrt() + FLOOR
        even = seen / spread
        x = torch.cat([even, spread.log()], 1)
        x = f.leaky_relu(self.first(f.pad(x, (1,) * 4, mode="reflect")), 0.1)
        answer = self.last(f.pad(x, (1,) * 4, mode="reflect"))
        return answer + (even * self.plain[None, :, None, None]).sum(1, keepdim=True)


def measured(signal_BHW: Tensor, tile_B: Tensor) -> Tensor:
    """(B, K, K) complex sums times conjugate waves, K from -REACH to REACH."""
    height, width = signal_BHW.shape[1:]
    k = torch.arange(-REACH, REACH + 1).float()

    def waves(count: int) -> Tensor:
        x = torch.arange(count).float()
        turn = -2 * torch.pi * x[None, :, None] * k / tile_B[:, None, None]
        return torch.complex(turn.cos(), turn.sin())

    half = torch.einsum("byx,bxk->byk", signal_BHW.to(torch.complex64), waves(width))
    return torch.einsum("byl,byk->blk", waves(height), half)


def rate(seen_BN: Tensor, truth_BN: Tensor, shells_N: Tensor) -> Tensor:
    """(B,) bits per frequency that could be read: the capacity of every shell of frequencies, averaged.

    `truth` are the mark's coefficients (complex); what of a shell does not follow them is its noise.
    """
    total = torch.zeros(len(seen_BN))
    for shell in shells_N.unique():
        one = shells_N == shell
        seen, truth = seen_BN[:, one], truth_BN[:, one]
        power = truth.abs().square().sum(1)
        gain = (seen * truth.conj()).real.sum(1) / power
        rest = (seen - gain[:, None] * truth).abs().square().sum(1) / (int(one.sum()) - 0.5)
        signal = f.relu(gain).square() * power / int(one.sum())
        total = total + int(one.sum()) * torch.log2(1 + signal / (rest + 1e-12))
    return total / len(shells_N)
