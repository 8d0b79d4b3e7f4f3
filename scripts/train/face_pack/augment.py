"""What cameras, compression and diffusion models do to pictures (B, 3, H, W) in 0..255."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def rand(shape: tuple[int, ...], generator: torch.Generator, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Uniform numbers."""
    return torch.rand(shape, generator=generator) * (high - low) + low


def blur(x: Tensor, sigma_px: float) -> Tensor:
    """Separable Gaussian with reflected borders."""
    reach = max(1, round(2.5 * sigma_px))
    t = torch.arange(-reach, reach + 1, dtype=torch.float32)
    k = torch.exp(-0.5 * (t / sigma_px) ** 2)
    k = (k / k.sum()).to(x.dtype)
    c = x.shape[1]
    x = F.pad(x, (reach, reach, 0, 0), mode="replicate")
    x = F.conv2d(x, k.reshape(1, 1, 1, -1).expand(c, 1, 1, -1), groups=c)
    x = F.pad(x, (0, 0, reach, reach), mode="replicate")
    return F.conv2d(x, k.reshape(1, 1, -1, 1).expand(c, 1, -1, 1), groups=c)


def smudge(x: Tensor, factor: float) -> Tensor:
    """Fewer pixels and back: what an autoencoder leaves of fine detail."""
    size = x.shape[-2:]
    small = F.interpolate(x, scale_factor=1 / factor, mode="area")
    return F.interpolate(small, size=size, mode="bicubic", align_corners=False)


def soften(x: Tensor, generator: torch.Generator, share: float) -> Tensor:
    """A share of the batch is blurred, smudged, or sharpened."""
    pick = torch.rand(len(x), generator=generator)
    out = x.clone()
    kinds = torch.randint(0, 5, (len(x),), generator=generator)
    for kind in range(5):
        rows = ((pick < share) & (kinds == kind)).nonzero()[:, 0]
        if not len(rows):
            continue
        part = x[rows]
        amount = float(torch.rand((), generator=generator))
        if kind < 2:
            out[rows] = blur(part, 0.5 + 1.3 * amount)
        elif kind < 4:
            out[rows] = smudge(part, 1.4 + 1.4 * amount)
        else:
            out[rows] = part + (part - blur(part, 1.0)) * (0.4 + amount)
    return out


def relight(x: Tensor, generator: torch.Generator, strength: float = 1.0) -> Tensor:
    """Exposure, contrast, colour cast and tone curve per picture."""
    n, s = len(x), strength
    x = x / 255
    bend = torch.randn(n, 1, 1, 1, generator=generator).clamp(-2, 2) * 0.3 * s
    gain = torch.exp(torch.randn(n, 1, 1, 1, generator=generator).clamp(-2, 2) * 0.18 * s)
    cast = torch.exp(torch.randn(n, 3, 1, 1, generator=generator).clamp(-2, 2) * 0.05 * s)
    mean = x.mean((1, 2, 3), keepdim=True)
    contrast = 1 + torch.randn(n, 1, 1, 1, generator=generator).clamp(-2, 2) * 0.13 * s
    x = (x - mean) * contrast + mean
    x = x.clamp(0, 1)
    x = (x + bend * x * (1 - x)) * (gain * cast)
    grey = x.mean(1, keepdim=True)
    saturation = 1 + torch.randn(n, 1, 1, 1, generator=generator).clamp(-2, 2) * 0.15 * s
    return ((x - grey) * saturation + grey) * 255


def grain(x: Tensor, generator: torch.Generator, most: float = 12.0) -> Tensor:
    """Fine noise, and coarse blotches as compression makes them, in varying amounts."""
    n, _, h, w = x.shape
    few = torch.randn((1, 3, h, 2 * w), generator=generator)
    starts = torch.randint(0, w + 1, (n,), generator=generator).tolist()
    fine = torch.cat([few[..., i : i + w] for i in starts]) * (rand((n, 1, 1, 1), generator) ** 2 * most)
    coarse = torch.randn((n, 3, -(-h // 4), -(-w // 4)), generator=generator)
    coarse = F.interpolate(coarse, scale_factor=4.0, mode="nearest")[..., :h, :w]
    return x + fine + coarse * (rand((n, 1, 1, 1), generator) ** 2 * most * 0.5)


def camera(x: Tensor, generator: torch.Generator, *, soft: float = 0.4, strength: float = 1.0) -> Tensor:
    """All of it, clamped to 0..255."""
    x = relight(soften(x, generator, soft), generator, strength)
    return grain(x, generator).clamp(0, 255)
