"""Training at full size with random weights on a GPU: speed, memory, TFLOP/s.

python -m scripts.bench.gpu                         SDXL, 10 steps of each way
python -m scripts.bench.gpu --full                  30 steps: the figures of record
python -m scripts.bench.gpu --base flux2-klein-4b   a flow transformer

Our own loop in bf16 at the base's resolution, batch 1 and 4, with and without gradient checkpointing and
regional compile (the repeated blocks alone).  No weights are fetched: time does not depend on their values.
TFLOP are counted on a forward and backward pass without checkpointing; the first steps are not timed.
`--tiny` runs a network of a few thousand weights, to try the script itself.
"""

from __future__ import annotations

import itertools
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler, Flux2Transformer2DModel, UNet2DConditionModel
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from portrait_lora.config import TrainingConfig
from portrait_lora.families import open_family
from portrait_lora.families.family import FlowSchedule, Geometry, NoiseSchedule, PromptCondition
from portrait_lora.families.rows import bases
from portrait_lora.records import Adapter
from portrait_lora.stages.configured import recipe_of
from portrait_lora.training.cache import EncodedSample, Encodings
from portrait_lora.training.loop import Run
from portrait_lora.training.memory import use_checkpointing
from scripts.rows import Row, arguments, finish

WARM: Final = 3
SDXL_SECONDS: Final = 37.0
"""For 1,000 samples at 1024 px, after warm-up, the best way."""


@dataclass(frozen=True, slots=True)
class Full:
    """A network as its makers built it, and the sizes of its inputs."""

    net: Callable[[bool], nn.Module]
    channels: int
    embeds: tuple[int, int]  # tokens, width
    pooled: int | None


@dataclass(frozen=True, slots=True)
class Way:
    """One way to train."""

    batch: int
    checkpointing: bool
    compiled: bool

    def __str__(self) -> str:
        return f"batch {self.batch}{', checkpointing' * self.checkpointing}{', compiled' * self.compiled}"


def _unet(tiny: bool) -> nn.Module:
    """SDXL's (Podell et al. 2023, table 1)."""
    return UNet2DConditionModel(
        block_out_channels=(32, 64, 64) if tiny else (320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=1 if tiny else (1, 2, 10),  # type: ignore[arg-type]
        attention_head_dim=(2, 2, 2) if tiny else (5, 10, 20),
        cross_attention_dim=2048,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=1280 + 6 * 256,
        use_linear_projection=True,
    )


def _klein(tiny: bool) -> nn.Module:
    """FLUX.2 klein's with 4 billion weights."""
    return Flux2Transformer2DModel(
        in_channels=128,
        num_layers=1 if tiny else 5,
        num_single_layers=1 if tiny else 20,
        attention_head_dim=16 if tiny else 128,
        num_attention_heads=2 if tiny else 24,
        joint_attention_dim=7680,
        axes_dims_rope=(4, 4, 4, 4) if tiny else (32, 32, 32, 32),
        guidance_embeds=False,
    )


FULL: Final = {
    "sdxl": Full(_unet, 4, (77, 2048), 1280),
    "flux2-klein-4b": Full(_klein, 32, (512, 7680), None),
}


def random_family(name: str, device: str, tiny: bool) -> Any:
    """The family of a base with a network of random weights in place of its own."""
    base, full = next(b for b in bases() if b.name == name), FULL[name]
    precision = "float32" if device == "cpu" else "bfloat16"
    family: Any = open_family(base, device, precision)
    with torch.device(device):
        net = full.net(tiny).to(getattr(torch, precision)).requires_grad_(False).eval()
    alphas = DDPMScheduler(beta_schedule="scaled_linear").alphas_cumprod
    family.read_schedule = lambda: (
        NoiseSchedule(alphas, "epsilon") if full.pooled else FlowSchedule(patch=family.patch)
    )
    family._open_denoiser = lambda *_, **__: net
    family.denoiser_config = net.config
    family.to_model_space = lambda latents: latents
    return family


def encodings(name: str, side: int) -> Encodings:
    """Four random pictures of `side` latent places, and prompts."""
    full, size = FULL[name], (8 * side, 8 * side)
    length, width = full.embeds
    condition = PromptCondition(
        torch.randn(1, length, width), pooled_BD=torch.randn(1, full.pooled) if full.pooled else None
    )
    shape, geometry = (full.channels, side, side), Geometry(size, (0, 0), size)
    samples = (
        EncodedSample(f"{i}", "", torch.randn(shape), torch.ones(shape), condition, geometry)
        for i in range(4)
    )
    return Encodings(tuple(samples), condition)


def tflop(family: Any, encoded: Encodings) -> float:
    """Of one sample, forwards and backwards through the network to the adapter."""
    sample = encoded.samples[0]
    level = torch.tensor([0.5 if isinstance(family.schedule, FlowSchedule) else 500], device=family.device)
    noisy = sample.mean_CHW[None].to(family.device)
    with FlopCounterMode(display=False) as counter:
        family.predict(noisy, level, sample.condition.to(family.device), [sample.geometry]).sum().backward()
    return counter.get_total_flops() / 1e12


def seconds_per_step(
    family: Any, encoded: Encodings, way: Way, steps: int, out_dir: Path
) -> tuple[float, float]:
    """After warm-up; and TFLOP per sample, counted on the model as the adapter left it."""
    base, last = family.base, WARM + steps + 1
    settings = TrainingConfig(batch_size=way.batch, warmup_steps=0, caption_dropout=0.0)
    recipe = recipe_of(
        settings, steps=last, seed=0, mixed_precision="no" if family.device.type == "cpu" else "bf16"
    )
    about = Adapter(
        path=out_dir, family=base.family, base=base.name, base_digest=base.digest, rank=recipe.rank,
        alpha=recipe.alpha, target_modules=recipe.target_modules(family), trigger="ohwx", dataset_digest="",
        config_digest="", step=0,
    )  # fmt: skip
    run = Run(family, encoded, out_dir, recipe, about, Accelerator(cpu=family.device.type == "cpu"))
    counted = tflop(family, encoded)
    run.updater.forget_gradients()
    use_checkpointing(run.plain, way.checkpointing)
    if way.compiled:
        run.plain.compile_repeated_blocks()  # type: ignore[operator]
    ask, clock = family.predict, []

    def predict(*inputs: Any) -> Tensor:
        if family.device.type == "cuda":
            torch.cuda.synchronize()
        clock.append(time.perf_counter())
        return ask(*inputs)

    family.predict = predict
    try:
        run.go((last,), None)
    finally:
        family.predict = ask
    return (clock[-1] - clock[WARM]) / steps, counted


def measure(name: str, device: str, steps: int, tiny: bool) -> Iterator[Row]:
    """A table row per figure and way."""
    best = float("inf")
    compiled_or_not = (False, True) if device == "cuda" else (False,)
    for batch, checkpointing, compiled in itertools.product((4, 1), (False, True), compiled_or_not):
        way = Way(batch, checkpointing, compiled)
        family = random_family(name, device, tiny)
        encoded = encodings(name, 16 if tiny else family.base.resolution_px // 8)
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        with tempfile.TemporaryDirectory() as folder:
            seconds, counted = seconds_per_step(family, encoded, way, steps, Path(folder) / "run")
        yield Row(f"{way}: step", seconds, "s", steps)
        yield Row(f"{way}: samples", batch / seconds, "1/s", steps)
        yield Row(f"{way}: speed", batch * counted / seconds, "TFLOP/s", steps)
        if device == "cuda":
            yield Row(f"{way}: most memory", torch.cuda.max_memory_allocated() / 1e9, "GB", steps)
        best = min(best, 1000 * seconds / batch)
        family.load("none")
    goal = SDXL_SECONDS if name == "sdxl" and not tiny else None
    yield Row(f"{name}: 1,000 samples, best way", best, "s", steps, goal, at_most=True)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--base", choices=list(FULL), default="sdxl")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a small network, to try the script")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("no GPU here; --device cpu --tiny tries the script")
    logging.getLogger("portrait_lora").setLevel(logging.ERROR)
    torch.manual_seed(args.seed)
    steps = 30 if args.full else 10
    rows: list[Row] = []
    for row in measure(args.base, args.device, steps, args.tiny):
        rows.append(row)
        print(f"{row.name}: {row.value:.4g} {row.unit}", file=sys.stderr, flush=True)
    sys.exit(finish(rows, args.json))


if __name__ == "__main__":
    main()
