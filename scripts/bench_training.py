"""How fast the training loop is, beside two loops that anyone would write.

python -m scripts.bench_training          3 interleaved runs of 20 steps on the embedded base
python -m scripts.bench_training --full   5 runs of 60 steps: the figures of record

`plain` goes over the same cached tensors with nothing but PyTorch: no exactness, no records.  `example` is in
the manner of training examples: VAE and text encoder run in every step.  Loading is not counted.
"""

from __future__ import annotations

import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from portrait_lora.families import open_family
from portrait_lora.families.catalog import resolve_base
from portrait_lora.families.family import Family, NoiseSchedule, PromptCondition
from portrait_lora.records import CaptionedCrop
from portrait_lora.training import cache
from portrait_lora.training.adapter import add_adapter
from portrait_lora.training.loop import train
from scripts.kill_resume import SIDE_PX, make_crops
from scripts.rows import Row, arguments, finish

BATCH, RANK, WARM, RATE = 4, 16, 3, 1e-4
BESIDE_PLAIN, BESIDE_EXAMPLE = 0.97, 1.5
Encode = Callable[[list[int]], tuple[Tensor, Tensor]]


def ours(crops: list[CaptionedCrop], folder: Path, cache_dir: Path, steps: int) -> float:
    """Samples per second of `train`, from after its first checkpoint to the record of its last step."""
    started: list[float] = []
    train(
        open_family(resolve_base("embedded")), crops, folder, rank=RANK, alpha=float(RANK), batch_size=BATCH,
        target_modules="attention_and_conv", learning_rate=RATE, steps=WARM + steps, cache_dir=cache_dir,
        checkpoint_steps=(WARM,), on_checkpoint=lambda adapter: started.append(time.time()),
    )  # fmt: skip
    return steps * BATCH / ((folder / "metrics.jsonl").stat().st_mtime - started[0])


def beside(family: Family, encode: Encode, crops: int, steps: int) -> float:
    """Samples per second of a loop with torch alone; `encode` gives latents and embeddings of samples."""
    parameters = list(
        add_adapter(
            family.denoiser, rank=RANK, alpha=RANK, seed=0, target_modules=family.lora_layers.everything
        ).values()
    )
    optimizer = torch.optim.AdamW(parameters, lr=RATE, betas=(0.9, 0.99))
    schedule = family.schedule
    assert isinstance(schedule, NoiseSchedule)
    family.denoiser.train()
    started = 0.0
    for step in range(WARM + steps):
        if step == WARM:
            started = time.perf_counter()
        latents, embeds = encode([(step * BATCH + i) % crops for i in range(BATCH)])
        noise, t = torch.randn_like(latents), torch.randint(0, schedule.steps, (BATCH,))
        signal = schedule.alphas_cumprod_T[t].view(-1, 1, 1, 1)
        noisy = signal.sqrt() * latents + (1 - signal).sqrt() * noise
        answer = family.predict(noisy, t, PromptCondition(embeds), [])
        target = signal.sqrt() * noise - (1 - signal).sqrt() * latents
        F.mse_loss(answer, target).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return steps * BATCH / (time.perf_counter() - started)


def plain(crops: list[CaptionedCrop], cache_dir: Path, steps: int) -> float:
    """Over the cached tensors."""
    family = open_family(resolve_base("embedded"))
    samples = cache.encode(family, crops, cache_dir).samples
    family.load("denoiser")

    def encode(chosen: list[int]) -> tuple[Tensor, Tensor]:
        mean, std = (torch.stack([getattr(samples[i], n) for i in chosen]) for n in ("mean_CHW", "std_CHW"))
        embeds = torch.cat([samples[i].condition.embeds_BLD for i in chosen])
        return family.to_model_space(mean + std * torch.randn_like(mean)), embeds

    return beside(family, encode, len(crops), steps)


def example(crops: list[CaptionedCrop], steps: int) -> float:
    """With VAE and text encoder in every step; two family objects, because one frees its encoders."""
    family, encoders = (open_family(resolve_base("embedded")) for _ in range(2))
    family.load("denoiser")
    encoders.load("encoders")
    pixels = torch.rand(len(crops), 3, SIDE_PX, SIDE_PX) * 2 - 1

    def encode(chosen: list[int]) -> tuple[Tensor, Tensor]:
        moments = encoders.encode_pixels(pixels[chosen])
        latents = moments.mean_BCHW + moments.std_BCHW * torch.randn_like(moments.mean_BCHW)
        embeds = encoders.encode_prompts([crops[i].caption for i in chosen]).embeds_BLD
        return encoders.to_model_space(latents), embeds

    return beside(family, encode, len(crops), steps)


def measure(work: Path, runs: int, steps: int) -> list[Row]:
    """All three in turn, `runs` times; medians."""
    crops = make_crops(work / "crops", 2 * BATCH, 0)
    cache.encode(open_family(resolve_base("embedded")), crops, work / "cache")
    rates: dict[str, list[float]] = {"ours": [], "plain": [], "example": []}
    for i in range(runs):
        rates["ours"].append(ours(crops, work / f"run{i}", work / "cache", steps))
        rates["plain"].append(plain(crops, work / "cache", steps))
        rates["example"].append(example(crops, steps))
    middle = {name: statistics.median(values) for name, values in rates.items()}
    n = runs * steps
    return [
        *(Row(f"{name}: samples per second", value, "1/s", n) for name, value in middle.items()),
        Row("ours beside plain", middle["ours"] / middle["plain"], "ratio", n, target=BESIDE_PLAIN),
        Row("ours beside example", middle["ours"] / middle["example"], "ratio", n, target=BESIDE_EXAMPLE),
    ]


def main() -> None:
    given = arguments(__doc__ or "").parse_args()
    runs, steps = (5, 60) if given.full else (3, 20)
    logging.getLogger("portrait_lora").setLevel(logging.ERROR)
    torch.manual_seed(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(finish(measure(Path(folder), runs, steps), given.json))


if __name__ == "__main__":
    main()
