"""Assemble the real diffusers pipeline from what has been trained, and draw sheets with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from .configs import NOISE, PREVIEW_PROMPTS


def inference_scheduler(spacing: str = "trailing") -> DPMSolverMultistepScheduler:
    """Stochastic DPM-Solver++ of second order over the noise schedule of the training.

    Fresh noise at every step mends the errors of an imperfect denoiser (Karras et al. 2022, section 4);
    without it a turned head is often both its mirror images at once.
    """
    return DPMSolverMultistepScheduler(
        **NOISE, algorithm_type="sde-dpmsolver++", timestep_spacing=spacing, steps_offset=1
    )


def build_pipeline(
    vae: AutoencoderKL, unet: UNet2DConditionModel, text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer
) -> StableDiffusionPipeline:
    """The pipeline as it will be exported: no safety checker, no image encoder."""
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=inference_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@torch.no_grad()
def draw(
    pipeline: StableDiffusionPipeline,
    prompts: Sequence[str] = PREVIEW_PROMPTS,
    steps: int = 20,
    guidance: float = 3.0,
    seed: int = 1,
) -> Tensor:
    """One picture per prompt, float in [-1, 1], (N, 3, H, W)."""
    generators = [torch.Generator().manual_seed(seed + i) for i in range(len(prompts))]
    result: Any = pipeline(
        list(prompts),
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=generators,
        output_type="pt",
    )
    return result.images.float().cpu() * 2 - 1


def save_sheet(pictures: Tensor, file: Path, columns: int, enlarge: int = 2) -> None:
    """Save pictures (N, 3, H, W) in [-1, 1] as one PNG, row by row."""
    array = ((pictures.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    missing = -len(array) % columns
    array = np.concatenate([array, np.zeros_like(array[:1]).repeat(missing, 0)])
    rows = [np.concatenate(list(array[i : i + columns]), 1) for i in range(0, len(array), columns)]
    image = Image.fromarray(np.concatenate(rows, 0))
    file.parent.mkdir(parents=True, exist_ok=True)
    image.resize((image.width * enlarge, image.height * enlarge), Image.Resampling.NEAREST).save(file)
