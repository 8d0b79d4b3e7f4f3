"""Planning of a run on this machine: memory, time, and how to fit.

All figures are estimates: costs counted on the models at one size (forward TFLOP, activations kept and
recomputed, bfloat16), scaled to the requested size, and a speed measured with one matrix product.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Final, Literal

from portrait_lora.device import SPARE
from portrait_lora.errors import InputError
from portrait_lora.families.base_model import BaseModel
from portrait_lora.families.footprint import BYTES, QUANTISED
from portrait_lora.families.row import Cost
from portrait_lora.families.rows import row_of

if TYPE_CHECKING:  # tables and proposals are reckoned without torch
    from portrait_lora.families.family import Weights
    from portrait_lora.training.recipe import Mixed, OptimizerName, Recipe


_EMBEDDED: Final = Cost(0.014, 128, 0.00103, 0.005, 0.002)
_BYTES_TRAINED: Final[Mapping[OptimizerName, int]] = {"adamw": 16, "adamw8bit": 10, "prodigy": 24}
_SHARES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the blocks whose activations are computed twice."""
_OVERHEAD_GB: Final = 1.5
_DECODING_GB: Final = 1.7e-3
"""A VAE's decoder with gradients, per place of 8 px (measured on the layout of SDXL's VAE, float32)."""
_FACE_SHARE: Final = 1 / 3
"""Of a large picture, what the identity loss decodes."""
_TRAIN_OVER_FORWARD: Final = 2.2
_RECOMPUTED_OVER_FORWARD: Final = 3.0
_EFFICIENCY: Final = 0.45
"""Speed of a denoiser relative to a large matrix product."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The requested training; how memory is saved may be left to `choose_means`: auto, or None.

    `prior`: also train on pictures of the class.
    """

    base: BaseModel
    recipe: Recipe
    checkpoints: int
    prior: bool
    weights: Weights | Literal["auto"]
    checkpointing: bool | Literal["auto"]
    micro_batch: int | None
    streaming: bool | Literal["auto"] = False


@dataclass(frozen=True, slots=True)
class Means:
    """The chosen means; `memory_gb` is the estimate, `fits` whether the device has that much.

    `gradient_checkpointing` is the share of the blocks that compute their activations twice; `streamed`: the
    frozen blocks visit the device one after the other.
    """

    weights: Weights
    gradient_checkpointing: float
    micro_batch: int
    memory_gb: float
    fits: bool
    reason: str
    streamed: bool = False


def choose_means(job: Job, *, memory_gb: float | None, default: Weights, gpu: bool = True) -> Means:
    """The fastest means that fit: whole batches, micro-batches, gradient checkpointing of a share of the
    blocks or of all, a quantised base, a streamed one.

    `memory_gb` is the device's; None (unknown) takes the request as it is.  `default` is the data type of the
    base's weights.  Without a `gpu` the base is never quantised: that needs CUDA; and it is streamed, from
    its files, only when that is asked for.  Raises `InputError` for streaming where it cannot be.
    """
    _refuse_streaming(job)
    if memory_gb is None:
        weights = default if job.weights == "auto" else job.weights
        micro = min(job.micro_batch or job.recipe.batch_size, job.recipe.batch_size)
        checkpointing, streamed = job.checkpointing is True, job.streaming is True
        need = memory_needed_gb(job, weights, checkpointing, micro, streamed)
        unknown = "the memory of this machine is not known"
        return Means(weights, checkpointing, micro, need, True, unknown, streamed)
    room = memory_gb * SPARE
    ways = [
        Means(w, c, m, need := memory_needed_gb(job, w, c, m, s), need <= room, "", s)
        for w, c, m, s in _ways(job, default, gpu)
    ]
    way = next((way for way in ways if way.fits), None) or min(ways, key=lambda way: way.memory_gb)
    return _explained(way, ways[0], memory_gb)


def _refuse_streaming(job: Job) -> None:
    """Raises `InputError` when streaming is asked for and cannot be."""
    reason = job.recipe.why_resident()
    if not reason and job.weights in QUANTISED:
        reason = f"training.weights={job.weights}: quantised weights cannot be streamed"
    if job.streaming is True and reason:
        raise InputError(
            "this training cannot stream its base",
            where="training.streaming",
            got=reason,
            remedy="Set training.streaming=auto.",
        )


def _ways(job: Job, default: Weights, gpu: bool = True) -> Iterator[tuple[Weights, float, int, bool]]:
    """All means that satisfy the request, fastest first: weights, checkpointing, micro-batch, streamed."""
    held: list[Weights] = [default, *(QUANTISED if gpu else ())] if job.weights == "auto" else [job.weights]
    twice = _SHARES if job.checkpointing == "auto" else [float(job.checkpointing)]
    micros = [min(job.micro_batch or job.recipe.batch_size, job.recipe.batch_size)]
    while job.micro_batch is None and micros[-1] > 1:
        micros.append((micros[-1] + 1) // 2)
    if job.streaming is not True:
        yield from product(held, twice, micros, [False])
    can = job.weights not in QUANTISED and not job.recipe.why_resident()
    if job.streaming is True or (job.streaming == "auto" and gpu and can):
        # The last resort: how fast it is depends on the link to the card.  What is kept may be a copy of the
        # weights in the type of autocast, so nothing is.
        yield from product(held[:1], twice[-1:], micros, [True])


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
    return replace(way, reason=reason)


def memory_needed_gb(
    job: Job, weights: Weights, checkpointing: float, micro_batch: int, streamed: bool = False
) -> float:
    """Weights, adapter with its gradients and moments, activations, and library overhead.

    `checkpointing` is the share of the blocks that are computed twice; of a `streamed` base two blocks and
    the rest are there.
    """
    cost = _cost(job.base)
    kept = cost.kept_gb + checkpointing * (cost.recomputed_gb - cost.kept_gb)
    # With references: as if a whole micro-batch were shown as many as can be; the class is shown none.
    longest = _longer(cost, job.recipe.max_references) if job.recipe.references else 1.0
    samples = micro_batch * (longest + (1 if job.prior else 0))
    activations = (
        kept * samples * (2.0 if job.recipe.mixed_precision == "no" and weights == "float32" else 1.0)
    )
    trained = adapter_gb(job)
    text_b = row_of(job.base.family).text_encoders_b
    beside = text_b if job.recipe.text_encoder and not job.base.synthetic else 0.0
    share = cost.streamed_share if streamed else 1.0
    held = (job.base.parameters_b * share + beside) * BYTES[weights]
    return held + trained + activations + _lesson_gb(job) + _OVERHEAD_GB


def _lesson_gb(job: Job) -> float:
    """The decoder of the identity loss, a lesson at a time."""
    if not job.recipe.identity_weight or job.base.synthetic:
        return 0.0
    return (job.base.resolution_px / 8) ** 2 * _FACE_SHARE * _DECODING_GB


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
    twice = _RECOMPUTED_OVER_FORWARD - _TRAIN_OVER_FORWARD
    over = _TRAIN_OVER_FORWARD + twice * means.gradient_checkpointing
    cost = _cost(job.base)
    each = _forwards(cost, job.recipe) + (1 if job.prior else 0)
    samples = job.recipe.steps * job.recipe.batch_size * each
    # Half a batch of lessons; to decode and embed one takes about as long as to predict it.
    samples += (job.recipe.steps - job.recipe.identity_from) * job.recipe.batch_size
    over += 0.0 if job.recipe.learn_region == "picture" else 1.0  # the bare base answers too
    return samples * cost.forward_tflop * over / (tflops * _EFFICIENCY)


def _longer(cost: Cost, references: int) -> float:
    """How many times as many tokens there are with so many references of the picture's size."""
    return 1.0 + references * cost.picture_share


def _forwards(cost: Cost, recipe: Recipe) -> float:
    """The computation of a sample, on average over its references, in those without any."""
    most, squared = recipe.max_references, cost.attention_share
    tokens = [_longer(cost, count) for count in range(1, most + 1)]
    shown = sum((1.0 - squared) * n + squared * n * n for n in tokens) / most
    return 1.0 + recipe.references * (shown - 1.0)


def measured_tflops(device: str, mixed_precision: Mixed, seconds: float = 0.1) -> float:
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
        row.streamed_share,
        row.picture_share,
        row.attention_share,
    )
