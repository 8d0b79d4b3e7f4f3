"""HiDream-I1: a mixture of experts that reads four text encoders, one of them layer by layer.

Every block reads a layer of Llama's states of its own, beside the last of T5; CLIP's pooled states go in with
the clock.  Prompts are always 128 tokens long, and their padding is looked at.  Pictures that are not square
are filled up with empty places to the largest size, which are looked at as well.  Llama is published by other
people than the rest.  Shape legend: see `family.py`; K layers of Llama that are read.
"""

# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property, wraps
from typing import Any, Final, cast

import diffusers
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, HiDreamImageTransformer2DModel
from diffusers.models.transformers.transformer_hidream_image import MOEFeedForwardSwiGLU
from diffusers.pipelines.hidream_image.pipeline_hidream_image import calculate_shift
from torch import Tensor, nn
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from portrait_lora.errors import InputError
from portrait_lora.families.diffusers_family import DiffusersFamily
from portrait_lora.families.family import (
    FlowSchedule,
    Geometry,
    LatentMoments,
    LoraLayers,
    PromptCondition,
    Weights,
)
from portrait_lora.families.parts import loaded
from portrait_lora.families.store import DTYPES

_ATTENTION: Final = tuple(
    f"attn1.{layer}{stream}" for layer in ("to_q", "to_k", "to_v", "to_out") for stream in ("", "_t")
)
_FEED_FORWARD: Final = tuple(f"{part}.w{n}" for part in ("ff_i.shared_experts", "ff_t") for n in (1, 2, 3))
_SLACK: Final = 1 + 1e-9
"""Keeps the pipeline's own rounding from taking a step of the grid away."""


def refuse_size(transformer: Mapping[str, Any], height: int, width: int, place_px: int) -> None:
    """`InputError` for a picture (pixels) with more places of `place_px` than the transformer can take."""
    room = math.prod(transformer["max_resolution"]) // transformer["patch_size"] ** 2
    if height != width and (height // place_px) * (width // place_px) > room:
        raise InputError(
            "a picture of this size cannot be given to HiDream",
            got=f"{width} x {height} px",
            needed=f"at most {room * place_px**2:,} pixels unless it is square",
        )


class HiDreamImagePipeline(diffusers.HiDreamImagePipeline):
    """diffusers' pipeline in the size that is asked for, not in the same shape at its own.

    Name and signature stay those of diffusers, which finds the pipelines of other tasks by them.
    """

    @wraps(cast(Any, diffusers.HiDreamImagePipeline.__call__))
    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, *args: Any, height: int | None = None, width: int | None = None, **more: Any
    ) -> Any:
        """Draw; see `diffusers.HiDreamImagePipeline.__call__`.  Raises `InputError` as `refuse_size` does."""
        usual = self.default_sample_size
        if height and width:
            place_px = self.vae_scale_factor * 2
            high, wide = height // place_px * place_px, width // place_px * place_px
            refuse_size(cast("Mapping[str, Any]", self.transformer.config), high, wide, place_px)
            side = math.sqrt(high * wide) / self.vae_scale_factor
            self.default_sample_size = side * _SLACK  # pyright: ignore[reportAttributeAccessIssue]
            height, width = high, wide
        try:
            return super().__call__(*args, height=height, width=width, **more)
        finally:
            self.default_sample_size = usual


class HiDream(DiffusersFamily):
    """The `Family` of HiDream-I1.

    A LoRA changes attention, the feed-forward of the text and the expert that every place of the picture
    passes, not the four experts of which each place takes two: a layer that many places never see would
    learn at another pace, and four times as many weights.
    """

    denoiser_type = HiDreamImageTransformer2DModel
    vae_type = AutoencoderKL
    pipeline_type = HiDreamImagePipeline
    guides_in_one_batch = True
    lora_layers = LoraLayers(_ATTENTION, (*_ATTENTION, *_FEED_FORWARD))

    @property
    def pipeline_options(self) -> Mapping[str, object]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Without Llama, where it does not lie beside the rest."""
        return dict.fromkeys(("text_encoder_4", "tokenizer_4")) if self.base.text_repo else {}

    def borrowed_parts(self, weights: Weights) -> Mapping[str, object]:
        """Llama, where it does not lie beside the rest.

        Raises `InputError` when it is not on this machine.
        """
        if not self.base.text_repo:
            return {}
        dtype = torch.float32 if weights == "float32" else DTYPES["bfloat16"]
        return {
            "text_encoder_4": self.store.open_text(LlamaForCausalLM, dtype=dtype),
            "tokenizer_4": self.store.open_text(PreTrainedTokenizerFast),
        }

    def read_schedule(self) -> FlowSchedule:
        """Straight lines with one shift for all sizes, which the solvers name differently."""
        config = self.store.config(FlowMatchEulerDiscreteScheduler, "scheduler")
        if config.get("use_dynamic_shifting"):
            room = math.prod(self.denoiser_config["max_resolution"]) // self.patch**2
            return FlowSchedule(math.exp(cast(float, calculate_shift(room))), None, self.patch)
        return FlowSchedule(float(config.get("flow_shift") or config.get("shift") or 1.0), None, self.patch)

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """The layers of Llama that any block reads."""
        return tuple(sorted(set(cast("Sequence[int]", self.denoiser_config["llama_layers"]))))

    def moments(self, pixels_BCHW: Tensor) -> LatentMoments:
        """See `DiffusersFamily.moments`; raises `InputError` as `refuse_size` does."""
        height, width = pixels_BCHW.shape[-2:]
        refuse_size(self.denoiser_config, height, width, self.multiple_px)
        return super().moments(pixels_BCHW)

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> PromptCondition:
        """States of T5 and of K layers of Llama side by side (D = T5's width + K × Llama's); CLIP pooled."""
        encoders = loaded(self._encoders, "encoders")
        t5_BLD, _, llama_NBLD, _, pooled_BD, _ = encoders.encode_prompt(
            list(prompts), device=self.device, do_classifier_free_guidance=False
        )
        states = [t5_BLD, *(llama_NBLD[layer] for layer in self.layers)]
        return PromptCondition(torch.cat(cast("list[Tensor]", states), dim=2), pooled_BD=pooled_BD)

    def ask(
        self, noisy_BCHW: Tensor, level_B: Tensor, condition: PromptCondition, geometry: Sequence[Geometry]
    ) -> Tensor:
        """Velocity; the transformer answers its negative, and its clock counts to 1000."""
        del geometry
        _prepare(self.denoiser)
        t5, llama = cast("Sequence[int]", self.denoiser_config["caption_channels"])
        states: Any = condition.embeds_BLD.split([t5, *[llama] * len(self.layers)], dim=2)
        t5_BLD, *layers = cast("tuple[Tensor, ...]", states)
        answer = self.denoiser(
            hidden_states=noisy_BCHW,
            timesteps=level_B * 1000.0,
            encoder_hidden_states_t5=t5_BLD,
            encoder_hidden_states_llama3=dict(zip(self.layers, layers, strict=True)),
            pooled_embeds=condition.pooled_BD,
            return_dict=False,
        )
        return -cast(Tensor, answer[0])


def _prepare(denoiser: nn.Module) -> None:
    """Let gradients pass the experts, and pictures come back as pictures, whatever mode the network is in.

    diffusers' experts cut gradients off unless they are in training mode; the transformer leaves its answer
    in patches when it is.  The gates stay out of that mode: the loss that they reckon there is used nowhere.
    """
    for module in denoiser.modules():
        if isinstance(module, MOEFeedForwardSwiGLU):
            module.training, module.gate.training = True, False
        elif isinstance(module, HiDreamImageTransformer2DModel):
            module.training = False
