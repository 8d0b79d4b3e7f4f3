"""What diffusers' own pipelines compute, in the families' one layout and sign; nothing of ours computes."""

# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, Final, cast

import torch
from diffusers import (
    ChromaPipeline,
    DiffusionPipeline,
    Flux2Pipeline,
    HiDreamImagePipeline,
    QwenImage21Pipeline,
    QwenImageEditPlusPipeline,
)
from PIL.Image import Image
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Tokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from portrait_lora.families.qwen_image21 import TextProcessor
from portrait_lora.families.qwen_image_edit import PhotoProcessor

DOWN: Final = 8
"""Pixels per latent place, in most families."""
PROMPT_WRITERS: Final = ("pe", "pe_tokenizer")
"""Parts of a pipeline that are not fetched: they would write another prompt."""


@dataclass(frozen=True, slots=True)
class Observed:
    """One run: the denoiser's first input and output, the clock, and what was decoded at the end."""

    noisy: Tensor
    timestep: Tensor
    answer: Tensor
    timesteps: Tensor
    drawn: Tensor  # the last latents in model space
    decoded: Tensor  # the same as they reached the VAE


def plain_pipeline(
    source: str,
    *,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    revision: str = "main",
    text: tuple[str, str] = ("", ""),
) -> Any:
    """A folder or a fetched repository as diffusers opens it.

    `text`: repository and revision of the language model that HiDream reads, where it is not in the folder.
    """
    there: dict[str, Any] = {"local_files_only": True, "revision": revision}
    index: Any = DiffusionPipeline.load_config(source, **there)
    dev = index["_class_name"] == Flux2Pipeline.__name__
    parts: dict[str, Any] = {name: None for name in PROMPT_WRITERS if name in index}
    parts |= {"tokenizer": None} if dev else {}
    if index["_class_name"] == QwenImage21Pipeline.__name__:  # its processor needs torchvision as well
        words = PreTrainedTokenizerFast.from_pretrained(source, subfolder="processor", **there)
        parts |= {"processor": TextProcessor(words)}
    if index["_class_name"] == QwenImageEditPlusPipeline.__name__:
        there_too: dict[str, Any] = {"subfolder": "processor", **there}
        photos = Qwen2VLImageProcessorPil.from_pretrained(source, **there_too)
        parts |= {"processor": PhotoProcessor(photos, Qwen2Tokenizer.from_pretrained(source, **there_too))}
    if text[0]:
        llama: dict[str, Any] = {"local_files_only": True, "revision": text[1]}
        parts["text_encoder_4"] = LlamaForCausalLM.from_pretrained(text[0], dtype=dtype, **llama)
        parts["tokenizer_4"] = PreTrainedTokenizerFast.from_pretrained(text[0], **llama)
    pipe: Any = DiffusionPipeline.from_pretrained(source, dtype=dtype, use_safetensors=True, **there, **parts)
    if dev:  # its processor needs torchvision, for pictures that nobody shows it here
        words = PreTrainedTokenizerFast.from_pretrained(source, subfolder="tokenizer", **there)
        pipe.register_modules(tokenizer=words)
    if isinstance(pipe, ChromaPipeline):  # its masks are numbers, which torch adds instead of masking by them
        _mask_by_truth(pipe)
    if isinstance(pipe, cast(Any, QwenImageEditPlusPipeline)):
        _place_photos(pipe)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)


def _mask_by_truth(pipe: Any) -> None:
    """Let the pipeline's masks leave places out, as its makers meant (diffusers' issue 13619)."""
    prepare = pipe._prepare_attention_mask

    def as_truth(*args: Any, **more: Any) -> Any:
        mask = prepare(*args, **more)
        return None if mask is None else mask.bool()

    pipe._prepare_attention_mask = as_truth


def _place_photos(pipe: Any) -> None:
    """Let the text encoder know which tokens are a photo's, as its makers meant (diffusers' issue 14194)."""
    ask = pipe.text_encoder.forward

    def placed(input_ids: Tensor, **more: Any) -> Any:
        of_photos = input_ids == pipe.text_encoder.config.image_token_id
        return ask(input_ids=input_ids, mm_token_type_ids=of_photos.int(), **more)

    pipe.text_encoder.forward = placed


def to_layout(pipe: Any, latents: Tensor) -> Tensor:
    """(B, C, H, W) as the pipeline takes its starting noise: patched, packed, or as it is."""
    if hasattr(pipe, "_patchify_latents"):
        return pipe._patchify_latents(latents)
    return pipe._pack_latents(latents, *latents.shape) if hasattr(pipe, "_pack_latents") else latents


def from_layout(pipe: Any, latents: Tensor, shape: torch.Size, down_px: int = DOWN) -> Tensor:
    """What the scheduler of the pipeline sees, as (B, C, H, W)."""
    height, width = shape[-2:]
    if hasattr(pipe, "_unpatchify_latents"):
        if latents.dim() == 3:
            latents = latents.transpose(1, 2).reshape(shape[0], -1, height // 2, width // 2)
        return pipe._unpatchify_latents(latents)
    if not hasattr(pipe, "_unpack_latents"):
        return latents
    down = [down_px] if "vae_scale_factor" in signature(pipe._unpack_latents).parameters else []
    plain: Tensor = pipe._unpack_latents(latents, height * down_px, width * down_px, *down)
    return plain.squeeze(2) if plain.dim() == 5 else plain  # one frame of a video


def observe(
    pipe: Any,
    prompts: list[str],
    noise: Tensor,
    unguided: Mapping[str, float],
    down_px: int = DOWN,
    shown: Sequence[Image] = (),
) -> Observed:
    """Run `pipe` for three steps without guidance and watch denoiser, scheduler and VAE.

    `noise` is (B, C, H, W); `unguided` are the arguments that leave guidance out (`FamilyRow.unguided`);
    `shown` are photos in context.
    """
    evaluated: list[tuple[Tensor, Tensor, Tensor]] = []
    stepped: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    decoded: list[Tensor] = []
    step, decode = pipe.scheduler.step, pipe.vae.decode

    def watch_step(answer: Tensor, timestep: Tensor, sample: Tensor, **arguments: Any) -> Any:
        result = step(answer, timestep, sample, **arguments)
        stepped.append((sample, timestep, answer, result[0]))
        return result

    def watch_decode(latents: Tensor, **arguments: Any) -> Any:
        decoded.append(latents)
        return decode(latents, **arguments)

    if hasattr(pipe, "unet"):  # its scheduler scales what the network is shown
        ask = pipe.unet.forward

        def watch_unet(sample: Tensor, timestep: Tensor, **arguments: Any) -> Any:
            result = ask(sample, timestep, **arguments)
            evaluated.append((sample, timestep, result[0]))
            return result

        pipe.unet.forward = watch_unet
    pipe.scheduler.step, pipe.vae.decode = watch_step, watch_decode
    height, width = (side * down_px for side in noise.shape[-2:])
    if isinstance(pipe, cast(Any, HiDreamImagePipeline)):  # it draws all pictures as large as this square
        pipe.default_sample_size = math.sqrt(height * width) / down_px * (1 + 1e-9)
    pipe(
        prompt=prompts,
        latents=to_layout(pipe, noise.clone()),
        num_inference_steps=3,
        height=height,
        width=width,
        output_type="pt",
        **unguided,
        **({"image": list(shown)} if shown else {}),
    )
    sample, timestep, answer = evaluated[0] if evaluated else stepped[0][:3]
    return Observed(
        from_layout(pipe, sample, noise.shape, down_px),
        timestep,
        from_layout(pipe, answer, noise.shape, down_px),
        torch.stack([torch.as_tensor(row[1]) for row in stepped]),
        from_layout(pipe, stepped[-1][3], noise.shape, down_px),
        decoded[0].squeeze(2) if decoded[0].dim() == 5 else decoded[0],
    )
