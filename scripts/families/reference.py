"""What diffusers' own pipelines compute, in the families' one layout and sign; none of our code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DiffusionPipeline, Flux2KleinPipeline, Flux2Pipeline, FluxPipeline, QwenImagePipeline
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from portrait_lora.records import FamilyName

DOWN = 8
"""Pixels per latent place: the same for every family here."""
UNGUIDED: dict[FamilyName, dict[str, float]] = {
    "z_image": {"guidance_scale": 0.0},
    "qwen_image": {"true_cfg_scale": 1.0},
}


@dataclass
class Observed:
    """One run: the denoiser's first input and output, the clock, and what was decoded at the end."""

    noisy: Tensor
    timestep: Tensor
    answer: Tensor
    timesteps: Tensor
    drawn: Tensor  # the last latents in model space
    decoded: Tensor  # the same as they reached the VAE


def plain_pipeline(
    source: str, *, dtype: torch.dtype = torch.float32, device: str = "cpu", revision: str = "main"
) -> Any:
    """A folder or a fetched repository as diffusers opens it."""
    there: dict[str, Any] = {"local_files_only": True, "revision": revision}
    dev = DiffusionPipeline.load_config(source, **there)["_class_name"] == Flux2Pipeline.__name__
    parts: dict[str, Any] = {"tokenizer": None} if dev else {}
    pipe = DiffusionPipeline.from_pretrained(source, dtype=dtype, use_safetensors=True, **there, **parts)
    if dev:  # its processor needs torchvision, for pictures that nobody shows it here
        words = PreTrainedTokenizerFast.from_pretrained(source, subfolder="tokenizer", **there)
        pipe.register_modules(tokenizer=words)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)


def to_layout(family: FamilyName, latents: Tensor) -> Tensor:
    """(B, C, H, W) as the family's pipeline takes its starting noise."""
    shape = latents.shape
    if family == "flux1":
        return FluxPipeline._pack_latents(latents, *shape)
    if family == "qwen_image":
        return QwenImagePipeline._pack_latents(latents, *shape)
    return Flux2KleinPipeline._patchify_latents(latents) if family == "flux2" else latents


def from_layout(family: FamilyName, latents: Tensor, shape: torch.Size) -> Tensor:
    """What the scheduler of the family's pipeline sees, as (B, C, H, W)."""
    height, width = shape[-2:]
    if family == "flux1":
        return FluxPipeline._unpack_latents(latents, height * DOWN, width * DOWN, DOWN)
    if family == "qwen_image":
        return QwenImagePipeline._unpack_latents(latents, height * DOWN, width * DOWN, DOWN).squeeze(2)
    if family == "flux2":
        grid = latents.transpose(1, 2).reshape(shape[0], -1, height // 2, width // 2)
        return Flux2KleinPipeline._unpatchify_latents(grid)
    return latents


def observe(family: FamilyName, pipe: Any, prompts: list[str], noise: Tensor) -> Observed:
    """Run `pipe` for three steps without guidance and watch denoiser, scheduler and VAE."""
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

    if family in ("sd15", "sdxl"):
        ask = pipe.unet.forward

        def watch_unet(sample: Tensor, timestep: Tensor, **arguments: Any) -> Any:
            result = ask(sample, timestep, **arguments)
            evaluated.append((sample, timestep, result[0]))
            return result

        pipe.unet.forward = watch_unet
    pipe.scheduler.step, pipe.vae.decode = watch_step, watch_decode
    height, width = (side * DOWN for side in noise.shape[-2:])
    guidance = UNGUIDED.get(family, {"guidance_scale": 1.0})
    pipe(
        prompt=prompts,
        latents=to_layout(family, noise.clone()),
        num_inference_steps=3,
        height=height,
        width=width,
        output_type="pt",
        **guidance,
    )
    sample, timestep, answer = evaluated[0] if evaluated else stepped[0][:3]
    return Observed(
        from_layout(family, sample, noise.shape),
        timestep,
        from_layout(family, answer, noise.shape),
        torch.stack([torch.as_tensor(row[1]) for row in stepped]),
        from_layout(family, stepped[-1][3], noise.shape),
        decoded[0].squeeze(2) if decoded[0].dim() == 5 else decoded[0],
    )
