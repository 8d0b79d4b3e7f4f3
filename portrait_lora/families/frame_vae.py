"""The video VAE of Qwen-Image, which other families have as well: a frame axis, statistics by channel.

Shape legend: see `family.py`; F frames, always 1 here.
"""

# pyright: reportPrivateImportUsage=false
from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from diffusers import AutoencoderKLQwenImage
from torch import Tensor

from portrait_lora.families.diffusers_family import DiffusersFamily


class FrameVae(DiffusersFamily):
    """What the families with this VAE have in common."""

    vae_type = AutoencoderKLQwenImage

    @property
    def latent_px(self) -> int:
        """The VAE halves the sides once per entry of its list of frame reductions."""
        return 2 ** len(cast(Sequence[bool], self.vae_config["temperal_downsample"]))

    def vae_input(self, values_BCHW: Tensor) -> Tensor:
        """(B, C, F, H, W) with one frame."""
        return values_BCHW.unsqueeze(2)

    def vae_output(self, values: Tensor) -> Tensor:
        """The one frame."""
        return values.squeeze(2)

    def to_model_space(self, latents_BCHW: Tensor) -> Tensor:
        """Each channel with the mean and spread that the VAE's configuration states for it."""
        mean, std = self._statistics(latents_BCHW)
        return (latents_BCHW - mean) / std

    def from_model_space(self, latents_BCHW: Tensor) -> Tensor:
        """The inverse of `to_model_space`."""
        mean, std = self._statistics(latents_BCHW)
        return latents_BCHW * std + mean

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (
            torch.tensor(self.vae_config[name]).view(1, -1, 1, 1).to(like)
            for name in ("latents_mean", "latents_std")
        )
        return mean, std
