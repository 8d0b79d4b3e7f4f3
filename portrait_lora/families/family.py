"""What training and generation ask of a base model: a few methods, one layout, one sign.

Decisions that hold for all families:

- Two noise processes.  `schedule` is a `NoiseSchedule` (variance-preserving: sd15, sdxl) or a `FlowSchedule`
  (straight lines: all others); `isinstance` tells them apart.
- One noise axis per process, one sign.  `predict` takes integer timesteps and answers epsilon or v, or it
  takes sigma in [0, 1] (float; 1 is pure noise) and answers the velocity, noise - latents.  Reversed time
  and negated outputs (Z-Image) stay inside the family.
- One layout.  Raw latents, model space, noise and the answer of `predict` all have the VAE's shape
  (B, C, H, W): `to_model_space` never changes it.  Packing, patchifying and frame axes stay inside.
- Prompts.  `embeds_BLD` always; `mask_BL` (True where there is a token) where prompts differ in length;
  `pooled_BD` where the family has one.  Cached rows are batched with `PromptCondition.batch`, which pads.
- References.  Pictures shown in context beside a prompt are latents in model space, in the condition; only
  families whose row has `references` look at them.  Where it has `references_in_text` the prompt's embedding
  depends on them as well, and is never used beside others.
- Precision.  `weights` says how the frozen weights are held; it may be set before `load`.  `predict` takes
  and gives float32 whatever it is, so the loss never sees it.

Shape legend: B pictures, C latent channels, H W latent rows and columns (for pixels: picture rows and
columns), L text tokens, D embedding width, T steps of the noise schedule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from portrait_lora.families.catalog import BaseModel
from portrait_lora.families.tensor_files import TensorFiles
from portrait_lora.records import Adapter

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline
    from PIL.Image import Image

Parts = Literal["encoders", "denoiser", "denoiser_and_text", "none"]
PredictionType = Literal["epsilon", "v_prediction"]
Weights = Literal["float32", "bfloat16", "float16", "int8", "nf4"]
"""How frozen weights are held; int8 and nf4 (bitsandbytes) concern the denoiser; the rest is bfloat16."""
ADAPTER_NAME: Final = "likeness"
"""The name under which every pipeline knows the loaded adapter."""
ATTENTION: Final = ("to_q", "to_k", "to_v", "to_out.0")
"""The layers of an attention as diffusers names them."""
JOINT_ATTENTION: Final = (*ATTENTION, "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
"""The same where picture and text attend to each other."""
CLIP_ATTENTION: Final = ("q_proj", "k_proj", "v_proj", "out_proj")
"""The same in a CLIP text encoder as transformers names them."""


@dataclass(frozen=True, slots=True)
class PromptCondition:
    """Encoded prompts, one row each; `mask` and `pooled` are None where a family has none.

    `references` are what every row is shown in context, in order: (B, C, H, W) each, in model space, of
    any size.
    """

    embeds_BLD: Tensor
    mask_BL: Tensor | None = None
    pooled_BD: Tensor | None = None
    references: tuple[Tensor, ...] = ()

    @staticmethod
    def of_whole(rows: Sequence[Tensor]) -> PromptCondition:
        """Of prompts (1, L, D) without padding; the mask tells where each ends."""
        masks = [torch.ones(row.shape[:2], dtype=torch.bool, device=row.device) for row in rows]
        return PromptCondition.batch([PromptCondition(r, m) for r, m in zip(rows, masks, strict=True)])

    @staticmethod
    def batch(rows: Sequence[PromptCondition]) -> PromptCondition:
        """The rows of several conditions of one family under each other, padded to the longest.

        Raises `ValueError` when rows without a mask differ in length, or rows are shown references of
        other sizes.
        """
        length = max(row.embeds_BLD.shape[1] for row in rows)
        masks = [row.mask_BL for row in rows if row.mask_BL is not None]
        if not masks and any(row.embeds_BLD.shape[1] != length for row in rows):
            raise ValueError("prompts of different length need a mask")
        pooled = [row.pooled_BD for row in rows if row.pooled_BD is not None]
        if len({tuple(one.shape[1:] for one in row.references) for row in rows}) > 1:
            raise ValueError("rows of one batch are shown references of the same sizes")
        return PromptCondition(
            torch.cat([_padded(row.embeds_BLD, length) for row in rows]),
            torch.cat([_padded(mask, length) for mask in masks]) if masks else None,
            torch.cat(pooled) if pooled else None,
            tuple(torch.cat(same) for same in zip(*(row.references for row in rows), strict=True)),
        )

    def to(self, device: torch.device) -> PromptCondition:
        """The same on another device."""
        mask, pooled = self.mask_BL, self.pooled_BD
        return PromptCondition(
            self.embeds_BLD.to(device),
            None if mask is None else mask.to(device),
            None if pooled is None else pooled.to(device),
            tuple(one.to(device) for one in self.references),
        )


def _padded(rows: Tensor, length: int) -> Tensor:
    """Rows (B, L, ...) filled up with zeros at the end."""
    missing = rows.new_zeros(rows.shape[0], length - rows.shape[1], *rows.shape[2:])
    return torch.cat([rows, missing], dim=1)


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


@dataclass(frozen=True, slots=True)
class FlowSchedule:
    """Straight lines from picture to noise: x = (1 - sigma) x_0 + sigma noise, velocity = noise - x_0.

    Lipman et al. 2023; Esser et al. 2024, section 2.  Sampling spends more time near the noise the larger
    the picture: sigma' = s sigma / (1 + (s - 1) sigma) (Esser et al. 2024, eq. 23).  `shift` is the fixed
    s of the base's scheduler; where `token_shift` is given, s = exp(mu) with mu linear in the number of
    tokens: (tokens, mu, tokens, mu), two points of the line.  `patch` is the side of a token in latents.
    """

    shift: float = 1.0
    token_shift: tuple[float, float, float, float] | None = None
    patch: int = 1
    prediction_type: Literal["velocity"] = "velocity"

    def shift_for(self, height: int, width: int) -> float:
        """s for latents of this size."""
        if self.token_shift is None:
            return self.shift
        tokens0, mu0, tokens1, mu1 = self.token_shift
        tokens = (height // self.patch) * (width // self.patch)
        return math.exp(mu0 + (mu1 - mu0) * (tokens - tokens0) / (tokens1 - tokens0))


@dataclass(frozen=True, slots=True)
class LoraLayers:
    """Layers of the denoiser that a LoRA may change, as endings of module names (`to_q`, `ff.net.2`).

    `everything` adds the layers between the attentions.  `identity_blocks` are beginnings of names: the
    blocks that carry who is shown rather than how; empty where nobody has published them.  `text` are layers
    of the text encoders; empty where these are language models that nobody trains along.
    """

    attention: tuple[str, ...]
    everything: tuple[str, ...]
    identity_blocks: tuple[str, ...] = ()
    text: tuple[str, ...] = ()


@runtime_checkable
class Family(Protocol):
    """A base model as training and generation see it.

    The attributes tell what is loaded and where.  `denoiser_name` is the prefix of the denoiser's keys
    in a LoRA file (`unet`, `transformer`); an accelerator may put its wrapped form in `denoiser`'s place.
    `multiple_px` divides both sides of every picture the family can take.  `streamed` may be set before
    `load`: then the frozen blocks of the denoiser do not go to the device but stay on the host, or, without a
    GPU, in their files: `files`, and the blocks' parameters are on the meta device.
    """

    base: BaseModel
    device: torch.device
    denoiser_name: str
    weights: Weights
    streamed: bool
    files: TensorFiles | None
    lora_layers: LoraLayers

    @property
    def multiple_px(self) -> int: ...

    @property
    def latent_px(self) -> int:
        """The side of a latent place in pixels."""
        ...

    @property
    def denoiser(self) -> nn.Module: ...

    @denoiser.setter
    def denoiser(self, module: nn.Module) -> None: ...

    def text_encoders(self) -> Mapping[str, nn.Module]:
        """The loaded ones by their names in the pipeline, with which their keys in a LoRA file begin."""
        ...

    @property
    def schedule(self) -> NoiseSchedule | FlowSchedule: ...

    def load(self, parts: Parts) -> None:
        """Load `encoders` (text and VAE) or the `denoiser`; the other part is freed first.

        `denoiser_and_text` is for training both: only the VAE is freed.
        """
        ...

    def encode_prompts(self, prompts: Sequence[str]) -> PromptCondition:
        """Prompts to the condition `predict` takes.  Needs the text encoders; frozen unless they were made
        to require gradients."""
        ...

    def encode_prompts_beside(self, prompts: Sequence[str], pictures: Sequence[Image]) -> PromptCondition:
        """`encode_prompts` by a text encoder that sees what is shown in context: whole, RGB, in order, the
        same beside every prompt.  The condition's `references` are left to the caller.

        Asked only where the family's row has `references_in_text`.
        """
        ...

    def encode_pixels(self, pixels_BCHW: Tensor) -> LatentMoments:
        """RGB in [-1, 1] to raw posterior moments.  Needs `load("encoders")`."""
        ...

    def shown_pixels(self, picture: Image) -> Tensor:
        """(1, 3, H, W) in [-1, 1]: a reference as the family's pipeline gives it to the VAE.

        Asked only where the family's row has `references`.  Raises `InputError` for a picture that it does
        not take.
        """
        ...

    def to_model_space(self, latents_BCHW: Tensor) -> Tensor:
        """Raw latents to the scale the denoiser works in; the shape stays."""
        ...

    def open_decoder(self) -> Callable[[Tensor], Tensor]:
        """A decoder of its own: latents in model space to RGB in about [-1, 1], differentiable, in float32.

        Whatever is loaded or freed afterwards, it stays as long as it is held.
        """
        ...

    def predict(
        self,
        noisy_BCHW: Tensor,
        noise_level_B: Tensor,
        condition: PromptCondition,
        geometry: Sequence[Geometry],
    ) -> Tensor:
        """The denoiser's answer in the layout of `noisy_BCHW`: epsilon, v or velocity as `schedule` says.

        `noise_level_B`: integer timesteps with a `NoiseSchedule`, sigma in [0, 1] with a `FlowSchedule`.
        Differentiable; gradients reach whatever parameters of the denoiser require them.
        """
        ...

    def pipeline(self, adapter: Adapter | None, weights: Weights | None = None) -> DiffusionPipeline:
        """The diffusers pipeline with the adapter loaded, or bare; its denoiser held as `weights` says.

        None: as when the family was opened, whatever its own `weights` is by now: how a training held the
        base must not decide what is drawn after it in the same process.
        """
        ...
