"""What a training would take on this machine, and the refusal of one that does not fit, with what would."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from portrait_lora import device
from portrait_lora.errors import InputError
from portrait_lora.results import TrainingPlan
from portrait_lora.stages import configured, tiers
from portrait_lora.stages.context import is_whole
from portrait_lora.summaries import duration

if TYPE_CHECKING:
    from portrait_lora.records import CaptionedCrop
    from portrait_lora.stages.context import Context
    from portrait_lora.training.preflight import Job, Means
    from portrait_lora.training.recipe import Recipe

_FEWEST_EXPOSURES: Final = 30
"""A run shortened below this many sights of every photo is not proposed: too little is learnt."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Needs of one training on one device: GB of memory and disk, seconds; `tflops` is the device's speed."""

    memory_gb: float
    memory_available_gb: float | None
    seconds: float
    disk_gb: float
    disk_free_gb: float
    tflops: float


def estimate(ctx: Context, job: Job, means: Means) -> Estimate:
    """Reckoned from the costs of the base and the speed that this machine has just now."""
    from portrait_lora.training import preflight

    speed = preflight.measured_tflops(ctx.device.device, ctx.device.mixed_precision)
    return Estimate(
        means.memory_gb,
        device.memory_gb(ctx.device.device),
        preflight.seconds_needed(job, means, speed),
        preflight.disk_needed_gb(job),
        shutil.disk_usage(ctx.likeness.root).free / 1e9,
        speed,
    )


def problems(ctx: Context, means: Means, needs: Estimate) -> list[str]:
    """What is in the way, a sentence each; empty when the run fits."""
    most = ctx.config.max_training_hours
    shortages: list[str] = []
    if not means.fits:
        have = needs.memory_available_gb or math.nan
        shortages.append(f"it needs about {needs.memory_gb:.0f} GB of memory, and there are {have:.0f} GB")
    if needs.seconds > most * 3600:
        shortages.append(
            f"it takes {duration(needs.seconds)}, and max_training_hours allows {duration(most * 3600)}"
        )
    if needs.disk_gb >= needs.disk_free_gb:
        shortages.append(f"it needs {needs.disk_gb:.1f} GB of disk, and {needs.disk_free_gb:.1f} GB are free")
    return shortages


def would_fit(ctx: Context, job: Job, needs: Estimate) -> list[str]:
    """What would: fewer exposures, other bases on this machine, a GPU with more memory; the nearest first."""
    from portrait_lora.families.rows import bases, row_of
    from portrait_lora.stages.usual import memory_range_gb
    from portrait_lora.training import preflight

    most, here = ctx.config.max_training_hours * 3600, ctx.device.device
    changes: list[str] = []
    fewer = math.floor(ctx.config.training.exposures_per_photo * most / needs.seconds)
    if needs.seconds > most and fewer >= _FEWEST_EXPOSURES:
        changes.append(f"training.exposures_per_photo={fewer} ({duration(most)})")
    for base in sorted(bases(), key=lambda b: -b.parameters_b):
        if job.recipe.references and not row_of(base.family).references:
            continue
        if base.synthetic or base.name == job.base.name or base.parameters_b >= job.base.parameters_b:
            continue
        other = replace(
            job, base=base, weights="auto", checkpointing="auto", micro_batch=None, streaming="auto"
        )
        means = means_for(other, here)
        seconds = preflight.seconds_needed(other, means, needs.tflops)
        if means.fits and seconds <= most:
            changes.append(f"base={base.name} ({duration(seconds)}, {means.memory_gb:.0f} GB)")
    least, quickest = memory_range_gb(job.base)
    if not here.startswith("cuda") or (needs.memory_available_gb or 0) < least:
        changes.append(f"a GPU with {math.ceil(least)} GB at least, {math.ceil(quickest)} GB for full speed")
    if needs.disk_gb >= needs.disk_free_gb:
        changes.append("fewer training.checkpoints, or room on the disk")
    return changes


def means_for(job: Job, where: str) -> Means:
    """The quickest way of a job on a device, of those that fit its memory."""
    from portrait_lora.families import default_weights
    from portrait_lora.training.preflight import choose_means

    return choose_means(
        job,
        memory_gb=device.memory_gb(where),
        default=default_weights(job.base, where),
        gpu=where.startswith("cuda"),
    )


def seats_and_room(job: Job, means: Means, where: str, people: int) -> tuple[int, int]:
    """How many people of a group fit the memory of a device, and how many samples at a time.

    Every person adds an adapter with its gradients and moments; the base is there once.
    """
    from portrait_lora.training import preflight

    memory = device.memory_gb(where)
    room = people * job.recipe.batch_size
    if memory is None:
        return people, room

    def fits(count: int, samples: int) -> bool:
        one = preflight.memory_needed_gb(job, means.weights, means.gradient_checkpointing, samples)
        return one + (count - 1) * preflight.adapter_gb(job) <= memory * device.SPARE

    while people > 1 and not fits(people, 1):
        people -= 1
    while room > 1 and not fits(people, room):
        room = (room + 1) // 2
    return people, room


def require_fit(ctx: Context, job: Job, means: Means) -> Estimate:
    """What the run needs; raises `InputError`, with what would fit, when this machine will not do."""
    needs = estimate(ctx, job, means)
    shortages = problems(ctx, means, needs)
    if shortages:
        raise InputError(
            "this training does not fit this machine",
            where=f"base {job.base.name} on {ctx.device.device}",
            got="; ".join(shortages),
            needed=needed_text(would_fit(ctx, job, needs)),
            remedy="Override with -s KEY=VALUE; a long run is allowed with -s max_training_hours=HOURS.",
        )
    return needs


def needed_text(ways: Sequence[str]) -> str:
    """`one of: …`."""
    return f"one of: {'; '.join(ways)}" if ways else "another machine"


def require_fit_at_all(ctx: Context) -> None:
    """Raises `InputError` for a training too large or too long for this machine; prepared or not."""
    photos, _ = count_photos(ctx)
    steps = steps_for(ctx, photos)
    job = job_of(ctx, steps)
    require_fit(ctx, job, means_for(job, ctx.device.device))


def photos_in(crops: Sequence[CaptionedCrop]) -> int:
    """How many photos the crops were cut from."""
    return len({crop.source_sha256 for crop in crops})


def count_photos(ctx: Context) -> tuple[int, bool]:
    """How many photos training would see, and whether they are prepared: until then all of them count."""
    from portrait_lora.dataset.build import load_dataset_folder

    prepared = is_whole(ctx.likeness.dataset)
    if prepared:
        return photos_in(load_dataset_folder(ctx.likeness.dataset)[0]), True
    return len(ctx.photo_digests), False


def steps_for(ctx: Context, photos: int) -> int:
    """Optimizer steps of a whole training on so many photos."""
    from portrait_lora.training import run

    settings = ctx.config.training
    return run.steps_for(photos, settings.exposures_per_photo, settings.batch_size)


def plan(ctx: Context) -> TrainingPlan:
    """What `train` would do, need and take, without doing it; an early stop may end it sooner.

    Raises what `train` raises for settings that it refuses; whether the face pack's embedder gives gradients
    is asked there, where torch is needed anyway.
    """
    from portrait_lora.stages import referring, stopping, warm_start

    referring.refuse_to_train_with(ctx)
    stopping.refuse_what_cannot_stop(ctx.config.training)
    warm_start.refuse_what_does_not_fit(ctx)
    photos, prepared = count_photos(ctx)
    settings, steps = ctx.config.training, steps_for(ctx, photos)
    job = job_of(ctx, steps)
    means = means_for(job, ctx.device.device)
    needs = estimate(ctx, job, means)
    in_the_way = problems(ctx, means, needs)
    return TrainingPlan(
        base=ctx.base.label,
        photos=photos,
        prepared=prepared,
        steps=steps,
        samples=steps * settings.batch_size,
        batch_size=settings.batch_size,
        micro_batch=means.micro_batch,
        gradient_checkpointing=means.gradient_checkpointing > 0,
        computed_twice=means.gradient_checkpointing,
        streamed=means.streamed,
        weights=means.weights,
        device=ctx.device.device,
        mixed_precision=ctx.device.mixed_precision,
        memory_gb=round(means.memory_gb, 2),
        memory_available_gb=needs.memory_available_gb,
        seconds=round(needs.seconds),
        disk_gb=round(needs.disk_gb, 3),
        disk_free_gb=round(needs.disk_free_gb, 1),
        reason=means.reason,
        fits=not in_the_way,
        problems=tuple(in_the_way),
        would_fit=tuple(would_fit(ctx, job, needs)) if in_the_way else (),
        tiers=() if ctx.base.synthetic else tiers.of(job),
    )


def planned(ctx: Context, steps: int) -> tuple[int, ...]:
    """The steps of the checkpoints that stay, of a training of so many."""
    from portrait_lora.training.recipe import checkpoint_schedule

    return recipe_of(ctx, steps).planned(checkpoint_schedule(steps, ctx.config.training.checkpoints))


def job_of(ctx: Context, steps: int) -> Job:
    """The training that the configuration asks for."""
    return configured.job_of(ctx.config.training, ctx.base, recipe_of(ctx, steps))


def recipe_of(ctx: Context, steps: int) -> Recipe:
    """What decides the weights of that training, on this device."""
    config = ctx.config
    return configured.recipe_of(
        config.training, steps=steps, seed=config.seed, mixed_precision=ctx.device.mixed_precision
    )
