"""Stage `latents`: the corpus encoded once, so that nobody encodes in every step."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from torch import Tensor

from scripts.precision import half
from scripts.train.checkpoint import write_atomically
from scripts.train.corpus import Corpus

from .configs import LATENT_CHANNELS, PATCH_PX

LATENTS, MIRRORED = "latents", "mirrored"
LATENTS_FILE: Final = "latents.safetensors"
MORE_LATENTS_FILE: Final = "latents_more.safetensors"
"""Those of the pictures of `scripts.train.style_corpus`, so that the others need not be encoded again."""


def latents_of(vae: AutoencoderKL, pictures: Tensor) -> Tensor:
    """(N, C, h, w) posterior means, float16, of pictures (N, 3, H, W) in -1..1."""
    with half(pictures.device.type):
        mean = vae.quant_conv(vae.encoder(pictures))[:, :LATENT_CHANNELS]
    return mean.float().half()


@torch.inference_mode()
def encode_all(
    corpus: Corpus,
    vae: AutoencoderKL,
    file: Path,
    device: torch.device,
    mirrors: bool = False,
    batch: int = 64,
) -> None:
    """Write the latents (posterior means, float16) of the whole corpus once, and with `mirrors` those of the
    pictures with left for right."""
    vae = vae.to(device, memory_format=torch.channels_last).eval()  # pyright: ignore[reportCallIssue]
    side = corpus.size_px // PATCH_PX
    names = (LATENTS, MIRRORED) if mirrors else (LATENTS,)
    table = {k: torch.empty(len(corpus), LATENT_CHANNELS, side, side, dtype=torch.float16) for k in names}
    started = time.monotonic()
    for chunk in torch.arange(len(corpus)).split(batch):
        pictures = corpus.pictures(chunk).to(device)
        for name, latents in table.items():
            x = pictures.flip(-1) if name == MIRRORED else pictures
            latents[chunk] = latents_of(vae, x).cpu()
        done = int(chunk[-1]) + 1
        if done % (batch * 50) == 0 or done == len(corpus):
            rate = done / (time.monotonic() - started)
            left = (len(corpus) - done) / rate / 60
            print(f"latents {done}/{len(corpus)} {rate:.0f} images/s, {left:.1f} min left", flush=True)
    write_atomically(file, table)
    known = table[LATENTS].float()
    spread = known.std((0, 2, 3))
    print(f"latents: overall std {known.std():.3f}, channels {spread.min():.2f}..{spread.max():.2f}")


def read_latents(out: Path, plain: int, total: int, which: str = LATENTS) -> Tensor:
    """(total, C, h, w) stored latents: of the first `plain` pictures, then those of the further folders.

    `which` is `LATENTS` or `MIRRORED`.  Raises `ValueError` when there are not as many as pictures.
    """
    parts: list[Tensor] = []
    for name, count in ((LATENTS_FILE, plain), (MORE_LATENTS_FILE, total - plain)):
        if count:
            table = load_file(out / name)
            if which not in table or len(table[which]) != count:
                stored = len(table[which]) if which in table else "no"
                raise ValueError(f"{stored} {which} in {name} for {count} pictures: repeat the stage latents")
            parts.append(table[which])
    return parts[0] if len(parts) == 1 else torch.cat(parts)
