"""Stable Diffusion XL: two CLIP text encoders and a UNet that is told the sizes of the picture.

Shape legend: see `family.py`.
"""

# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import Tensor

from portrait_lora.families.diffusers_family import DiffusersFamily
from portrait_lora.families.family import (
    ATTENTION,
    CLIP_ATTENTION,
    Geometry,
    LoraLayers,
    NoiseSchedule,
    PromptCondition,
)
from portrait_lora.families.parts import loaded
from portrait_lora.families.sd15 import UNET_LAYERS


class SDXL(DiffusersFamily):
    """The `Family` of Stable Diffusion XL.

    Its identity block is the one that Frenkel et al. 2024 (B-LoRA, section 4.1) found to hold the content.
    """

    denoiser_name = "unet"
    denoiser_type = UNet2DConditionModel
    vae_type = AutoencoderKL
    pipeline_type = StableDiffusionXLPipeline
    guides_in_one_batch = True
    pipeline_options: Mapping[str, object] = {
        "feature_extractor": None,
        "image_encoder": None,
        "add_watermarker": False,
    }
    solver = DPMSolverMultistepScheduler
    patch = 1
    lora_layers = LoraLayers(ATTENTION, UNET_LAYERS, ("up_blocks.0.attentions.0",), CLIP_ATTENTION)

    def read_schedule(self) -> NoiseSchedule:
        """Variance-preserving; epsilon, or v for some fine-tunes."""
        return self.store.variance_preserving()

    def fits(self, config: Mapping[str, object]) -> bool:
        """SD 1.x has a UNet of the same class that takes no sizes."""
        return config.get("addition_embed_type") == "text_time"

    def encode_prompts(self, prompts: Sequence[str]) -> PromptCondition:
        """Last but one hidden states of both encoders side by side; pooled from the second."""
        encoders = loaded(self._encoders, "encoders")
        embeds_BLD, _, pooled_BD, _ = encoders.encode_prompt(
            list(prompts), device=self.device, do_classifier_free_guidance=False
        )
        return PromptCondition(embeds_BLD, pooled_BD=pooled_BD)

    def ask(
        self, noisy_BCHW: Tensor, level_B: Tensor, condition: PromptCondition, geometry: Sequence[Geometry]
    ) -> Tensor:
        """The UNet's epsilon or v, given original size, crop origin and target size as (y, x) pairs.

        Podell et al. 2023, section 2.2.
        """
        sizes_B6 = torch.tensor(
            [
                [*reversed(g.original_px), *reversed(g.crop_origin_px), *reversed(g.target_px)]
                for g in geometry
            ],
            dtype=condition.embeds_BLD.dtype,
            device=noisy_BCHW.device,
        )
        answer = self.denoiser(
            noisy_BCHW,
            level_B,
            encoder_hidden_states=condition.embeds_BLD,
            added_cond_kwargs={"text_embeds": condition.pooled_BD, "time_ids": sizes_B6},
            return_dict=False,
        )
        return cast(Tensor, answer[0])
