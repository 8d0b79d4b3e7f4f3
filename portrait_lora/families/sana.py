"""SANA: a linear transformer over latents of 32 pixels a side, with Gemma as text encoder.

Its autoencoder has no spread: the same picture always gives the same latents.  Prompts stand behind an
instruction to make more of them; only the beginning and the last 300 tokens are kept.  Shape legend: see
`family.py`.
"""

# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import wraps
from typing import Any, Final, cast

import diffusers
import torch
from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, SanaTransformer2DModel
from torch import Tensor

from portrait_lora.families.diffusers_family import DiffusersFamily
from portrait_lora.families.family import FlowSchedule, Geometry, LatentMoments, LoraLayers, PromptCondition
from portrait_lora.families.parts import loaded

_ATTENTION: Final = tuple(
    f"attn{n}.{layer}" for n in (1, 2) for layer in ("to_q", "to_k", "to_v", "to_out.0")
)
_INSTRUCTION: Final = "complex_human_instruction"


class SanaPipeline(diffusers.SanaPipeline):
    """diffusers' pipeline in the size that is asked for, not in the nearest of a list.

    Name and signature stay those of diffusers, which finds the pipelines of other tasks by them.
    """

    @wraps(cast(Any, diffusers.SanaPipeline.__call__))
    def __call__(self, *args: Any, **more: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Draw; see `diffusers.SanaPipeline.__call__`."""
        return super().__call__(*args, **{"use_resolution_binning": False, **more})


class Sana(DiffusersFamily):
    """The `Family` of SANA 1.0 and 1.5."""

    denoiser_type = SanaTransformer2DModel
    vae_type = AutoencoderDC
    pipeline_type = SanaPipeline
    guides_in_one_batch = True
    patch = 1
    lora_layers = LoraLayers(_ATTENTION, (*_ATTENTION, "ff.conv_inverted", "ff.conv_point"))

    def read_schedule(self) -> FlowSchedule:
        """Straight lines with the shift of the solver's configuration, which has a name of its own there."""
        config = self.store.config(DPMSolverMultistepScheduler, "scheduler")
        return FlowSchedule(float(config.get("flow_shift") or config.get("shift") or 1.0), None, self.patch)

    @property
    def latent_px(self) -> int:
        """The side of a latent place in pixels."""
        return 2 ** (len(cast(Sequence[int], self.vae_config["encoder_block_out_channels"])) - 1)

    def moments(self, pixels_BCHW: Tensor) -> LatentMoments:
        """The latents, without spread."""
        latents_BCHW = loaded(self._vae, "encoders").encode(pixels_BCHW).latent
        return LatentMoments(latents_BCHW, torch.zeros_like(latents_BCHW))

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> PromptCondition:
        """Gemma's states of the beginning and of the last 299 tokens; the mask tells where the prompt ends.

        The empty prompt, against which the pipeline guides, has no instruction before it.
        """
        encoders = loaded(self._encoders, "encoders")
        call = cast(Any, diffusers.SanaPipeline.__call__)
        instruction = inspect.signature(call).parameters[_INSTRUCTION].default
        rows: list[PromptCondition] = []
        for prompt in prompts:
            more = {_INSTRUCTION: instruction if prompt else None}
            embeds_BLD, mask_BL, *_ = encoders.encode_prompt(prompt, False, device=self.device, **more)
            rows.append(PromptCondition(embeds_BLD, mask_BL.bool()))
        return PromptCondition.batch(rows)

    def ask(
        self, noisy_BCHW: Tensor, level_B: Tensor, condition: PromptCondition, geometry: Sequence[Geometry]
    ) -> Tensor:
        """Velocity; the clock counts to 1000, times what the transformer's configuration says."""
        del geometry
        assert condition.mask_BL is not None
        scale = float(cast(float, self.denoiser_config.get("timestep_scale", 1.0)))
        answer = self.denoiser(
            noisy_BCHW,
            encoder_hidden_states=condition.embeds_BLD,
            encoder_attention_mask=condition.mask_BL,
            timestep=level_B * 1000.0 * scale,
            return_dict=False,
        )
        return cast(Tensor, answer[0])
