"""A network of six billion weights takes a training step in 8 GiB of address space, streamed from its files.

python -m scripts.bench.streaming --work DIR            writes random weights (12.3 GB) and takes a step
python -m scripts.bench.streaming --work DIR --layers 4 a smaller one, where the disk has less room

The shape is Z-Image's, in files of bfloat16 (a pool of random numbers over and over).  The step is that of
the real loop, with a LoRA of rank 16 and gradient checkpointing, computed in float32: backwards, a CPU
without instructions for bfloat16 is a hundred times as slow in it.  It runs in a process of its own whose
address space is limited by the system: an allocation beyond it fails.  What was written is removed
afterwards unless `--keep` is given.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from accelerate import init_empty_weights  # pyright: ignore[reportMissingTypeStubs]
from diffusers.models.transformers.transformer_z_image import ZImageTransformer2DModel
from safetensors.torch import save_file

from portrait_lora.config import TrainingConfig
from portrait_lora.families import open_family
from portrait_lora.families.blocks import repeated_blocks
from portrait_lora.families.catalog import bases
from portrait_lora.families.family import FlowSchedule, Geometry, PromptCondition
from portrait_lora.families.store import Store
from portrait_lora.stages.configured import recipe_of
from portrait_lora.training.cache import EncodedSample, Encodings
from portrait_lora.training.loop import Run
from portrait_lora.training.memory import use_checkpointing
from portrait_lora.training.processes import open_accelerator
from portrait_lora.training.run import about
from scripts.rows import Row, arguments, finish

LIMIT: Final = 8 << 30
LAYERS: Final = 30
TOKENS: Final = 32
_POOL: Final = 1 << 24
_NAME: Final = "diffusion_pytorch_model"


def write_random(folder: Path, layers: int) -> int:
    """Random weights of the shape, one file per block; returns how many numbers they are."""
    with init_empty_weights():
        net = ZImageTransformer2DModel(n_layers=layers)
    net.save_config(folder)
    beginnings = [f"{name}." for name in repeated_blocks(net)]
    shards: dict[str, list[str]] = {}
    shapes = {name: tensor.shape for name, tensor in net.named_parameters()}
    for name in shapes:
        block = next((b for b in beginnings if name.startswith(b)), "rest.")
        shards.setdefault(f"{_NAME}-{block[:-1]}.safetensors", []).append(name)
    pool = torch.randn(_POOL, generator=torch.Generator().manual_seed(0)).mul_(0.02).bfloat16()
    for file, names in shards.items():
        save_file({n: _drawn(pool, shapes[n]) for n in names}, folder / file)
    index = {"metadata": {}, "weight_map": {n: file for file, names in shards.items() for n in names}}
    (folder / f"{_NAME}.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return sum(shape.numel() for shape in shapes.values())


def _drawn(pool: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """The numbers of the pool, over and over; ones in place of vectors."""
    if len(shape) < 2:
        return torch.ones(shape, dtype=torch.bfloat16)
    count = shape.numel()
    return pool.repeat(-(-count // len(pool)))[:count].reshape(shape)


def opened(folder: Path) -> Any:
    """The family with this network in the place of its own."""
    base = next(b for b in bases() if b.name == "z-image")
    family: Any = open_family(base, "cpu", "float32")
    family.base = replace(base, folder=folder)
    family.store = Store(family.base)
    family.read_schedule = lambda: FlowSchedule(patch=family.patch)
    family.to_model_space = lambda latents: latents
    family.streamed = True
    return family


def encodings(side: int) -> Encodings:
    """One random picture of so many latent places a side, and its prompt."""
    torch.manual_seed(0)
    condition = PromptCondition(torch.randn(1, TOKENS, 2560), torch.ones(1, TOKENS, dtype=torch.bool))
    geometry = Geometry((8 * side, 8 * side), (0, 0), (8 * side, 8 * side))
    shape = (16, side, side)
    sample = EncodedSample("0", "", torch.randn(shape), torch.ones(shape), condition, geometry)
    return Encodings((sample,), condition)


def step(folder: Path, side: int) -> dict[str, float]:
    """One step in this process, whose address space is limited from now on."""
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    family = opened(folder)
    settings = TrainingConfig(batch_size=1, warmup_steps=0, caption_dropout=0.0)
    recipe = recipe_of(settings, steps=1, seed=0, mixed_precision="no")
    what = about(family, recipe, folder, trigger="ohwx", dataset_digest="", config_digest="")
    begun = time.perf_counter()
    run = Run(family, encodings(side), folder / "run", recipe, what, open_accelerator(cpu=True))
    use_checkpointing(run.plain, 1.0)
    ready = time.perf_counter()
    result = run.go((1,), None)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmPeak"))
    assert run.streamed is not None
    return {
        "space": peak * 1024 / 2**30,
        "resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30,
        "open": ready - begun,
        "seconds": time.perf_counter() - ready,
        "loss": result.final_loss or float("nan"),
        "fetched": run.streamed.fetched,
        "blocks": len(run.streamed.names),
        "places": run.streamed.bytes_on_device / 2**30,
    }


def measure(work: Path, layers: int, side: int, keep: bool) -> Iterator[Row]:
    """The step in a process of its own, on weights that are written first."""
    folder = work / f"random-{layers}"
    part = folder / "transformer"
    part.mkdir(parents=True, exist_ok=True)
    try:
        count = write_random(part, layers)
        size = sum(file.stat().st_size for file in part.iterdir())
        yield Row("weights", count / 1e9, "billions", 1)
        yield Row("their files", size / 2**30, "GiB", 1)
        command = [
            sys.executable,
            "-m",
            "scripts.bench.streaming",
            "--child",
            str(folder),
            "--side",
            str(side),
        ]
        quiet = {**os.environ, "MALLOC_ARENA_MAX": "2"}
        answer = subprocess.run(command, capture_output=True, text=True, env=quiet, check=False)
        if answer.returncode:
            print(answer.stderr[-3000:], file=sys.stderr)
            yield Row("step ended well", 0.0, "", 1, 1.0)
            return
        seen = json.loads(answer.stdout.splitlines()[-1])
        yield Row("most address space", seen["space"], "GiB", 1, LIMIT / 2**30, at_most=True)
        yield Row("most resident memory", seen["resident"], "GiB", 1, LIMIT / 2**30, at_most=True)
        yield Row("two places for blocks", seen["places"], "GiB", 1)
        yield Row("blocks", seen["blocks"], "", 1)
        yield Row("blocks fetched", seen["fetched"], "", 1)
        yield Row("opening", seen["open"], "s", 1)
        yield Row("one step", seen["seconds"], "s", 1)
        yield Row("its loss", seen["loss"], "", 1)
    finally:
        if not keep:
            shutil.rmtree(folder)


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--work", type=Path, default=None, help="a folder with room for the weights")
    parser.add_argument(
        "--layers", type=int, default=LAYERS, help="of the network; 30 are six billion weights"
    )
    parser.add_argument("--side", type=int, default=8, help="latent places a side")
    parser.add_argument("--keep", action="store_true", help="leave the weights there")
    parser.add_argument("--child", type=Path, default=None, help="(used by the script itself)")
    options = parser.parse_args()
    if options.child is not None:
        print(json.dumps(step(options.child, options.side)), flush=True)
        return 0
    if options.work is None:
        parser.error("--work DIR is needed")
    return finish(list(measure(options.work, options.layers, options.side, options.keep)), options.json)


if __name__ == "__main__":
    raise SystemExit(main())
