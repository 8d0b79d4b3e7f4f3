"""Pictures seen through the base's autoencoder: what the base would draw if it made no mistake."""

# pyright: reportPrivateImportUsage=false, reportAttributeAccessIssue=false
# diffusers is typed in part.
from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Final

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from torch import Tensor

from portrait_lora.families.catalog import resolve_base
from scripts.precision import half
from scripts.train.checkpoint import write_atomically
from scripts.train.corpus import Corpus

_BATCH: Final = 32


def open_vae(base: str | Path = "embedded") -> AutoencoderKL:
    """The autoencoder of a base.  Raises `InputError` where there is none."""
    vae = AutoencoderKL.from_pretrained(resolve_base(base).folder, subfolder="vae", local_files_only=True)
    return vae.eval()


@torch.inference_mode()
def through(
    vae: AutoencoderKL, pictures: Tensor, noise: float = 0.0, generator: torch.Generator | None = None
) -> Tensor:
    """(N, 3, H, W) uint8 encoded and decoded; each with 0..`noise` of Gaussian noise on its latents."""
    out: list[Tensor] = []
    for part in pictures.split(_BATCH):
        with half("cpu"):
            z = vae.encode(part.float() / 127.5 - 1).latent_dist.mean.float()
            if noise:
                strength = noise * torch.rand(len(z), 1, 1, 1, generator=generator)
                z = z + strength * torch.randn(z.shape, generator=generator)
            seen = vae.decode(z).sample.float()
        out.append(((seen.clamp(-1, 1) + 1) * 127.5).round().byte())
    return torch.cat(out)


def cached(
    file: Path, corpus: Corpus, rows: Tensor, vae: AutoencoderKL, *, noise: float, seed: int
) -> Tensor:
    """`through` of the rows of a corpus, kept in `file` while rows and autoencoder stay the same."""
    known = _fingerprint(vae)
    if file.exists():
        table = load_file(file)
        if torch.equal(table["rows"], rows) and torch.equal(table.get("vae", known[:0]), known):
            return table["image"]
    started = time.monotonic()
    generator = torch.Generator().manual_seed(seed)
    image = through(vae, corpus.rows("image", rows), noise, generator)
    write_atomically(file, {"rows": rows, "image": image, "vae": known})
    print(f"{len(rows)} pictures through the autoencoder in {time.monotonic() - started:.0f} s", flush=True)
    return image


def _fingerprint(vae: AutoencoderKL) -> Tensor:
    """(32,) uint8: sha256 of the weights."""
    digest = hashlib.sha256()
    for weight in vae.state_dict().values():
        digest.update(weight.contiguous().numpy().tobytes())
    return torch.tensor(list(digest.digest()), dtype=torch.uint8)
