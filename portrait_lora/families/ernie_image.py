"""ERNIE-Image: a single-stream transformer with FLUX.2's autoencoder, and Ministral as text encoder.

Its repository holds a language model beside that rewrites prompts; here prompts stay as they are, and it is
never loaded.  Shape legend: see `family.py`.
"""

# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import wraps
from typing import Any, Final, cast

import diffusers
import torch
from diffusers import ErnieImageTransformer2DModel
from torch import Tensor

from portrait_lora.families.family import FlowSchedule, Geometry, LoraLayers, PromptCondition
from portrait_lora.families.packing import patchify, unpatchify
from portrait_lora.families.parts import loaded
from portrait_lora.families.patch_vae import PatchVae

_ATTENTION: Final = tuple(f"self_attention.{layer}" for layer in ("to_q", "to_k", "to_v", "to_out.0"))
_FEED_FORWARD: Final = ("mlp.gate_proj", "mlp.up_proj", "mlp.linear_fc2")
_EPS: Final = 1e-5


class ErnieImagePipeline(diffusers.ErnieImagePipeline):
    """diffusers' pipeline with the prompt as it was written.

    Name and signature stay those of diffusers, which finds the pipelines of other tasks by them.
    """

    @wraps(cast(Any, diffusers.ErnieImagePipeline.__call__))
    def __call__(self, *args: Any, **more: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Draw; see `diffusers.ErnieImagePipeline.__call__`."""
        return super().__call__(*args, **{"use_pe": False, **more})


class ErnieImage(PatchVae):
    """The `Family` of ERNIE-Image; its Turbo sibling is for generating only."""

    denoiser_type = ErnieImageTransformer2DModel
    pipeline_type = ErnieImagePipeline
    pipeline_options: Mapping[str, object] = {"pe": None, "pe_tokenizer": None}
    rows_are_pictures = False  # the layers between the attentions get tokens first
    lora_layers = LoraLayers(_ATTENTION, (*_ATTENTION, *_FEED_FORWARD))

    def read_schedule(self) -> FlowSchedule:
        """Straight lines with the fixed shift of the scheduler's configuration."""
        return self.store.flow(self.patch)

    def variance_eps(self, vae: Any) -> float:
        """The pipeline's own, whatever the configuration of the VAE says."""
        return _EPS

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> PromptCondition:
        """Last but one hidden states of the bare prompt; the mask tells where it ends."""
        encoders = loaded(self._encoders, "encoders")
        rows = [row[None] for row in encoders.encode_prompt(list(prompts), device=self.device)]
        return PromptCondition.of_whole(rows)

    def ask(
        self, noisy_BCHW: Tensor, level_B: Tensor, condition: PromptCondition, geometry: Sequence[Geometry]
    ) -> Tensor:
        """Velocity; the clock counts to 1000, and a picture's position is the length of its prompt."""
        del geometry
        assert condition.mask_BL is not None
        answer = self.denoiser(
            hidden_states=patchify(noisy_BCHW),
            timestep=level_B * 1000.0,
            text_bth=condition.embeds_BLD,
            text_lens=condition.mask_BL.sum(dim=1),
            return_dict=False,
        )
        return unpatchify(cast(Tensor, answer[0]))
