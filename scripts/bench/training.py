"""How fast the training loop is, beside two loops that anyone would write.

python -m scripts.bench.training          3 runs of 12 steps on the embedded base
python -m scripts.bench.training --full   5 runs of 60 steps: the figures of record

`plain` goes over the same cached tensors with nothing but PyTorch: no exactness, no records.  `example` is in
the manner of diffusers' training example: in every step it opens the photos, resizes them, and runs VAE and
text encoder.  All three take their steps in turn, one each, so that whatever else the machine does falls on
all alike; a step of ours is everything from one question to the denoiser to the next, records included.
Loading is not counted.  The medians over the runs are stated in wall-clock time, and in the CPU time of
this process: on a machine that does nothing else the two agree.
"""

from __future__ import annotations

import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from portrait_lora.config import TrainingConfig
from portrait_lora.families import open_family
from portrait_lora.families.catalog import resolve_base
from portrait_lora.families.family import Family, NoiseSchedule, PromptCondition
from portrait_lora.records import CaptionedCrop
from portrait_lora.stages.configured import recipe_of
from portrait_lora.training import cache
from portrait_lora.training.adapter import add_adapter
from portrait_lora.training.run import train
from scripts.bench.kill_resume import make_crops
from scripts.rows import Row, arguments, finish

BATCH, RANK, WARM, RATE = 4, 16, 3, 1e-4
SIDE_PX, PHOTO_PX = 128, 576
"""Of the embedded base, and of the studio's photos."""
BESIDE_PLAIN, BESIDE_EXAMPLE = 0.97, 1.5
Encode = Callable[[list[int]], tuple[Tensor, Tensor]]


class Spent(NamedTuple):
    """Seconds by the clock and of the CPU."""

    wall: float
    cpu: float

    @staticmethod
    def now() -> Spent:
        return Spent(time.perf_counter(), time.process_time())

    def since(self, start: Spent) -> Spent:
        return Spent(self.wall - start.wall, self.cpu - start.cpu)

    def plus(self, more: Spent) -> Spent:
        return Spent(self.wall + more.wall, self.cpu + more.cpu)


def beside(family: Family, encode: Encode, crops: int) -> Iterator[None]:
    """Steps of a loop with torch alone; `encode` gives latents and embeddings of samples."""
    added = add_adapter(
        family.denoiser, rank=RANK, alpha=RANK, seed=0, target_modules=family.lora_layers.everything
    )
    parameters = list(added.values())
    optimizer = torch.optim.AdamW(parameters, lr=RATE, betas=(0.9, 0.99), fused=True)
    schedule = family.schedule
    assert isinstance(schedule, NoiseSchedule)
    family.denoiser.train()
    taken = 0
    while True:
        latents, embeds = encode([(taken + i) % crops for i in range(BATCH)])
        noise, t = torch.randn_like(latents), torch.randint(0, schedule.steps, (BATCH,))
        signal = schedule.alphas_cumprod_T[t].view(-1, 1, 1, 1)
        noisy = signal.sqrt() * latents + (1 - signal).sqrt() * noise
        answer = family.predict(noisy, t, PromptCondition(embeds), [])
        target = signal.sqrt() * noise - (1 - signal).sqrt() * latents
        F.mse_loss(answer, target).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        taken += BATCH
        yield


def plain(crops: list[CaptionedCrop], cache_dir: Path) -> Iterator[None]:
    """Over the cached tensors."""
    family = open_family(resolve_base("embedded"))
    samples = cache.encode(family, crops, cache_dir).samples
    family.load("denoiser")

    def encode(chosen: list[int]) -> tuple[Tensor, Tensor]:
        mean, std = (torch.stack([getattr(samples[i], n) for i in chosen]) for n in ("mean_CHW", "std_CHW"))
        embeds = torch.cat([samples[i].condition.embeds_BLD for i in chosen])
        return family.to_model_space(mean + std * torch.randn_like(mean)), embeds

    return beside(family, encode, len(crops))


def example(crops: list[CaptionedCrop], folder: Path) -> Iterator[None]:
    """From the photos' files in every step; two family objects, because one frees its encoders."""
    photos: list[Path] = []
    for crop in crops:
        photos.append(folder / f"{crop.path.stem}.jpg")
        Image.open(crop.path).resize((PHOTO_PX, PHOTO_PX)).save(photos[-1], quality=92)
    family, encoders = (open_family(resolve_base("embedded")) for _ in range(2))
    family.load("denoiser")
    encoders.load("encoders")

    def pixels(path: Path) -> Tensor:
        small = Image.open(path).convert("RGB").resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.asarray(small, dtype=np.float32) / 127.5 - 1.0).permute(2, 0, 1)

    def encode(chosen: list[int]) -> tuple[Tensor, Tensor]:
        moments = encoders.encode_pixels(torch.stack([pixels(photos[i]) for i in chosen]))
        latents = moments.mean_BCHW + moments.std_BCHW * torch.randn_like(moments.mean_BCHW)
        embeds = encoders.encode_prompts([crops[i].caption for i in chosen]).embeds_BLD
        return encoders.to_model_space(latents), embeds

    return beside(family, encode, len(crops))


def in_turn(crops: list[CaptionedCrop], work: Path, run: int, steps: int) -> dict[str, Spent]:
    """Time of `steps` steps of each loop; `train` is watched at its questions to the denoiser."""
    others = {"plain": plain(crops, work / "cache"), "example": example(crops, work)}
    spent = dict.fromkeys(("ours", *others), Spent(0.0, 0.0))
    family = open_family(resolve_base("embedded"))
    ask, calls, last = family.predict, 0, Spent.now()

    def predict(*inputs: object) -> Tensor:
        nonlocal calls, last
        counted = calls > WARM
        if counted:
            spent["ours"] = spent["ours"].plus(Spent.now().since(last))
        if calls < WARM + steps:
            for name, loop in others.items():
                start = Spent.now()
                next(loop)
                if calls >= WARM:
                    spent[name] = spent[name].plus(Spent.now().since(start))
        calls, last = calls + 1, Spent.now()
        return ask(*inputs)  # type: ignore[arg-type]

    family.predict = predict  # type: ignore[method-assign]
    settings = TrainingConfig(
        rank=RANK, alpha=RANK, batch_size=BATCH, learning_rate=RATE, targets="attention_and_conv"
    )
    recipe = recipe_of(settings, steps=WARM + steps + 1, seed=0, mixed_precision="no")
    train(family, crops, work / f"run{run}", recipe, cache_dir=work / "cache")
    assert calls == WARM + steps + 1
    return spent


def measure(work: Path, runs: int, steps: int) -> list[Row]:
    """Medians over the runs."""
    crops = make_crops(work / "crops", 2 * BATCH, 0, SIDE_PX)
    cache.encode(open_family(resolve_base("embedded")), crops, work / "cache")
    spent = [in_turn(crops, work, run, steps) for run in range(runs)]
    n, done = runs * steps, steps * BATCH
    rows: list[Row] = []
    for unit, kind in (("1/s", 0), ("1/CPU s", 1)):
        rates = {name: statistics.median(done / s[name][kind] for s in spent) for name in spent[0]}
        rows += [Row(f"{name}: samples", rate, unit, n) for name, rate in rates.items()]
        for name, target in (("plain", BESIDE_PLAIN), ("example", BESIDE_EXAMPLE)):
            ratio = statistics.median(s[name][kind] / s["ours"][kind] for s in spent)
            limit = target if kind == 0 else None  # what a user waits for is what the clock says
            rows.append(Row(f"ours beside {name} ({unit})", ratio, "ratio", n, target=limit))
    return rows


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--threads", type=int, default=None, help="of torch; default: its own choice")
    args = parser.parse_args()
    runs, steps = (5, 60) if args.full else (3, 12)
    logging.getLogger("portrait_lora").setLevel(logging.ERROR)
    torch.manual_seed(args.seed)
    if args.threads:
        torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(finish(measure(Path(folder), runs, steps), args.json))


if __name__ == "__main__":
    main()
