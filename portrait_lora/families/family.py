"""What training and generation ask of a base model: six methods, one layout, one sign.

Shape legend: B pictures, C latent channels, H W latent rows and columns (for pixels: picture rows and
columns), L text tokens, D embedding width, T steps of the noise schedule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from portrait_lora.families.catalog import BaseModel
from portrait_lora.records import Adapter

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

Parts = Literal["encoders", "denoiser", "none"]
PredictionType = Literal["epsilon", "v_prediction"]
ADAPTER_NAME: Final = "likeness"
"""The name under which every pipeline knows the loaded adapter."""


@dataclass(frozen=True, slots=True)
class PromptCondition:
    """Encoded prompts, one row each; `mask` and `pooled` are None where a family has none."""

    embeds_BLD: Tensor
    mask_BL: Tensor | None = None
    pooled_BD: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes in pixels, (W, H) and (x, y): of the original, of the crop's corner, of the picture made."""

    original_px: tuple[int, int]
    crop_origin_px: tuple[int, int]
    target_px: tuple[int, int]


@dataclass(frozen=True, slots=True)
class LatentMoments:
    """Mean and standard deviation of the VAE's posterior, before scaling: the raw latent space."""

    mean_BCHW: Tensor
    std_BCHW: Tensor


@dataclass(frozen=True, slots=True)
class NoiseSchedule:
    """The variance-preserving noise process a base was trained with (Ho et al. 2020, eq. 4).

    `alphas_cumprod_T[t]` is the share of signal variance left at timestep t.
    """

    alphas_cumprod_T: Tensor
    prediction_type: PredictionType

    @property
    def steps(self) -> int:
        return int(self.alphas_cumprod_T.shape[0])


@runtime_checkable
class Family(Protocol):
    """A base model as training and generation see it.

    The attributes tell what is loaded and where.  `denoiser_name` is the prefix of the denoiser's keys
    in a LoRA file (`unet`, `transformer`); an accelerator may put its wrapped form in `denoiser`'s place.
    """

    base: BaseModel
    device: torch.device
    denoiser_name: str

    @property
    def denoiser(self) -> nn.Module: ...

    @denoiser.setter
    def denoiser(self, module: nn.Module) -> None: ...

    @property
    def schedule(self) -> NoiseSchedule: ...

    def load(self, parts: Parts) -> None:
        """Load `encoders` (text and VAE) or the `denoiser`; the other part is freed first."""
        ...

    def encode_prompts(self, prompts: Sequence[str]) -> PromptCondition:
        """Prompts to the condition `predict` takes.  Needs `load("encoders")`."""
        ...

    def encode_pixels(self, pixels_BCHW: Tensor) -> LatentMoments:
        """RGB in [-1, 1] to raw posterior moments.  Needs `load("encoders")`."""
        ...

    def to_model_space(self, latents_BCHW: Tensor) -> Tensor:
        """Raw latents to the scale the denoiser works in."""
        ...

    def predict(
        self,
        noisy_BCHW: Tensor,
        noise_level_B: Tensor,
        condition: PromptCondition,
        geometry: Sequence[Geometry],
    ) -> Tensor:
        """The denoiser's answer in the layout of `noisy_BCHW`: epsilon or v as `schedule` says.

        `noise_level_B` is on the family's own axis: integer timesteps for variance-preserving bases.
        """
        ...

    def pipeline(self, adapter: Adapter | None) -> DiffusionPipeline:
        """The diffusers pipeline with the adapter loaded, or bare."""
        ...
