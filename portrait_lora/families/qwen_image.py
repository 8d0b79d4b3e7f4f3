"""Qwen-Image: a video VAE with a frame axis, a vision-language text encoder, a joint transformer.

Shape legend: see `family.py`.
"""

# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from typing import Any, cast

import diffusers
import torch
from diffusers import QwenImageTransformer2DModel
from torch import Tensor

from portrait_lora.families.family import (
    JOINT_ATTENTION,
    FlowSchedule,
    Geometry,
    LoraLayers,
    PromptCondition,
)
from portrait_lora.families.frame_vae import FrameVae
from portrait_lora.families.packing import pack, unpack
from portrait_lora.families.parts import loaded


class QwenImagePipeline(diffusers.QwenImagePipeline):
    """Guidance as in every other family; this pipeline keeps that name for distilled weights.

    An empty negative prompt becomes a space, as its makers do.  Name and signature stay those of diffusers,
    which finds the pipelines of other tasks by them.
    """

    @wraps(cast(Any, diffusers.QwenImagePipeline.__call__))
    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        *args: Any,
        guidance_scale: float = 4.0,
        negative_prompt: str | list[str] | None = None,
        **more: Any,
    ) -> Any:
        """Draw; see `diffusers.QwenImagePipeline.__call__`."""
        if guidance_scale <= 1.0:
            return super().__call__(*args, true_cfg_scale=1.0, **more)
        wanted = [negative_prompt] if not isinstance(negative_prompt, list) else negative_prompt
        negative = [text or " " for text in wanted]
        prompt = more.get("prompt", args[0] if args else None)
        if isinstance(prompt, list) and len(negative) == 1:
            negative *= len(cast(list[str], prompt))
        return super().__call__(*args, true_cfg_scale=guidance_scale, negative_prompt=negative, **more)


class QwenImage(FrameVae):
    """The `Family` of Qwen-Image."""

    denoiser_type = QwenImageTransformer2DModel
    pipeline_type = QwenImagePipeline
    lora_layers = LoraLayers(
        JOINT_ATTENTION,
        (*JOINT_ATTENTION, "img_mlp.net.0.proj", "img_mlp.net.2", "txt_mlp.net.0.proj", "txt_mlp.net.2"),
    )

    def read_schedule(self) -> FlowSchedule:
        """Straight lines; the shift grows with the picture."""
        return self.store.flow(self.patch)

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> PromptCondition:
        """Last hidden states behind the fixed instruction; the mask tells where each prompt ends."""
        encoders = loaded(self._encoders, "encoders")
        embeds_BLD, mask_BL = encoders.encode_prompt(list(prompts), device=self.device)
        if mask_BL is None:  # what the pipeline says for prompts of one length
            mask_BL = torch.ones(embeds_BLD.shape[:2], device=self.device)
        return PromptCondition(embeds_BLD, mask_BL.bool())

    def ask(
        self, noisy_BCHW: Tensor, level_B: Tensor, condition: PromptCondition, geometry: Sequence[Geometry]
    ) -> Tensor:
        """Velocity; the transformer is told the frame, rows and columns of the packed latents.

        References stand behind the picture, each as a frame of its own.
        """
        del geometry
        height, width = noisy_BCHW.shape[-2:]
        mask_BL, shown = condition.mask_BL, [noisy_BCHW, *condition.references]
        places = [(1, one.shape[-2] // 2, one.shape[-1] // 2) for one in shown]
        answer = self.denoiser(
            hidden_states=torch.cat([pack(one) for one in shown], dim=1),
            timestep=level_B,
            encoder_hidden_states=condition.embeds_BLD,
            encoder_hidden_states_mask=None if mask_BL is None or bool(mask_BL.all()) else mask_BL,
            img_shapes=[places] * noisy_BCHW.shape[0],
            return_dict=False,
        )
        return unpack(cast(Tensor, answer[0])[:, : height * width // 4], height, width)
