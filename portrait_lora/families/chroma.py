"""Chroma: FLUX.1's transformer pruned, with T5 alone as text encoder and padding that nobody may look at.

It was trained with prompts of their own length and one token of padding behind.  diffusers' pipeline gives
its masks as numbers, which torch adds to the scores instead of leaving places out (its issue 13619), and its
transformer forgets the mask of a recomputed single-stream block.  So padding is cut off here, and prompts of
different length are asked for apart.  Shape legend: see `family.py`.
"""

# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import diffusers
import torch
from diffusers import AutoencoderKL, ChromaTransformer2DModel
from torch import Tensor

from portrait_lora.families.apart import by_length
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

_FEED_FORWARD: Final = ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2", "proj_mlp")


class ChromaPipeline(diffusers.ChromaPipeline):
    """diffusers' pipeline with masks that mask.  Its name stays, by which other pipelines are looked up."""

    def _get_t5_prompt_embeds(self, *args: Any, **more: Any) -> tuple[Tensor, Tensor]:
        """States and mask (bool) up to the longest prompt and one token of padding."""
        states_BLD, mask_BL = super()._get_t5_prompt_embeds(*args, **more)
        mask_BL = mask_BL.bool()
        longest = int(mask_BL.sum(dim=1).max())
        return states_BLD[:, :longest], mask_BL[:, :longest]

    def _prepare_attention_mask(self, *args: Any, **more: Any) -> Tensor | None:
        """None where there is nothing to mask."""
        mask: Tensor | None = super()._prepare_attention_mask(*args, **more)
        return None if mask is None or bool(mask.all()) else mask


class Chroma(DiffusersFamily):
    """The `Family` of Chroma1."""

    denoiser_type = ChromaTransformer2DModel
    vae_type = AutoencoderKL
    pipeline_type = ChromaPipeline
    rows_are_pictures = False  # prompts of different length are asked for apart
    pipeline_options: Mapping[str, object] = {"feature_extractor": None, "image_encoder": None}
    lora_layers = LoraLayers(JOINT_ATTENTION, (*JOINT_ATTENTION, *_FEED_FORWARD))

    def read_schedule(self) -> FlowSchedule:
        """Straight lines with the shift of the scheduler's configuration."""
        return self.store.flow(self.patch)

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> PromptCondition:
        """T5 states of the prompt and of one token of padding; the mask tells where that ends."""
        encoders = loaded(self._encoders, "encoders")
        embeds_BLD, _, mask_BL, *_ = encoders.encode_prompt(
            list(prompts), device=self.device, do_classifier_free_guidance=False
        )
        return PromptCondition(embeds_BLD, mask_BL)

    def ask(
        self, noisy_BCHW: Tensor, level_B: Tensor, condition: PromptCondition, geometry: Sequence[Geometry]
    ) -> Tensor:
        """Velocity; positions are (0, row, column) for places and 0 for text."""
        del geometry
        return by_length(self._ask_alike, noisy_BCHW, level_B, condition)

    def _ask_alike(self, noisy_BCHW: Tensor, level_B: Tensor, embeds_BLD: Tensor) -> Tensor:
        """`ask` for prompts of one length, without padding."""
        height, width = noisy_BCHW.shape[-2:]
        answer = self.denoiser(
            hidden_states=pack(noisy_BCHW),
            timestep=level_B,
            encoder_hidden_states=embeds_BLD,
            txt_ids=embeds_BLD.new_zeros(embeds_BLD.shape[1], 3),
            img_ids=positions(height // 2, width // 2, noisy_BCHW.device),
            return_dict=False,
        )
        return unpack(cast(Tensor, answer[0]), height, width)
