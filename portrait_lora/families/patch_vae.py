"""The VAE of FLUX.2, which ERNIE-Image has as well: statistics by place within each 2×2 patch.

Shape legend: see `family.py`.
"""

# pyright: reportPrivateImportUsage=false
from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from diffusers import AutoencoderKLFlux2
from torch import Tensor

from portrait_lora.families.diffusers_family import DiffusersFamily
from portrait_lora.families.packing import patchify, unpatchify


class PatchVae(DiffusersFamily):
    """What the families with this VAE have in common."""

    vae_type = AutoencoderKLFlux2

    def variance_eps(self, vae: Any) -> float:
        """Added to the variances of the patches: as the VAE's configuration says."""
        return float(vae.config.batch_norm_eps)

    @cached_property
    def _statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and spread of the 4 C patch channels; weights of the VAE, so it is opened for a moment."""
        vae = self.open_vae() if self._vae is None else self._vae
        spread = torch.sqrt(vae.bn.running_var + self.variance_eps(vae))
        return vae.bn.running_mean.detach().cpu().clone(), spread.detach().cpu().clone()

    def to_model_space(self, latents_BCHW: Tensor) -> Tensor:
        """Each place of each 2×2 patch with its own mean and spread."""
        mean, std = (value.view(1, -1, 1, 1).to(latents_BCHW) for value in self._statistics)
        return unpatchify((patchify(latents_BCHW) - mean) / std)

    def from_model_space(self, latents_BCHW: Tensor) -> Tensor:
        """The inverse of `to_model_space`."""
        mean, std = (value.view(1, -1, 1, 1).to(latents_BCHW) for value in self._statistics)
        return unpatchify(patchify(latents_BCHW) * std + mean)
