"""A LoRA trained as others' scripts do it, in one straight line: nothing of `portrait_lora` computes here.

Two recipes with the numbers of a matched comparison (rank and alpha 16, learning rate 3e-3 after 20 steps of
warm-up, batches of 4, min-SNR 5, betas 0.9 and 0.99): `diffusers`, in the manner of its text-to-image LoRA
example (A Gaussian), and `kohya`, in that of sd-scripts (A uniform after He).  Both draw timesteps uniformly
and independently, take the widened list of layers that ours takes, never drop a caption, keep no running
average, and the last step counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.training_utils import compute_snr
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

Peer = Literal["diffusers", "kohya"]
FILE: Final = "pytorch_lora_weights.safetensors"
RANK: Final = 16
RATE: Final = 3e-3
BATCH: Final = 4
WARMUP: Final = 20
GAMMA: Final = 5.0
LAYERS: Final = (
    *("to_k", "to_q", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"),
    *("conv1", "conv2", "conv_shortcut", "time_emb_proj"),
)


def train(
    peer: Peer, base: Path, pictures: Sequence[tuple[Path, str]], steps: int, seed: int, out: Path
) -> None:
    """Train on (picture, caption) pairs and write the LoRA into `out`, as `FILE`."""
    torch.manual_seed(seed)
    parts: dict[str, Any] = {"torch_dtype": torch.float32, "use_safetensors": True}
    tokenizer: Any = CLIPTokenizer.from_pretrained(base, subfolder="tokenizer")
    text_encoder: Any = CLIPTextModel.from_pretrained(base, subfolder="text_encoder", use_safetensors=True)
    vae: Any = AutoencoderKL.from_pretrained(base, subfolder="vae", **parts)
    unet: Any = UNet2DConditionModel.from_pretrained(base, subfolder="unet", **parts)
    schedule: Any = DDPMScheduler.from_pretrained(base, subfolder="scheduler")
    for part in (text_encoder, vae, unet):
        part.requires_grad_(False)
    unet.add_adapter(
        LoraConfig(r=RANK, lora_alpha=RANK, init_lora_weights=_init(peer), target_modules=list(LAYERS))
    )
    trained = [p for p in unet.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, betas=(0.9, 0.99), weight_decay=1e-2)
    warm = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / WARMUP))
    pixels = torch.stack([_pixels(path) for path, _ in pictures])
    with torch.no_grad():
        encoded = vae.encode(pixels).latent_dist
        tokens = tokenizer(
            [caption for _, caption in pictures], padding="max_length", truncation=True, return_tensors="pt",
            max_length=tokenizer.model_max_length,
        )  # fmt: skip
        embeds = text_encoder(tokens.input_ids, attention_mask=_mask(text_encoder, tokens))[0]
    order: list[int] = []
    unet.train()
    for _ in range(steps):
        while len(order) < BATCH:
            order += torch.randperm(len(pictures)).tolist()
        rows, order = order[:BATCH], order[BATCH:]
        latents = encoded.sample()[rows] * vae.config.scaling_factor
        noise, t = torch.randn_like(latents), torch.randint(0, schedule.config.num_train_timesteps, (BATCH,))
        noisy = schedule.add_noise(latents, noise, t)
        answer = unet(noisy, t, encoder_hidden_states=embeds[rows]).sample
        each = F.mse_loss(answer, _target(schedule, latents, noise, t), reduction="none").mean((1, 2, 3))
        (each * _weight(schedule, t)).mean().backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        warm.step()
        optimizer.zero_grad(set_to_none=True)
    # By peft's names: with those that the example converts to, diffusers' own loader leaves layers out.
    layers = {f"unet.{name}": t.contiguous() for name, t in get_peft_model_state_dict(unet).items()}
    out.mkdir(parents=True, exist_ok=True)
    save_file(layers, out / FILE)


def _init(peer: Peer) -> bool | Literal["gaussian"]:
    """peft's own default is the uniform one of He that kohya's networks begin with."""
    return "gaussian" if peer == "diffusers" else True


def _pixels(path: Path) -> Tensor:
    with Image.open(path) as picture:
        return torch.from_numpy(np.asarray(picture.convert("RGB"), dtype=np.float32) / 127.5 - 1).permute(
            2, 0, 1
        )


def _mask(text_encoder: Any, tokens: Any) -> Tensor | None:
    return tokens.attention_mask if getattr(text_encoder.config, "use_attention_mask", False) else None


def _target(schedule: Any, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    if schedule.config.prediction_type == "v_prediction":
        return schedule.get_velocity(latents, noise, t)
    return noise


def _weight(schedule: Any, t: Tensor) -> Tensor:
    """min(snr, gamma) over snr + 1 for v, over snr for the noise (Hang et al. 2023, section 3.4)."""
    snr = compute_snr(schedule, t)
    kept = snr.clamp(max=GAMMA)
    return kept / (snr + 1) if schedule.config.prediction_type == "v_prediction" else kept / snr


def steps_for(pictures: int, exposures: int) -> int:
    """As many steps as give every picture so many exposures."""
    return math.ceil(pictures * exposures / BATCH)
