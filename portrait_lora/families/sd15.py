"""Stable Diffusion 1.x: CLIP text encoder, AutoencoderKL, UNet2DConditionModel.

The embedded base has the same format at a smaller size.  Shape legend: see `family.py`.
"""

# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# diffusers and transformers are typed in part; what they return is narrowed here, at the border.
from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, cast

from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from torch import Tensor

from portrait_lora import log
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

UNET_LAYERS: Final = (
    *ATTENTION,
    "ff.net.0.proj",
    "ff.net.2",
    "proj_in",
    "proj_out",
    "conv1",
    "conv2",
    "conv_shortcut",
    "time_emb_proj",
)
_log = log.get(__name__)


@lru_cache(maxsize=1024)
def _tell_cut(prompt: str, length: int) -> None:
    """Once per prompt: a text encoder in training reads it in every step."""
    _log.warning("prompt cut after %d tokens: %s", length, prompt)


class SD15(DiffusersFamily):
    """The `Family` of Stable Diffusion 1.x."""

    denoiser_name = "unet"
    denoiser_type = UNet2DConditionModel
    vae_type = AutoencoderKL
    pipeline_type = StableDiffusionPipeline
    guides_in_one_batch = True
    pipeline_options: Mapping[str, object] = {
        "safety_checker": None,
        "feature_extractor": None,
        "image_encoder": None,
        "requires_safety_checker": False,
    }
    solver = DPMSolverMultistepScheduler
    patch = 1
    lora_layers = LoraLayers(ATTENTION, UNET_LAYERS, text=CLIP_ATTENTION)

    def read_schedule(self) -> NoiseSchedule:
        """Variance-preserving; epsilon or v."""
        return self.store.variance_preserving()

    def fits(self, config: Mapping[str, object]) -> bool:
        """SDXL's UNet is of the same class but takes sizes."""
        return config.get("addition_embed_type") is None

    def encode_prompts(self, prompts: Sequence[str]) -> PromptCondition:
        """Last hidden states of the text encoder, padded to the tokenizer's length as in the pipeline."""
        encoders = loaded(self._encoders, "encoders")
        tokenizer, encoder = encoders.tokenizer, encoders.text_encoder
        length = cast(int, tokenizer.model_max_length)
        tokens = tokenizer(
            list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
        full_B = cast(Tensor, tokens["attention_mask"]).all(dim=1)
        for prompt, full in zip(prompts, cast(list[bool], full_B.tolist()), strict=True):
            if full and len(cast(Sequence[int], tokenizer(prompt)["input_ids"])) > length:
                _tell_cut(prompt, length)
        mask_BL: Tensor | None = None
        if getattr(encoder.config, "use_attention_mask", False):
            mask_BL = cast(Tensor, tokens["attention_mask"]).to(self.device)
        ids_BL = cast(Tensor, tokens["input_ids"]).to(self.device)
        return PromptCondition(cast(Tensor, encoder(ids_BL, attention_mask=mask_BL)[0]))

    def ask(
        self, noisy_BCHW: Tensor, level_B: Tensor, condition: PromptCondition, geometry: Sequence[Geometry]
    ) -> Tensor:
        """The UNet's epsilon or v; this family does not look at the geometry."""
        del geometry
        answer = self.denoiser(
            noisy_BCHW, level_B, encoder_hidden_states=condition.embeds_BLD, return_dict=False
        )
        return cast(Tensor, answer[0])
