"""Planning of a run on this machine: memory, time, and how to fit.

All figures are estimates: costs counted on the models at one size (forward TFLOP, activations kept and
recomputed, bfloat16), scaled to the requested size, and a speed measured with one matrix product.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from portrait_lora.families.base_model import BaseModel
from portrait_lora.families.row import Cost
from portrait_lora.families.rows import row_of

if TYPE_CHECKING:  # tables and proposals are reckoned without torch
    from portrait_lora.families.family import Weights
    from portrait_lora.training.recipe import Mixed, OptimizerName, Recipe


_EMBEDDED: Final = Cost(0.014, 128, 0.00103, 0.005, 0.002)
_BYTES: Final[Mapping[Weights, float]] = {
    "float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "int8": 1.1, "nf4": 0.6,
}  # fmt: skip
_BYTES_TRAINED: Final[Mapping[OptimizerName, int]] = {"adamw": 16, "adamw8bit": 10, "prodigy": 24}
_QUANTISED: Final[tuple[Weights, ...]] = ("int8", "nf4")
_OVERHEAD_GB: Final = 1.5
SPARE: Final = 0.92
"""Fraction of a GPU's memory to plan with."""
_TRAIN_OVER_FORWARD: Final = 2.2
_RECOMPUTED_OVER_FORWARD: Final = 3.0
_EFFICIENCY: Final = 0.45
"""Speed of a denoiser relative to a large matrix product."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The requested training; `weights`, `checkpointing` and `micro_batch` may be left to `choose_means`.

    `prior`: also train on pictures of the class.
    """

    base: BaseModel
    recipe: Recipe
    checkpoints: int
    prior: bool
    weights: Weights | Literal["auto"]
    checkpointing: bool | Literal["auto"]
    micro_batch: int | None


@dataclass(frozen=True, slots=True)
class Means:
    """The chosen means; `memory_gb` is the estimate, `fits` whether the device has that much."""

    weights: Weights
    gradient_checkpointing: bool
    micro_batch: int
    memory_gb: float
    fits: bool
    reason: str


def choose_means(job: Job, *, memory_gb: float | None, default: Weights, gpu: bool = True) -> Means:
    """The fastest means that fit: whole batches, micro-batches, gradient checkpointing, a quantised base.

    `memory_gb` is the device's; None (unknown) takes the request as it is.  `default` is the data type of the
    base's weights.  Without a `gpu` the base is never quantised: that needs CUDA.
    """
    if memory_gb is None:
        weights = default if job.weights == "auto" else job.weights
        micro = min(job.micro_batch or job.recipe.batch_size, job.recipe.batch_size)
        checkpointing = job.checkpointing is True
        need = memory_needed_gb(job, weights, checkpointing, micro)
        return Means(weights, checkpointing, micro, need, True, "the memory of this machine is not known")
    room = memory_gb * SPARE
    first: Means | None = None
    for weights, checkpointing, micro in _ways(job, default, gpu):
        need = memory_needed_gb(job, weights, checkpointing, micro)
        way = Means(weights, checkpointing, micro, need, need <= room, "")
        first = first or way
        if way.fits:
            return _explained(way, first, memory_gb)
    least = min(
        (Means(w, c, m, memory_needed_gb(job, w, c, m), False, "") for w, c, m in _ways(job, default, gpu)),
        key=lambda way: way.memory_gb,
    )
    return _explained(least, first or least, memory_gb)


def _ways(job: Job, default: Weights, gpu: bool = True) -> Iterator[tuple[Weights, bool, int]]:
    """All means that satisfy the request, fastest first."""
    held: list[Weights] = [default, *(_QUANTISED if gpu else ())] if job.weights == "auto" else [job.weights]
    twice = [False, True] if job.checkpointing == "auto" else [job.checkpointing]
    micros = [min(job.micro_batch or job.recipe.batch_size, job.recipe.batch_size)]
    while job.micro_batch is None and micros[-1] > 1:
        micros.append((micros[-1] + 1) // 2)
    return ((w, c, m) for w in held for c in twice for m in micros)


def _explained(way: Means, first: Means, memory_gb: float) -> Means:
    have = f"{memory_gb:.0f} GB"
    if not way.fits:
        room = f"{memory_gb * SPARE:.1f} of {have} is usable"
        reason = f"even this needs about {way.memory_gb:.1f} GB and {room}: expect to run out of memory"
    elif way == first:
        reason = f"the fastest way needs about {way.memory_gb:.0f} GB of {have}"
    else:
        reason = (
            f"faster ways need up to {first.memory_gb:.0f} GB of {have}; this needs {way.memory_gb:.0f} GB"
        )
    return Means(way.weights, way.gradient_checkpointing, way.micro_batch, way.memory_gb, way.fits, reason)


def memory_needed_gb(job: Job, weights: Weights, checkpointing: bool, micro_batch: int) -> float:
    """Weights, adapter with its gradients and moments, activations, and library overhead."""
    cost = _cost(job.base)
    kept = cost.recomputed_gb if checkpointing else cost.kept_gb
    samples = micro_batch * (2 if job.prior else 1)
    activations = (
        kept * samples * (2.0 if job.recipe.mixed_precision == "no" and weights == "float32" else 1.0)
    )
    trained = adapter_gb(job)
    text_b = row_of(job.base.family).text_encoders_b
    beside = text_b if job.recipe.text_encoder and not job.base.synthetic else 0.0
    held = (job.base.parameters_b + beside) * _BYTES[weights]
    return held + trained + activations + _OVERHEAD_GB


def adapter_gb(job: Job) -> float:
    """An adapter with its gradients and moments."""
    return adapter_parameters(job) * _bytes_trained(job) / 1e9


def adapter_parameters(job: Job) -> float:
    """Roughly: 23 million at rank 16 on SDXL's attention layers; twice that with convolutions."""
    size = max(job.base.parameters_b, 0.01) / 2.6
    wide = 2.2 if job.recipe.targets == "attention_and_conv" else 1.0
    return 23e6 * job.recipe.rank / 16 * size ** (2 / 3) * wide


def _bytes_trained(job: Job) -> int:
    """Per parameter: itself, its gradient, the optimizer's state, and the running average."""
    return _BYTES_TRAINED[job.recipe.optimizer] + 4 * (job.recipe.ema_decay > 0)


def disk_needed_gb(job: Job) -> float:
    """Size of all checkpoints with their optimizer state."""
    return job.checkpoints * adapter_gb(job)


def seconds_needed(job: Job, means: Means, tflops: float) -> float:
    """Training only, without loading and selection; `tflops` is the device's speed in TFLOP/s."""
    over = _RECOMPUTED_OVER_FORWARD if means.gradient_checkpointing else _TRAIN_OVER_FORWARD
    samples = job.recipe.steps * job.recipe.batch_size * (2 if job.prior else 1)
    over += 0.0 if job.recipe.learn_region == "picture" else 1.0  # the bare base answers too
    return samples * _cost(job.base).forward_tflop * over / (tflops * _EFFICIENCY)


def measured_tflops(device: str, mixed_precision: Mixed, seconds: float = 0.3) -> float:
    """Speed of large matrix products on this device in TFLOP/s."""
    import torch

    gpu = device != "cpu"
    dtype = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[mixed_precision]
    side = 4096 if gpu else 512
    a = torch.ones(side, side, device=device, dtype=dtype)
    rounds, started, spent = 0, 0.0, 0.0
    for i in range(10_000):
        if i == 1:  # the first is for warming up
            started = time.perf_counter()
        (a @ a)[0, 0].item()
        spent = time.perf_counter() - started if i else 0.0
        rounds = i
        if spent > seconds:
            break
    return 2 * side**3 * rounds / spent / 1e12


def _cost(base: BaseModel) -> Cost:
    """The costs of a base at its own resolution."""
    row = _EMBEDDED if base.synthetic else row_of(base.family).cost
    places = (base.resolution_px / row.px) ** 2
    size = (base.parameters_b or row.parameters_b) / row.parameters_b
    grown = places * size ** (2 / 3)
    return Cost(
        base.parameters_b or row.parameters_b,
        base.resolution_px,
        row.forward_tflop * places * size,
        row.kept_gb * grown,
        row.recomputed_gb * grown,
    )
