"""Stable Diffusion 3.5: two CLIP encoders, T5, and a joint transformer that patches the latents itself.

Shape legend: see `family.py`.
"""

# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel, StableDiffusion3Pipeline
from torch import Tensor

from portrait_lora.families.diffusers_family import DiffusersFamily
from portrait_lora.families.family import (
    JOINT_ATTENTION,
    FlowSchedule,
    Geometry,
    LoraLayers,
    PromptCondition,
)
from portrait_lora.families.parts import loaded


class SD35(DiffusersFamily):
    """The `Family` of Stable Diffusion 3.5 medium and large."""

    denoiser_type = SD3Transformer2DModel
    vae_type = AutoencoderKL
    pipeline_type = StableDiffusion3Pipeline
    guides_in_one_batch = True
    pipeline_options: Mapping[str, object] = {"feature_extractor": None, "image_encoder": None}
    lora_layers = LoraLayers(
        JOINT_ATTENTION,
        (*JOINT_ATTENTION, "ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2"),
    )

    def read_schedule(self) -> FlowSchedule:
        """Straight lines with the fixed shift of the scheduler's configuration."""
        return self.store.flow(self.patch)

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> PromptCondition:
        """CLIP states filled up to T5's width, then T5 states; pooled from both CLIP encoders."""
        encoders = loaded(self._encoders, "encoders")
        embeds_BLD, _, pooled_BD, _ = encoders.encode_prompt(
            list(prompts), None, None, device=self.device, do_classifier_free_guidance=False
        )
        return PromptCondition(embeds_BLD, pooled_BD=pooled_BD)

    def ask(
        self, noisy_BCHW: Tensor, level_B: Tensor, condition: PromptCondition, geometry: Sequence[Geometry]
    ) -> Tensor:
        """Velocity; the clock counts to 1000."""
        del geometry
        answer = self.denoiser(
            hidden_states=noisy_BCHW,
            timestep=level_B * 1000.0,
            encoder_hidden_states=condition.embeds_BLD,
            pooled_projections=condition.pooled_BD,
            return_dict=False,
        )
        return cast(Tensor, answer[0])
