"""Krea 2: a single-stream transformer that reads twelve layers of a Qwen3-VL encoder, and Qwen-Image's VAE.

Prompts stand in the middle of a fixed instruction, padded in front of its end; padding has no position and
nobody looks at it, so it is left out here.  Shape legend: see `family.py`; K layers of the text encoder.
"""

# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

import math
from collections.abc import Sequence
from functools import wraps
from typing import Any, Final, cast

import diffusers
import torch
from diffusers import DiffusionPipeline, Krea2Transformer2DModel
from torch import Tensor
from torch.nn.functional import pad

from portrait_lora.families.family import FlowSchedule, Geometry, LoraLayers, PromptCondition
from portrait_lora.families.frame_vae import FrameVae
from portrait_lora.families.packing import pack, positions, unpack
from portrait_lora.families.parts import loaded

_ATTENTION: Final = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0")
_DISTILLED_MU: Final = 1.15
"""The logarithm of the shift of the distilled weights, at every size."""


class Krea2Pipeline(diffusers.Krea2Pipeline):
    """Guidance as in every other family: 1 is none.  Here it is the weight of the difference, 0 is none.

    Name and signature stay those of diffusers, which finds the pipelines of other tasks by them.
    """

    @wraps(cast(Any, diffusers.Krea2Pipeline.__call__))
    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, *args: Any, guidance_scale: float = 4.5, **more: Any
    ) -> Any:
        """Draw; see `diffusers.Krea2Pipeline.__call__`."""
        return super().__call__(*args, guidance_scale=guidance_scale - 1.0, **more)


class Krea2(FrameVae):
    """The `Family` of Krea 2: trained on Raw, generated with Turbo."""

    denoiser_type = Krea2Transformer2DModel
    pipeline_type = Krea2Pipeline
    rows_are_pictures = False  # some blocks get one row per token of text
    lora_layers = LoraLayers(_ATTENTION, (*_ATTENTION, "attn.to_gate", "ff.gate", "ff.up", "ff.down"))

    def read_schedule(self) -> FlowSchedule:
        """Straight lines; the shift grows with the picture, or is fixed for distilled weights."""
        if self.store.config(DiffusionPipeline, None).get("is_distilled"):
            return FlowSchedule(math.exp(_DISTILLED_MU), None, self.patch)
        return self.store.flow(self.patch)

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> PromptCondition:
        """Hidden states of K layers side by side (D = K × width), prompt and end of the instruction."""
        encoders = loaded(self._encoders, "encoders")
        embeds_BLKD, mask_BL = encoders.encode_prompt(list(prompts), device=self.device)
        rows = [states[mask].flatten(1)[None] for states, mask in zip(embeds_BLKD, mask_BL, strict=True)]
        return PromptCondition.of_whole(rows)

    def ask(
        self, noisy_BCHW: Tensor, level_B: Tensor, condition: PromptCondition, geometry: Sequence[Geometry]
    ) -> Tensor:
        """Velocity; positions are (0, row, column) for places and 0 for text."""
        del geometry
        height, width = noisy_BCHW.shape[-2:]
        layers = cast(int, self.denoiser_config["num_text_layers"])
        mask_BL, length = condition.mask_BL, condition.embeds_BLD.shape[1]
        places_N3 = positions(height // 2, width // 2, noisy_BCHW.device)
        answer = self.denoiser(
            hidden_states=pack(noisy_BCHW),
            encoder_hidden_states=condition.embeds_BLD.unflatten(2, (layers, -1)),
            timestep=level_B,
            position_ids=pad(places_N3, (0, 0, length, 0)),
            encoder_attention_mask=None if mask_BL is None or bool(mask_BL.all()) else mask_BL,
            return_dict=False,
        )
        return unpack(cast(Tensor, answer[0]), height, width)
