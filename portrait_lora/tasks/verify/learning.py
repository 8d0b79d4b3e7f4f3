"""A small LoRA on one family, trained by a few lines of its own: independent of the training loop.

Shape legend: B pictures, C latent channels, H W latent rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from portrait_lora.families.adapter_file import metadata, read_adapter
from portrait_lora.families.family import (
    ADAPTER_NAME,
    Family,
    Geometry,
    NoiseSchedule,
    PromptCondition,
)
from portrait_lora.families.rows import row_of
from portrait_lora.records import Adapter

RANK = 4


def noise(shape: Sequence[int], seed: int = 0) -> Tensor:
    """Gaussian numbers from a seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def levels(family: Family, *shares: float) -> Tensor:
    """Shares (0..1) of the way to pure noise on the family's own axis."""
    if isinstance(family.schedule, NoiseSchedule):
        return torch.tensor([int(share * (family.schedule.steps - 1)) for share in shares])
    return torch.tensor(shares)


def noised(family: Family, clean_BCHW: Tensor, noise_BCHW: Tensor, level_B: Tensor) -> tuple[Tensor, Tensor]:
    """What the denoiser is shown and what it should answer; formulas as in the schedules' docstrings."""
    schedule = family.schedule
    if not isinstance(schedule, NoiseSchedule):
        sigma = level_B.view(-1, 1, 1, 1)
        return (1 - sigma) * clean_BCHW + sigma * noise_BCHW, noise_BCHW - clean_BCHW
    share = schedule.alphas_cumprod_T[level_B].view(-1, 1, 1, 1)
    noisy = share.sqrt() * clean_BCHW + (1 - share).sqrt() * noise_BCHW
    if schedule.prediction_type == "epsilon":
        return noisy, noise_BCHW
    return noisy, share.sqrt() * noise_BCHW - (1 - share).sqrt() * clean_BCHW


def photos_for(family: Family) -> list[Image.Image]:
    """Two coarse pictures for a family whose own pipeline draws beside photos only; none for others."""
    if not row_of(family.base.family).references_in_text:
        return []
    coarse = (noise((2, 4, 4, 3), seed=9).clamp(-1, 1) * 127.5 + 127.5).byte().numpy()
    sizes = ((96, 96), (96, 144))
    return [Image.fromarray(one).resize(size) for one, size in zip(coarse, sizes, strict=True)]


def beside(family: Family, prompts: Sequence[str], photos: Sequence[Image.Image]) -> PromptCondition:
    """The condition of prompts beside photos, if any.  Needs the encoders."""
    if not photos:
        return family.encode_prompts(prompts)
    shown: list[Tensor] = []
    for photo in photos:
        latents = family.to_model_space(family.encode_pixels(family.shown_pixels(photo)).mean_BCHW)
        shown.append(latents.expand(len(prompts), -1, -1, -1))
    return replace(family.encode_prompts_beside(prompts, photos), references=tuple(shown))


class Exercise:
    """Two pictures at two noise levels: one fixed batch, on which a loss has to fall."""

    def __init__(self, family: Family, prompts: Sequence[str], size_px: tuple[int, int]):
        """Encodes, frees the encoders and loads the denoiser."""
        width, height = size_px
        family.load("encoders")
        self.condition: PromptCondition = family.encode_prompts(prompts)
        coarse = noise((len(prompts), 3, 4, 4), seed=5).clamp(-1, 1)
        pixels = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(-1, 1)
        clean = family.to_model_space(family.encode_pixels(pixels).mean_BCHW).float().cpu()
        family.load("denoiser")
        self.family = family
        self.clean_BCHW = clean
        self.level_B = levels(family, *torch.linspace(0.4, 0.9, len(prompts)).tolist())
        noisy, target = noised(family, clean, noise(clean.shape), self.level_B)
        device = family.device
        self.noisy_BCHW, self.target_BCHW = noisy.to(device), target.to(device)
        self.level_B = self.level_B.to(device)
        self.geometry = [Geometry(size_px, (0, 0), size_px)] * len(prompts)

    def answer(self) -> Tensor:
        """The denoiser's answer to the batch."""
        return self.family.predict(self.noisy_BCHW, self.level_B, self.condition, self.geometry)

    def loss(self) -> Tensor:
        """Mean squared error of the answer."""
        return (self.answer() - self.target_BCHW).square().mean()

    def learn(self, parameters: Sequence[nn.Parameter], steps: int, rate: float) -> list[float]:
        """The loss before each step; `AssertionError` when anything but LoRA weights has gradients."""
        optimizer = torch.optim.Adam(parameters, lr=rate)
        losses: list[float] = []
        for _ in range(steps):
            value = self.loss()
            value.backward()
            losses.append(float(value.detach()))
            touched = [n for n, p in self.family.denoiser.named_parameters() if p.grad is not None]
            assert touched and all(".lora_" in n for n in touched), touched
            optimizer.step()
            optimizer.zero_grad()
        return losses


def add_lora(family: Family, targets: Sequence[str]) -> list[nn.Parameter]:
    """Put a LoRA of `RANK` into the denoiser; its parameters, in float32."""
    config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=list(targets), init_lora_weights="gaussian")
    torch.manual_seed(3)
    inject_adapter_in_model(config, family.denoiser, adapter_name=ADAPTER_NAME)
    parameters = [p for n, p in family.denoiser.named_parameters() if ".lora_" in n]
    for parameter in parameters:
        parameter.data = parameter.data.float()
    return parameters


def write_adapter(family: Family, path: Path) -> Adapter:
    """The LoRA of the denoiser as a file for diffusers; its scale is 1, so nothing is folded in."""
    base = family.base
    state = get_peft_model_state_dict(family.denoiser, adapter_name=ADAPTER_NAME)
    layers = family.lora_layers.everything
    about = Adapter(path, base.family, base.name, base.digest, RANK, RANK, layers, "ohwx", "", "", 1)
    kind = family.schedule.prediction_type
    header = metadata(about, resolution_px=base.resolution_px, prediction_type=kind, licence=base.licence)
    prefix = family.denoiser_name
    save_file({f"{prefix}.{k}": v.cpu().contiguous() for k, v in state.items()}, path, metadata=header)
    return read_adapter(path)
