"""Qwen-Image-2.1: a single-stream transformer on unpacked latents, and a VAE with an alpha channel.

Positions of the picture follow from the length of the prompt, padding included: diffusers' own answer to a
prompt depends on the longest beside it.  So prompts of different length are asked for apart, and pictures are
drawn one by one.  Photos are opaque (alpha 1), and what is decoded is laid on white: all else here has three
channels.  Shape legend: see `family.py`.
"""

# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, cast

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderKLQwenImage21, QwenImage21Transformer2DModel
from diffusers.image_processor import VaeImageProcessor
from diffusers.pipelines.qwenimage.pipeline_output import QwenImagePipelineOutput
from torch import Tensor
from transformers import PreTrainedTokenizerFast, ProcessorMixin

from portrait_lora.families.apart import by_length
from portrait_lora.families.family import (
    ATTENTION,
    FlowSchedule,
    Geometry,
    LatentMoments,
    LoraLayers,
    PromptCondition,
)
from portrait_lora.families.frame_vae import FrameVae
from portrait_lora.families.one_by_one import each, together
from portrait_lora.families.parts import loaded

_ATTENTION: Final = tuple(f"attn.{layer}" for layer in ATTENTION)
_FEED_FORWARD: Final = ("img_mlp.proj", "img_mlp.gate_layer", "img_mlp.out")
_SLOT: Final = 2
"""The side in latent places of what the transformer counts as one place of its text."""
_CHAT: Final = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% for part in m.content %}{{ part.text }}{% endfor %}<|im_end|>\n{% endfor %}"
)
"""The template by which the pipeline, too, writes its prompts; it counts with it what it must leave out."""


def on_white(values_BCHW: Tensor) -> Tensor:
    """RGBA in [-1, 1] as RGB on a white ground; differentiable."""
    alpha = (values_BCHW[:, 3:] + 1) / 2
    return 1 - (1 - values_BCHW[:, :3]) * alpha


class TextProcessor(ProcessorMixin):
    """The words of the base's processor; the whole needs torchvision, for pictures it is never shown."""

    image_token = "<|image_pad|>"  # by which transformers knows processors that take texts as lists

    def __init__(self, tokenizer: Any):
        super().__init__(tokenizer, chat_template=_CHAT)


class _OnWhite(VaeImageProcessor):
    def postprocess(self, image: Tensor, *args: Any, **more: Any) -> Any:
        return super().postprocess(on_white(image), *args, **more)


class QwenImage21Pipeline(diffusers.QwenImage21Pipeline):
    """Guidance as in every other family, RGB, every picture by itself, and the steps that are asked for.

    An empty negative prompt becomes a space, as its makers do.  Its name, and what it is made of, stay those
    of diffusers, which opens pipelines by them.
    """

    def __init__(
        self,
        scheduler: object,
        vae: object,
        text_encoder: object,
        processor: object,
        transformer: object,
        sample_sigmas: list[float] | None = None,
    ):
        super().__init__(*cast(Any, (scheduler, vae, text_encoder, processor, transformer, sample_sigmas)))
        self.image_processor = _OnWhite(
            vae_scale_factor=self.vae_scale_factor, vae_latent_channels=self.latent_channels
        )

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        prompt: str | Sequence[str],
        *,
        negative_prompt: str | Sequence[str] | None = None,
        guidance_scale: float = 1.0,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 40,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        output_type: str = "pil",
        callback_on_step_end: Any = None,
    ) -> QwenImagePipelineOutput:
        """Draw one picture per prompt, one after the other; see `diffusers.QwenImage21Pipeline.__call__`."""
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        negatives = each(negative_prompt, len(prompts))
        generators = each(generator, len(prompts))
        drawn: list[Any] = []
        for text, negative, source in zip(prompts, negatives, generators, strict=True):
            guided: dict[str, Any] = {"true_cfg_scale": guidance_scale, "negative_prompt": negative or " "}
            answer = super().__call__(
                text,
                height=height,
                width=width,
                num_inference_steps=num_inference_steps,
                sigmas=self._levels(num_inference_steps),
                generator=source,
                output_type=output_type,
                callback_on_step_end=callback_on_step_end,
                **(guided if guidance_scale > 1.0 else {}),
            )
            drawn.append(cast(QwenImagePipelineOutput, answer).images)
        return QwenImagePipelineOutput(images=together(drawn))

    def _levels(self, steps: int) -> list[float]:
        """The distilled weights' own noise levels, for their own number of steps; else evenly spaced."""
        own = cast("Sequence[float] | None", self.config.get("sample_sigmas"))
        if own is not None and len(own) == steps:
            return list(own)
        return np.linspace(1.0, 1 / steps, steps).tolist()


class QwenImage21(FrameVae):
    """The `Family` of Qwen-Image-2.1; its Turbo sibling is for generating only."""

    denoiser_type = QwenImage21Transformer2DModel
    vae_type = AutoencoderKLQwenImage21
    pipeline_type = QwenImage21Pipeline
    patch = 1
    rows_are_pictures = False  # prompts of different length are asked for apart
    lora_layers = LoraLayers(_ATTENTION, (*_ATTENTION, *_FEED_FORWARD))

    @property
    def multiple_px(self) -> int:
        """Latents are not packed, but counted by slots."""
        return self.latent_px * _SLOT

    @cached_property
    def pipeline_options(self) -> Mapping[str, object]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The tokenizer stands in for the processor that it is part of."""
        return {"processor": TextProcessor(self.store.open(PreTrainedTokenizerFast, "processor"))}

    def read_schedule(self) -> FlowSchedule:
        """Straight lines; the shift grows with the picture."""
        return self.store.flow(self.patch)

    def moments(self, pixels_BCHW: Tensor) -> LatentMoments:
        """See `DiffusersFamily.moments`; photos are opaque."""
        return super().moments(torch.cat([pixels_BCHW, torch.ones_like(pixels_BCHW[:, :1])], dim=1))

    def open_decoder(self) -> Callable[[Tensor], Tensor]:
        """See `Family.open_decoder`; on white."""
        decode = super().open_decoder()
        return lambda latents_BCHW: on_white(decode(latents_BCHW))

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> PromptCondition:
        """The last layer's states before its norm, behind the fixed instruction; the mask tells the ends."""
        encoders = loaded(self._encoders, "encoders")
        embeds_BLD, mask_BL, _ = encoders.encode_prompt(list(prompts), device=self.device)
        if mask_BL is None:  # what the pipeline says for prompts of one length
            mask_BL = torch.ones(embeds_BLD.shape[:2], device=self.device)
        return PromptCondition(embeds_BLD, mask_BL.bool())

    def ask(
        self, noisy_BCHW: Tensor, level_B: Tensor, condition: PromptCondition, geometry: Sequence[Geometry]
    ) -> Tensor:
        """Velocity; the picture stands behind the text, whose tokens are asked with a clock at 0."""
        del geometry
        return by_length(self._ask_alike, noisy_BCHW, level_B, condition)

    def _ask_alike(self, noisy_BCHW: Tensor, level_B: Tensor, embeds_BLD: Tensor) -> Tensor:
        """`ask` for prompts of one length, without padding."""
        count, channels, height, width = noisy_BCHW.shape
        places = height * width
        slots = torch.arange(embeds_BLD.shape[1] + places // _SLOT**2, device=noisy_BCHW.device)
        answer = self.denoiser(
            hidden_states=noisy_BCHW.flatten(2).transpose(1, 2),
            timestep=level_B,
            encoder_hidden_states=embeds_BLD,
            img_shapes=[[(1, height, width)]] * count,
            img_mask=(slots >= embeds_BLD.shape[1]).expand(count, -1),
            return_dict=False,
        )
        sequence_BNC = cast(Tensor, answer[0])[:, -places:]
        return sequence_BNC.transpose(1, 2).reshape(count, channels, height, width)
