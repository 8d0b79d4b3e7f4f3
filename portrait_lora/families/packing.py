"""Latents as sequences of 2×2 patches, for the transformers that take them so.

Shape legend: B pictures, C latent channels, H W latent rows and columns, N = H W / 4 patches.
"""

from __future__ import annotations

import torch
from torch import Tensor


def patchify(latents_BCHW: Tensor) -> Tensor:
    """(B, C, H, W) to (B, 4 C, H/2, W/2); a channel's four places stand together, row by row."""
    return torch.nn.functional.pixel_unshuffle(latents_BCHW, 2)


def unpatchify(patches: Tensor) -> Tensor:
    """The inverse of `patchify`."""
    return torch.nn.functional.pixel_shuffle(patches, 2)


def pack(latents_BCHW: Tensor) -> Tensor:
    """(B, C, H, W) to (B, N, 4 C), patches row by row."""
    return patchify(latents_BCHW).flatten(2).transpose(1, 2)


def unpack(sequence_BNC: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `pack` for latents of `height` × `width`."""
    count, _, channels = sequence_BNC.shape
    return unpatchify(sequence_BNC.transpose(1, 2).reshape(count, channels, height // 2, width // 2))


def positions(rows: int, columns: int, device: torch.device) -> Tensor:
    """(rows × columns, 3) float32: 0, row, column of each patch, in the order of `pack`."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    ids = torch.stack([torch.zeros_like(row), row, column], dim=-1)
    return ids.reshape(-1, 3).to(device, torch.float32)
