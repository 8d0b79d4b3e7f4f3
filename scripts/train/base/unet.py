"""Stage `unet`: the denoiser and its text encoder, trained together on the stored latents."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from scripts.precision import half
from scripts.train.checkpoint import CHECKPOINT, read_part, write_json
from scripts.train.loop import Plan, Run

from . import configs
from .feed import NAMED, Batches, Feed
from .names import Names, noun_ids, with_names
from .preview import build_pipeline, draw, save_sheet
from .supply import Supply, Table
from .vae import face_weights

FOLDER = "unet"
PICTURES: Final = "pictures.json"
"""What the run saw, for the card."""
LOOK_SECONDS: Final = 40.0
"""How often a supply is checked for growth."""
NOISE_FLOOR: Final = 0.25
"""Least weight of a step: where little but noise is left, light, pose and backdrop are decided."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Which UNet: channels and attention from the finest resolution to the coarsest."""

    channels: tuple[int, ...] = (80, 144, 192)
    attention: tuple[int, ...] = (0, 1, 1)
    layers: int = 1


def new_modules(tokenizer: CLIPTokenizer, shape: Shape, seed: int = 0) -> nn.ModuleDict:
    """A fresh UNet and text encoder, and the network that names people."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(**configs.unet_config(shape.channels, shape.attention, shape.layers))
    settings = configs.text_config(len(tokenizer), int(tokenizer.bos_token_id), int(tokenizer.eos_token_id))
    text = CLIPTextModel(CLIPTextConfig(**settings))
    return nn.ModuleDict({"unet": unet, "text": text, "names": Names()})


def load_averaged(out: Path, tokenizer: CLIPTokenizer, shape: Shape) -> nn.ModuleDict:
    """What `new_modules` makes, from the running average of the newest checkpoint."""
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


@dataclass(frozen=True, slots=True)
class Noised:
    """What one step asks of the network: N noisy latents at their timesteps, captions as token ids (N, L),
    and the velocities (N, C, h, w) that it is to answer, weighted by place (N, 1, h, w) and by sample (N,).

    `nouns` (N, L) is 1 where a name stands, all 0 for samples without one; `traits` (N, T) are what names are
    computed from."""

    noisy: Tensor
    timesteps: Tensor
    ids: Tensor
    nouns: Tensor
    traits: Tensor
    velocity: Tensor
    places: Tensor
    weight: Tensor


@dataclass(frozen=True, slots=True)
class Words:
    """The captions of a step's pictures: `ids`, `nouns` and `traits` as in `Noised`."""

    ids: Tensor
    nouns: Tensor
    traits: Tensor


def noised(
    latents: Tensor, words: Words, alphas: Tensor, generator: torch.Generator, places: Tensor | None = None
) -> Noised:
    """Timesteps stratified over the batch, min-SNR weights (Hang et al. 2023, gamma 5).

    `places` (N, 1, h, w), of mean 1, says where in the latents an error counts more.
    """
    device, count = latents.device, len(latents)
    offset = torch.rand(1, generator=generator, device=device)
    position = (offset + torch.arange(count, device=device) / count) % 1
    timesteps = (position * len(alphas)).long().clamp(max=len(alphas) - 1)
    noise = torch.randn(latents.shape, generator=generator, device=device)
    a = alphas[timesteps].view(-1, 1, 1, 1)
    snr = alphas[timesteps] / (1 - alphas[timesteps])
    return Noised(
        noisy=a.sqrt() * latents + (1 - a).sqrt() * noise,
        timesteps=timesteps,
        ids=words.ids,
        nouns=words.nouns,
        traits=words.traits,
        velocity=a.sqrt() * noise - (1 - a).sqrt() * latents,
        places=torch.ones_like(latents[:, :1]) if places is None else places,
        weight=snr.clamp(max=5) / (snr + 1) + NOISE_FLOOR,
    )


def velocity_loss(modules: nn.ModuleDict, step: Noised) -> tuple[Tensor, Tensor, Tensor]:
    """(training loss, plain velocity error of samples without a name, and of those with one)."""
    with half(step.noisy.device.type):
        states = modules["text"](step.ids).last_hidden_state
        states = with_names(states, step.nouns, modules["names"](step.traits))
        output = modules["unet"](step.noisy, step.timesteps, states).sample
    square = (output.float() - step.velocity).square()
    error = (square * step.places).mean((1, 2, 3))
    plain, named = square.detach().mean((1, 2, 3)), step.nouns.amax(1)
    parts = [(plain * kind).sum() / kind.sum().clamp(min=1) for kind in (1 - named, named)]
    return (error * step.weight).mean(), parts[0], parts[1]


def train_unet(
    supply: Supply,
    vae: Callable[[], AutoencoderKL],
    tokenizer: CLIPTokenizer,
    out: Path,
    plan: Plan,
    shape: Shape,
    device: torch.device,
    share: float = 0.0,
) -> None:
    """Train UNet and text encoder; `vae()` gives the current autoencoder for the preview sheets.

    `share` of the samples come from behind the plain pictures of the supply, which is looked at again from
    time to time.  Raises `ValueError` where it is empty.
    """
    modules = new_modules(tokenizer, shape, plan.seed).to(device).train()
    write_json(out / FOLDER / "shape.json", {"channels": shape.channels, "attention": shape.attention,
                                             "layers": shape.layers})  # fmt: skip
    run = Run("unet", out / FOLDER, modules, plan)
    alphas = DDPMScheduler(**configs.NOISE).alphas_cumprod.to(device)
    table, looked = supply.table(), time.monotonic()
    if table is None:
        raise ValueError("unet: no pictures to train on")

    def feed_of(table: Table) -> Feed:
        write_json(out / FOLDER / PICTURES, {"pictures": len(table.looks), "mirrors": table.mirrors,
                                             "grown": supply.grows, "named": NAMED})  # fmt: skip
        batches = Batches(table.looks, tokenizer, plan, table.mixture(share), table.mirrors)
        return Feed(batches, _workers(device))

    feed, nouns = feed_of(table), torch.tensor(noun_ids(tokenizer), device=device)

    def take_batch(number: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        nonlocal table, feed, looked
        if time.monotonic() - looked > LOOK_SECONDS:
            looked = time.monotonic()
            if newer := supply.table():
                table, feed = newer, feed_of(newer)
        batch = feed.take(number)
        rows, flip = batch.rows.to(device), batch.mirrored.to(device)
        z, box = table.latents[rows, flip.long()].float(), table.boxes[rows]
        box = torch.where(flip[:, None], flipped(box, table.size_px), box)
        places = place_weights(box, table.size_px)
        if batch.width < z.shape[-1]:
            z, places = narrowed(z, places, box, batch.width)
        ids = batch.ids.to(device)
        named = batch.named.to(device)[:, None] & torch.isin(ids, nouns)
        step = noised(z, Words(ids, named.float(), table.traits[rows]), alphas, generator, places)
        return tuple(getattr(step, field.name) for field in fields(step))

    def loss(*inputs: Tensor) -> tuple[Tensor, dict[str, float | Tensor]]:
        total, error, named = velocity_loss(modules, Noised(*inputs))
        return total, {"error": error, "named": named}

    run.train(take_batch, loss, lambda r: preview(r, vae(), tokenizer, out, shape, device))


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
