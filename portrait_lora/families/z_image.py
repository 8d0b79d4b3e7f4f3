"""Z-Image: a single-stream transformer with a Qwen3 text encoder.

Its clock runs from noise (0) to picture (1) and its answer points from noise to picture: both are turned
round here.  Pictures and prompts go in as lists, one entry each.  Shape legend: see `family.py`.
"""

# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from typing import Any, cast

import diffusers
import torch
from diffusers import AutoencoderKL, ZImageTransformer2DModel
from torch import Tensor

from portrait_lora.families.diffusers_family import DiffusersFamily
from portrait_lora.families.family import FlowSchedule, Geometry, LoraLayers, PromptCondition
from portrait_lora.families.parts import loaded

_ATTENTION = ("attention.to_q", "attention.to_k", "attention.to_v", "attention.to_out.0")


class ZImagePipeline(diffusers.ZImagePipeline):
    """Guidance as in every other family: 1 is none.  Here it is the weight of the difference, 0 is none.

    Name and signature stay those of diffusers, which finds the pipelines of other tasks by them.
    """

    @wraps(cast(Any, diffusers.ZImagePipeline.__call__))
    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, *args: Any, guidance_scale: float = 5.0, **more: Any
    ) -> Any:
        """Draw; see `diffusers.ZImagePipeline.__call__`."""
        return super().__call__(*args, guidance_scale=guidance_scale - 1.0, **more)


class ZImage(DiffusersFamily):
    """The `Family` of Z-Image; its Turbo sibling is for generating only."""

    denoiser_type = ZImageTransformer2DModel
    vae_type = AutoencoderKL
    pipeline_type = ZImagePipeline
    lora_layers = LoraLayers(
        _ATTENTION, (*_ATTENTION, "feed_forward.w1", "feed_forward.w2", "feed_forward.w3")
    )

    def read_schedule(self) -> FlowSchedule:
        """Straight lines with the fixed shift of the scheduler's configuration."""
        return self.store.flow(self.patch)

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> PromptCondition:
        """Last but one hidden states inside the chat template; the mask tells where each prompt ends."""
        encoders = loaded(self._encoders, "encoders")
        rows, _ = encoders.encode_prompt(list(prompts), device=self.device, do_classifier_free_guidance=False)
        masks = [torch.ones(1, row.shape[0], dtype=torch.bool, device=self.device) for row in rows]
        return PromptCondition.batch(
            [PromptCondition(row[None], mask) for row, mask in zip(rows, masks, strict=True)]
        )

    def ask(
        self, noisy_BCHW: Tensor, level_B: Tensor, condition: PromptCondition, geometry: Sequence[Geometry]
    ) -> Tensor:
        """Velocity; the transformer is asked at 1 - sigma and its answer negated."""
        del geometry
        assert condition.mask_BL is not None
        embeds = [row[mask.bool()] for row, mask in zip(condition.embeds_BLD, condition.mask_BL, strict=True)]
        answer = self.denoiser(
            list(noisy_BCHW.unsqueeze(2).unbind(0)), 1.0 - level_B, embeds, return_dict=False
        )[0]
        return -torch.stack(list(answer)).squeeze(2)
