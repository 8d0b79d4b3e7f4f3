"""FLUX.1: CLIP and T5 text encoders and a transformer over 2×2 packed latents that may embed its guidance.

Shape legend: see `family.py`.
"""

# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

import torch
from diffusers import AutoencoderKL, FluxPipeline, FluxTransformer2DModel
from torch import Tensor

from portrait_lora.families.diffusers_family import DiffusersFamily
from portrait_lora.families.family import (
    JOINT_ATTENTION,
    FlowSchedule,
    Geometry,
    LoraLayers,
    PromptCondition,
)
from portrait_lora.families.packing import pack, positions, unpack
from portrait_lora.families.parts import loaded

_GUIDANCE: Final = 1.0
"""The strength told to distilled weights in training: none, as the trainers of this family agree on."""


class Flux1(DiffusersFamily):
    """The `Family` of FLUX.1 dev and schnell."""

    denoiser_type = FluxTransformer2DModel
    vae_type = AutoencoderKL
    pipeline_type = FluxPipeline
    lora_layers = LoraLayers(
        JOINT_ATTENTION,
        (
            *JOINT_ATTENTION,
            "ff.net.0.proj",
            "ff.net.2",
            "ff_context.net.0.proj",
            "ff_context.net.2",
            "proj_mlp",
        ),
    )

    def read_schedule(self) -> FlowSchedule:
        """Straight lines; the shift grows with the picture (dev) or is none (schnell)."""
        return self.store.flow(self.patch)

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> PromptCondition:
        """T5 states padded to 512 tokens; pooled from CLIP."""
        encoders = loaded(self._encoders, "encoders")
        embeds_BLD, pooled_BD, _ = encoders.encode_prompt(list(prompts), None, device=self.device)
        return PromptCondition(embeds_BLD, pooled_BD=pooled_BD)

    def ask(
        self, noisy_BCHW: Tensor, level_B: Tensor, condition: PromptCondition, geometry: Sequence[Geometry]
    ) -> Tensor:
        """Velocity; positions are (0, row, column) for places and 0 for text."""
        del geometry
        height, width = noisy_BCHW.shape[-2:]
        guided = self.denoiser_config["guidance_embeds"]
        guidance_B = torch.full_like(level_B, _GUIDANCE, dtype=torch.float32) if guided else None
        answer = self.denoiser(
            hidden_states=pack(noisy_BCHW),
            timestep=level_B,
            guidance=guidance_B,
            pooled_projections=condition.pooled_BD,
            encoder_hidden_states=condition.embeds_BLD,
            txt_ids=condition.embeds_BLD.new_zeros(condition.embeds_BLD.shape[1], 3),
            img_ids=positions(height // 2, width // 2, noisy_BCHW.device),
            return_dict=False,
        )
        return unpack(cast(Tensor, answer[0]), height, width)
