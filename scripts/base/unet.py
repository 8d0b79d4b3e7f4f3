"""Stage `unet`: the denoiser and its text encoder, trained together on the stored latents."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from scripts.corpus import Corpus

from . import configs
from .feed import Batches, Feed, Mixture
from .loop import CHECKPOINT, Plan, Run, read_part, write_json
from .preview import build_pipeline, draw, save_sheet
from .vae import MIRRORED, face_weights, read_latents

FOLDER = "unet"
NOISE_FLOOR: Final = 0.25
"""Least weight of a step: where little but noise is left, light, pose and backdrop are decided."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Which UNet: channels and attention from the finest resolution to the coarsest."""

    channels: tuple[int, ...] = (80, 144, 192)
    attention: tuple[int, ...] = (0, 1, 1)
    layers: int = 1


def new_modules(tokenizer: CLIPTokenizer, shape: Shape, seed: int = 0) -> nn.ModuleDict:
    """A fresh UNet and text encoder."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(**configs.unet_config(shape.channels, shape.attention, shape.layers))
    settings = configs.text_config(len(tokenizer), int(tokenizer.bos_token_id), int(tokenizer.eos_token_id))
    return nn.ModuleDict({"unet": unet, "text": CLIPTextModel(CLIPTextConfig(**settings))})


def load_averaged(out: Path, tokenizer: CLIPTokenizer, shape: Shape) -> nn.ModuleDict:
    """UNet and text encoder from the running average of the newest checkpoint."""
    modules = new_modules(tokenizer, shape)
    modules.load_state_dict(read_part(out / FOLDER / CHECKPOINT, "average"), strict=False)
    return modules.eval()


def flipped(box: Tensor, size_px: int) -> Tensor:
    """Boxes (N, 4) of the pictures in a mirror."""
    return torch.stack([size_px - box[:, 2], box[:, 1], size_px - box[:, 0], box[:, 3]], 1)


def _workers(device: torch.device) -> int:
    """Processes that make batches: a CPU that trains has none to spare."""
    return 0 if device.type == "cpu" else min(8, max(2, (os.cpu_count() or 2) // 2))


def place_weights(box: Tensor, size_px: int) -> Tensor:
    """(N, 1, h, w) weights of mean 1 over the latents, larger over the face: there the likeness is."""
    weights = nn.functional.avg_pool2d(face_weights(box, size_px), configs.PATCH_PX)
    return weights / weights.mean((2, 3), keepdim=True)


def narrowed(z: Tensor, places: Tensor, box: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Latents (N, C, h, w) and weights (N, 1, h, w) cut to `width` columns around the middle of each face."""
    middle = (box[:, 0] + box[:, 2]).float() / 2 / configs.PATCH_PX
    first = (middle - width / 2).round().long().clamp(0, z.shape[-1] - width)
    columns = (first[:, None] + torch.arange(width, device=z.device))[:, None, None]
    return (
        z.gather(3, columns.expand(*z.shape[:3], width)),
        places.gather(3, columns.expand(*places.shape[:3], width)),
    )


def velocity_loss(
    modules: nn.ModuleDict,
    latents: Tensor,
    ids: Tensor,
    alphas: Tensor,
    generator: torch.Generator,
    places: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """(training loss with min-SNR weights, plain velocity error); timesteps are stratified over the batch.

    `places` (N, 1, h, w), of mean 1, says where in the latents an error counts more.
    """
    device, count = latents.device, len(latents)
    offset = torch.rand(1, generator=generator, device=device)
    position = (offset + torch.arange(count, device=device) / count) % 1
    timesteps = (position * len(alphas)).long().clamp(max=len(alphas) - 1)
    noise = torch.randn(latents.shape, generator=generator, device=device)
    a = alphas[timesteps].view(-1, 1, 1, 1)
    noisy = a.sqrt() * latents + (1 - a).sqrt() * noise
    velocity = a.sqrt() * noise - (1 - a).sqrt() * latents
    with torch.autocast(device.type, torch.bfloat16):
        states = modules["text"](ids).last_hidden_state
        output = modules["unet"](noisy, timesteps, states).sample
    square = (output.float() - velocity).square()
    error = (square if places is None else square * places).mean((1, 2, 3))
    snr = alphas[timesteps] / (1 - alphas[timesteps])
    weight = snr.clamp(max=5) / (snr + 1) + NOISE_FLOOR
    return (error * weight).mean(), square.detach().mean()


def train_unet(
    corpus: Corpus,
    vae: Callable[[], AutoencoderKL],
    tokenizer: CLIPTokenizer,
    out: Path,
    plan: Plan,
    shape: Shape,
    device: torch.device,
    mixture: Mixture | None = None,
    mirrors: bool = False,
) -> None:
    """Train UNet and text encoder; `vae()` gives the current autoencoder for the preview sheets.

    Without a `mixture` all pictures are drawn alike; with `mirrors` half of them are seen in one, which the
    stage `latents` must have been asked for too.
    """
    modules = new_modules(tokenizer, shape, plan.seed).to(device).train()
    write_json(out / FOLDER / "shape.json", {"channels": shape.channels, "attention": shape.attention,
                                             "layers": shape.layers})  # fmt: skip
    if device.type == "cuda":
        modules.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    run = Run("unet", out / FOLDER, modules, plan)
    mixture = mixture or Mixture(len(corpus), len(corpus))
    latents = read_latents(out, mixture.plain, mixture.total).to(device)
    mirrored = read_latents(out, mixture.plain, mixture.total, MIRRORED) if mirrors else None
    if mirrored is not None:
        latents = torch.stack([latents, mirrored.to(device)], 1)
    boxes, side = corpus.column("box").to(device), corpus.size_px
    alphas = DDPMScheduler(**configs.NOISE).alphas_cumprod.to(device)
    feed = Feed(Batches(corpus.looks, tokenizer, plan, mixture, mirrors), _workers(device))

    def step(number: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float | Tensor]]:
        batch = feed.take(number)
        rows, flip = batch.rows.to(device), batch.mirrored.to(device)
        z, box = latents[rows, flip.long()] if mirrors else latents[rows], boxes[rows]
        box = torch.where(flip[:, None], flipped(box, side), box)
        z, places = z.float(), place_weights(box, side)
        if batch.width < z.shape[-1]:
            z, places = narrowed(z, places, box, batch.width)
        loss, error = velocity_loss(modules, z, batch.ids.to(device), alphas, generator, places)
        return loss, {"error": error}

    run.train(step, lambda r: preview(r, vae(), tokenizer, out, shape, device))


def preview(
    run: Run, vae: AutoencoderKL, tokenizer: CLIPTokenizer, out: Path, shape: Shape, device: torch.device
) -> None:
    """Draw the preview prompts with the checkpoint just written, through the real pipeline."""
    started = time.monotonic()
    modules = load_averaged(out, tokenizer, shape).to(device)
    pipeline = build_pipeline(vae.to(device), modules["unet"], modules["text"], tokenizer)
    sheet = draw(pipeline)
    file = out / "previews" / f"unet-{run.state.step:07d}.png"
    save_sheet(sheet, file, columns=4)
    print(f"preview {file} in {time.monotonic() - started:.1f} s", flush=True)
