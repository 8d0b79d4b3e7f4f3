"""Stages `pca`, `encoder`, `decoder`: an `AutoencoderKL` by regression.

Trained end to end on a CPU an autoencoder stays blurred and grey.  So the latents are chosen first
(principal components of 8 × 8 patches, weighted to the face, scaled), the encoder learns to compute them, and
the decoder learns to turn the encoder's latents back into pictures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from torch import Tensor, nn

from scripts.precision import half
from scripts.train.checkpoint import CHECKPOINT, read_part, write_atomically, write_json
from scripts.train.corpus import Corpus
from scripts.train.loop import Figures, Plan, Run

from .configs import LATENT_CHANNELS, PATCH_PX, POSTERIOR_LOGVAR, vae_config
from .feed import epoch_rows
from .latents import read_latents
from .likeness import Teacher

HOLDOUT_IMAGES: Final = 160
"""The first pictures of the corpus are not trained on; they measure the autoencoder."""
FACE_WEIGHT: Final = 2.5
FEATURE_WEIGHT: Final = 4.0
"""What the decoder's loss adds at eyes, nose and corners of the mouth: small, and what a face is known by."""
FEATURE_SPREAD: Final = 0.08
"""Standard deviation of those bumps as a share of the face box."""
LIKENESS_WEIGHT: Final = 0.03
LATENT_NOISE: Final = 0.2
"""Largest spread of the noise on the latents: what is sampled is never as clean as what was encoded."""
PCA_FILE: Final = "pca.safetensors"


def face_weights(box: Tensor, size_px: int) -> Tensor:
    """Weights (N, 1, H, W): 1 plus a soft bump over the face."""
    centre = (box[:, :2] + box[:, 2:]) / 2
    spread = (box[:, 2:] - box[:, :2]).clamp(min=8).amax(1) * 0.5
    grid = torch.arange(size_px, device=box.device, dtype=torch.float32) + 0.5
    dx = (grid[None, None, :] - centre[:, 0, None, None]) / spread[:, None, None]
    dy = (grid[None, :, None] - centre[:, 1, None, None]) / spread[:, None, None]
    return (1 + FACE_WEIGHT * torch.exp(-0.5 * (dx**2 + dy**2)))[:, None]


def feature_weights(box: Tensor, keypoints: Tensor, size_px: int) -> Tensor:
    """`face_weights` (N, 1, H, W) with a narrower bump on every one of the `keypoints` (N, K, 2)."""
    spread = (box[:, 2:] - box[:, :2]).clamp(min=8).amax(1)[:, None, None] * FEATURE_SPREAD
    grid = torch.arange(size_px, device=box.device, dtype=torch.float32) + 0.5
    across = torch.exp(-0.5 * ((grid - keypoints[..., 0, None]) / spread).square())
    down = torch.exp(-0.5 * ((grid - keypoints[..., 1, None]) / spread).square())
    bumps = torch.einsum("nkh,nkw->nkhw", down, across).amax(1, keepdim=True)
    return face_weights(box, size_px) + FEATURE_WEIGHT * bumps


def fit_pca(corpus: Corpus, out: Path, whiten: float, count: int = 3000) -> dict[str, Tensor]:
    """Choose the latents: weighted principal components of patches, divided by std ** `whiten`.

    With `whiten` 1 every channel has unit spread; below 1 coarse channels keep more of theirs, so that the
    diffusion model settles light and shape before texture.  The root mean square over channels is always 1.
    """
    skip = min(HOLDOUT_IMAGES, len(corpus) // 2)
    index = torch.linspace(skip, len(corpus) - 1, min(count, len(corpus) - skip)).long()
    patches = (
        F.pixel_unshuffle(corpus.pictures(index), PATCH_PX).permute(0, 2, 3, 1).reshape(-1, 3 * PATCH_PX**2)
    )
    weights = face_weights(corpus.rows("box", index), corpus.size_px)
    weights = F.avg_pool2d(weights, PATCH_PX).reshape(-1, 1)
    mean = patches.mean(0)
    weighted = (patches - mean) * weights.sqrt()
    _, vectors = torch.linalg.eigh(weighted.T @ weighted / weights.sum())
    basis = vectors[:, -LATENT_CHANNELS:].flip(1).contiguous()
    spread = ((patches - mean) @ basis).std(0)
    scale = spread**whiten
    scale = scale * (spread / scale).square().mean().sqrt()
    pca = {"mean": mean, "basis": basis, "scale": scale, "spread": spread / scale}
    write_atomically(out / PCA_FILE, pca)
    print(
        "pca: spread of the channels " + " ".join(f"{s:.2f}" for s in (spread / scale).tolist()), flush=True
    )
    return pca


def pca_encode(pca: dict[str, Tensor], pictures: Tensor) -> Tensor:
    """The target latents of pictures."""
    centred = F.pixel_unshuffle(pictures, PATCH_PX) - pca["mean"].view(1, -1, 1, 1)
    return F.conv2d(centred, pca["basis"].T[:, :, None, None]) / pca["scale"].view(1, -1, 1, 1)


def pca_decode(pca: dict[str, Tensor], latents: Tensor) -> Tensor:
    """The best linear picture of latents."""
    scaled = latents * pca["scale"].view(1, -1, 1, 1)
    patches = F.conv2d(scaled, pca["basis"][:, :, None, None]) + pca["mean"].view(1, -1, 1, 1)
    return F.pixel_shuffle(patches, PATCH_PX)


def halves(vae: AutoencoderKL) -> tuple[nn.ModuleDict, nn.ModuleDict]:
    """The encoding and the decoding modules."""
    first = nn.ModuleDict({"encoder": vae.encoder, "quant_conv": vae.quant_conv})
    return first, nn.ModuleDict({"decoder": vae.decoder, "post_quant_conv": vae.post_quant_conv})


def new_vae(channels: tuple[int, ...], groups: int, seed: int = 0) -> AutoencoderKL:
    """A fresh autoencoder whose posterior has a fixed, small spread."""
    torch.manual_seed(seed)
    vae = AutoencoderKL(**vae_config(channels, groups))
    fix_posterior(vae)
    return vae


def fix_posterior(vae: AutoencoderKL) -> None:
    """Make the posterior's log variance the constant `POSTERIOR_LOGVAR`."""
    with torch.no_grad():
        vae.quant_conv.weight[LATENT_CHANNELS:] = 0
        vae.quant_conv.bias[LATENT_CHANNELS:] = POSTERIOR_LOGVAR


def load_vae(out: Path, channels: tuple[int, ...], groups: int) -> AutoencoderKL:
    """The autoencoder with whatever halves have been trained so far (running averages)."""
    vae = new_vae(channels, groups)
    for part, modules in zip(("encoder", "decoder"), halves(vae), strict=True):
        file = out / part / CHECKPOINT
        if file.exists():
            modules.load_state_dict(read_part(file, "average"))
    fix_posterior(vae)
    return vae.eval()


def train_encoder(corpus: Corpus, vae: AutoencoderKL, out: Path, plan: Plan, device: torch.device) -> None:
    """Regress the encoder's mean onto the chosen latents."""
    pca = {k: v.to(device) for k, v in load_file(out / PCA_FILE).items()}
    modules = halves(vae.to(device))[0]
    run = Run("encoder", out / "encoder", modules, plan)
    weight = 0.05 + pca["spread"].view(1, -1, 1, 1)
    skip = min(HOLDOUT_IMAGES, len(corpus) // 2)

    def take_batch(number: int, _: torch.Generator) -> tuple[Tensor, ...]:
        return (corpus.pictures(epoch_rows(number, plan.batch, len(corpus), plan.seed, skip)).to(device),)

    def loss(x: Tensor) -> tuple[Tensor, Figures]:
        with half(device.type):
            mean = vae.quant_conv(vae.encoder(x))[:, :LATENT_CHANNELS]
        error = (mean.float() - pca_encode(pca, x)).square()
        return (error * weight).mean() / weight.mean(), {"latent_error": error.detach().mean()}

    run.train(take_batch, loss)
    run.use_average()
    fix_posterior(vae)


def _charbonnier(error: Tensor) -> Tensor:
    return (error.square() + 0.0016).sqrt() - 0.04


def picture_loss(output: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Charbonnier distance of values and of neighbour differences, weighted to the face."""
    error = output - target
    down = (_charbonnier(error[..., 1:, :] - error[..., :-1, :]) * weights[..., 1:, :]).mean()
    across = (_charbonnier(error[..., 1:] - error[..., :-1]) * weights[..., 1:]).mean()
    return (_charbonnier(error) * weights).mean() + 0.5 * (down + across)


def psnr(error: Tensor) -> float:
    """PSNR in dB of errors on the scale -1..1, mean over pictures."""
    return float((-10 * (error / 2).square().mean((1, 2, 3)).log10()).mean())


def psnr_face(error: Tensor, box: Tensor) -> float:
    """`psnr` with the pixels of the face boxes weighing most."""
    bump = face_weights(box, error.shape[-1]) - 1
    return psnr(error * (bump / bump.mean((1, 2, 3), keepdim=True)).sqrt())


def train_decoder(
    corpus: Corpus,
    vae: AutoencoderKL,
    out: Path,
    plan: Plan,
    device: torch.device,
    plain: int | None = None,
    teacher: Teacher | None = None,
) -> None:
    """Regress the decoder's pictures from the encoder's latents, with a little noise on these.

    Pictures behind the first `plain` are those of the further folders.  A `teacher` asks besides that the
    person stay the same.
    """
    modules = halves(vae.to(device))[1].to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    run = Run("decoder", out / "decoder", modules, plan)
    latents = read_latents(out, len(corpus) if plain is None else plain, len(corpus))
    boxes, keypoints, landmarks = (corpus.column(name) for name in ("box", "keypoints", "landmarks"))
    skip = min(HOLDOUT_IMAGES, len(corpus) // 2)

    def take_batch(number: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        index = epoch_rows(number, plan.batch, len(corpus), plan.seed, skip)
        x, z = corpus.pictures(index).to(device), latents[index].float().to(device)
        strength = LATENT_NOISE * torch.rand(len(z), 1, 1, 1, generator=generator, device=device)
        z = z + strength * torch.randn(z.shape, generator=generator, device=device)
        weights = feature_weights(boxes[index].to(device), keypoints[index].to(device), corpus.size_px)
        return x, z.contiguous(memory_format=torch.channels_last), weights, landmarks[index].to(device)

    def loss(x: Tensor, z: Tensor, weights: Tensor, points: Tensor) -> tuple[Tensor, Figures]:
        with half(device.type):
            y = vae.decoder(vae.post_quant_conv(z)).float()
        total = picture_loss(y, x, weights)
        figures: Figures = {"loss": total.detach(), "psnr": psnr(y.detach() - x)}
        if teacher is not None:
            unlike = teacher.unlikeness(y, x, points)
            total, figures = total + LIKENESS_WEIGHT * unlike, figures | {"unlike": unlike.detach()}
        return total, figures

    run.train(take_batch, loss)
    run.use_average()
    measure(corpus, vae, out, device)


def _holdout(corpus: Corpus, batch: int = 32) -> Iterator[Tensor]:
    yield from torch.arange(min(HOLDOUT_IMAGES, len(corpus) // 2)).split(batch)


@torch.inference_mode()
def measure(corpus: Corpus, vae: AutoencoderKL, out: Path, device: torch.device) -> dict[str, float]:
    """Autoencoder figures on the held-out pictures, and a sheet: truth, linear, encode-decode.

    Without the principal components (a base that was unpacked) the linear row is left out.
    """
    from .preview import save_sheet

    vae = vae.to(device).eval()
    known = load_file(out / PCA_FILE) if (out / PCA_FILE).exists() else None
    pca = {k: v.to(device) for k, v in known.items()} if known else None
    rows: dict[str, list[float]] = {"psnr": [], "psnr_face": []}
    sheet: list[Tensor] = []
    for index in _holdout(corpus):
        x = corpus.pictures(index).to(device)
        y = vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1)
        box = corpus.rows("box", index).to(device)
        shown, errors = [x, y], {"psnr": psnr(y - x), "psnr_face": psnr_face(y - x, box)}
        if pca is not None:
            linear = pca_decode(pca, pca_encode(pca, x))
            shown.insert(1, linear)
            errors["psnr_linear"] = psnr(linear - x)
        for name, value in errors.items():
            rows.setdefault(name, []).extend([value] * len(index))
        sheet = sheet or [part[:8].cpu() for part in shown]
    figures: dict[str, Any] = {k: round(sum(v) / len(v), 2) for k, v in rows.items()}
    figures["parameters"] = sum(p.numel() for p in vae.parameters())
    print("vae: " + " ".join(f"{k} {v}" for k, v in figures.items()), flush=True)
    write_json(out / "vae.json", figures)
    save_sheet(torch.cat(sheet), out / "previews" / "vae.png", columns=8)
    if not math.isfinite(figures["psnr"]):
        raise RuntimeError("vae: the reconstruction is not finite")
    return figures
