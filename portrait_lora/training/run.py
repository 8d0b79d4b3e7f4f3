"""`train`: from crops to checkpoints.  The steps themselves are in `loop.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from accelerate import Accelerator

from portrait_lora import removal
from portrait_lora.errors import InputError, system_errors
from portrait_lora.families.family import Family
from portrait_lora.records import Adapter, CaptionedCrop, TrainResult
from portrait_lora.training import cache, checkpoint
from portrait_lora.training.disk import only_run
from portrait_lora.training.loop import CHECKPOINTS, METRICS, OnCheckpoint, Run
from portrait_lora.training.memory import use_checkpointing
from portrait_lora.training.processes import open_accelerator
from portrait_lora.training.recipe import (
    AdapterKind,
    Mixed,
    OptimizerName,
    Recipe,
    Schedule,
    Timesteps,
    checkpoint_schedule,
    steps_for,
)

__all__ = ["checkpoint_schedule", "steps_for", "train"]

Targets = Literal["attention", "attention_and_conv"]
IDENTITY: Final = ("identity",)
"""Stands for the blocks that a family says carry who is shown."""


def train(
    family: Family,
    crops: Sequence[CaptionedCrop],
    out_dir: Path,
    *,
    rank: int,
    alpha: float,
    target_modules: tuple[str, ...] | Targets,
    learning_rate: float,
    batch_size: int,
    steps: int,
    checkpoint_steps: Sequence[int] = (),
    seed: int = 0,
    caption_dropout: float = 0.05,
    snr_gamma: float = 5.0,
    warmup_steps: int = 10,
    schedule: Schedule = "constant",
    background_weight: float = 1.0,
    mixed_precision: Mixed = "no",
    max_grad_norm: float = 1.0,
    weight_decay: float = 1e-3,
    blocks: tuple[str, ...] = (),
    adapter_kind: AdapterKind = "lora",
    rank_stabilised: bool = False,
    dora: bool = False,
    optimizer: OptimizerName = "adamw",
    ema_decay: float = 0.0,
    timesteps: Timesteps = "logit_normal",
    timestep_shift: float | None = None,
    text_encoder: float = 0.0,
    learn_region: cache.Region = "picture",
    prior: Sequence[CaptionedCrop] = (),
    prior_weight: float = 1.0,
    micro_batch: int | None = None,
    gradient_checkpointing: bool = False,
    cache_dir: Path | None = None,
    dataset_digest: str = "",
    config_digest: str = "",
    accelerator: Accelerator | None = None,
    resume: bool = True,
    on_checkpoint: OnCheckpoint | None = None,
) -> TrainResult:
    """Train an adapter on `crops` and leave its checkpoints in `out_dir`.

    `batch_size` counts over all processes; `micro_batch` of them are computed at a time, fewer once memory
    runs out.  `background_weight` below 1 lowers the loss outside the person's mask.  `blocks` are
    beginnings of layer names that the adapter keeps to.  `text_encoder` above 0 puts a LoRA on the text
    encoders as well, at that share of the learning rate.  `learn_region` "person" or "head" keeps what lies
    outside to what the bare base answers.  `prior` are pictures of the class, one beside each
    picture of the person.  An unfinished run in `out_dir` goes on to
    bit-identical weights; `resume=False` starts afresh.  `on_checkpoint` is called after each planned
    checkpoint, and again for the one that a run goes on from; it must leave the family's denoiser alone, and
    ends the run by returning True.

    Raises `InputError` for settings that cannot work, differ from those of the run in `out_dir`, or while
    another run trains there; `PortraitError` for a full disk and once the numbers are not finite any more;
    `Interrupted` once stopped, with the state of the last finished step on disk.
    """
    accelerator = accelerator or open_accelerator(cpu=family.device.type == "cpu")
    recipe = Recipe(
        rank, float(alpha), _targets(family, target_modules), learning_rate, batch_size, steps, seed,
        warmup_steps, schedule, caption_dropout, snr_gamma, background_weight, mixed_precision, max_grad_norm,
        weight_decay, _blocks(family, blocks), adapter_kind, rank_stabilised, dora, optimizer,
        ema_decay, prior_weight if prior else 0.0, timesteps, timestep_shift, family.weights, text_encoder,
        learn_region,
    )  # fmt: skip
    _refuse_what_cannot_work(family, crops, recipe, out_dir, accelerator.num_processes)
    with system_errors(out_dir), only_run(out_dir, accelerator.is_main_process):
        if not resume and accelerator.is_main_process:
            own = [f"step-*/{name}" for name in checkpoint.FILES]
            removal.remove_recorded(out_dir / CHECKPOINTS, owner=out_dir, names=own)
            removal.remove_file(out_dir / METRICS, owner=out_dir)
        with accelerator.main_process_first():
            kept = cache_dir or out_dir / "cache"
            encodings = cache.encode(family, crops, kept, prior=prior, region=learn_region)
        about = Adapter(
            out_dir, family.base.family, family.base.name, family.base.digest, rank, recipe.alpha,
            recipe.target_modules, crops[0].trigger, dataset_digest, config_digest, 0,
        )  # fmt: skip
        run = Run(family, encodings, out_dir, recipe, about, accelerator)
        use_checkpointing(run.plain, gradient_checkpointing)
        run.micro_batch = min(micro_batch or run.micro_batch, run.micro_batch)
        planned = tuple(sorted({*(s for s in checkpoint_steps if 0 < s < steps), steps}))
        return run.go(planned, on_checkpoint)


def _targets(family: Family, targets: tuple[str, ...] | Targets) -> tuple[str, ...]:
    """Endings of layer names."""
    if not isinstance(targets, str):
        return targets
    layers = family.lora_layers
    return {"attention": layers.attention, "attention_and_conv": layers.everything}[targets]


def _blocks(family: Family, blocks: tuple[str, ...]) -> tuple[str, ...]:
    """Beginnings of layer names, `IDENTITY` resolved."""
    if blocks != IDENTITY:
        return blocks
    if not family.lora_layers.identity_blocks:
        raise InputError(
            f"no identity blocks are known for {family.base.name}",
            where="training.blocks",
            remedy="Name the blocks yourself, or leave the list empty.",
        )
    return family.lora_layers.identity_blocks


def _refuse_what_cannot_work(
    family: Family, crops: Sequence[CaptionedCrop], recipe: Recipe, out_dir: Path, processes: int
) -> None:
    """Raise `InputError` for what the numbers alone do not tell."""
    if not crops:
        raise InputError("no pictures to train on", where=out_dir, needed="one crop or more")
    if recipe.batch_size % processes:
        raise InputError(
            "the batch cannot be shared out", where="batch_size", got=recipe.batch_size,
            needed=f"a multiple of {processes}",
        )  # fmt: skip
    if recipe.learn_region != "picture" and (without := cache.without_mask(crops, recipe.learn_region)):
        raise InputError(
            f"no mask says where the {recipe.learn_region} is",
            where="training.learn_region",
            got=f"{len(without)} of {len(crops)} crops without, such as {without[0].path.name}",
            needed="a mask for each",
            remedy="Run `portrait-lora prepare` on the photos, or set training.learn_region=picture.",
        )
    if recipe.text_encoder and not family.lora_layers.text:
        raise InputError(
            f"the text encoders of {family.base.family} carry no adapter",
            where="training.text_encoder",
            got=recipe.text_encoder,
            needed="0, or a base of sd15 or sdxl",
        )
