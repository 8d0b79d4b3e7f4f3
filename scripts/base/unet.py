"""Stage `unet`: the denoiser and its text encoder, trained together on the stored latents."""

from __future__ import annotations

import random
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
from .captions import training_caption
from .loop import CHECKPOINT, Plan, Run, epoch_rows, read_part, write_json
from .preview import build_pipeline, draw, save_sheet
from .vae import face_weights, read_latents

FOLDER = "unet"
WIDTHS: Final = (configs.LATENT_SIDE,) * 8 + (12, 11)
"""Columns of latents a batch is trained on: mostly squares, some 3:4 and 2:3 uprights."""
NOISE_FLOOR: Final = 0.25
"""Least weight of a step: where little but noise is left, light, pose and backdrop are decided."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """The first `plain` of `total` pictures are drawn epoch by epoch; `share` of the samples are others."""

    plain: int
    total: int
    share: float = 0.0


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


def tokens(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """Token ids padded to the full length, exactly as the pipeline makes them."""
    batch = tokenizer(
        texts, padding="max_length", max_length=configs.TEXT_LENGTH, truncation=True, return_tensors="pt"
    )
    return batch.input_ids


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


def drawn_rows(step: int, plan: Plan, mixture: Mixture) -> Tensor:
    """Rows of one batch: the plain pictures epoch by epoch, some of which another picture takes the place of.

    A pure function of `step`.
    """
    rows = epoch_rows(step, plan.batch, mixture.plain, plan.seed)
    if mixture.total > mixture.plain:
        draw = random.Random(f"{plan.seed}-more-{step}")
        for place in range(len(rows)):
            if draw.random() < mixture.share:
                rows[place] = draw.randrange(mixture.plain, mixture.total)
    return rows


def train_unet(
    corpus: Corpus,
    vae: Callable[[], AutoencoderKL],
    tokenizer: CLIPTokenizer,
    out: Path,
    plan: Plan,
    shape: Shape,
    device: torch.device,
    mixture: Mixture | None = None,
) -> None:
    """Train UNet and text encoder; `vae()` gives the current autoencoder for the preview sheets.

    Without a `mixture` all pictures are drawn alike.
    """
    modules = new_modules(tokenizer, shape, plan.seed).to(device).train()
    write_json(out / FOLDER / "shape.json", {"channels": shape.channels, "attention": shape.attention,
                                             "layers": shape.layers})  # fmt: skip
    run = Run("unet", out / FOLDER, modules, plan)
    mixture = mixture or Mixture(len(corpus), len(corpus))
    latents = read_latents(out, mixture.plain, mixture.total)
    scheduler = DDPMScheduler(**configs.NOISE)
    alphas = scheduler.alphas_cumprod.to(device)

    def step(number: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        index = drawn_rows(number, plan, mixture)
        draws = random.Random(f"{plan.seed}-{number}")
        texts = [training_caption(corpus.looks[i], draws) for i in index.tolist()]
        z = latents[index].float().to(device)
        box = corpus.rows("box", index).to(device)
        places = place_weights(box, corpus.size_px)
        if (width := draws.choice(WIDTHS)) < z.shape[-1]:
            z, places = narrowed(z, places, box, width)
        ids = tokens(tokenizer, texts).to(device)
        loss, error = velocity_loss(modules, z, ids, alphas, generator, places)
        return loss, {"error": error.item()}

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
