"""Stage train: from the dataset to the checkpoints of the adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from portrait_lora import log, manifest
from portrait_lora.config import LikenessConfig
from portrait_lora.errors import PortraitError, require_extra
from portrait_lora.evaluation.checkpoint_choice import by_hand
from portrait_lora.likeness import Likeness
from portrait_lora.records import CaptionedCrop, Shot
from portrait_lora.results import TrainingResult
from portrait_lora.rights import consent
from portrait_lora.stages import identity, limits, minors, referring, stopping, successor, warm_start
from portrait_lora.stages.context import Context, folder_digest, is_whole
from portrait_lora.stages.sampling import accelerator_of, later
from portrait_lora.summaries import activations, duration
from portrait_lora.training import processes

if TYPE_CHECKING:
    from portrait_lora.training.preflight import Means

PROBE_KEYS: Final = {
    "num_inference_steps", "guidance_scale", "unconditional", "adapter_scale", "scheduler", "style_adapter",
    "style_scale", "batch_size", "identity_scale", "identity_start", "identity_region",
}  # fmt: skip
"""Of `generate`: what a probe portrait depends on."""
_log = log.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A training that is ready to take its first step, or the next one."""

    inputs: Mapping[str, str]
    crops: Sequence[CaptionedCrop]
    steps: int
    means: Means


def train(ctx: Context, ended: stopping.Stopped | PortraitError | None = None) -> TrainingResult:
    """Leave the checkpoints of the LoRA under `adapters/<run>/checkpoints/`.

    `ended` is what became of a training that was done before, together with other people's.
    """
    inputs, as_recorded = _asked(ctx)
    return ctx.stage(
        TrainingResult, as_recorded, lambda: _checkpoints_whole(ctx), lambda: _train(ctx, inputs, ended)
    )


def ahead(ctx: Context) -> Begun | None:
    """Everything before the first step, for a training that is not done; None for one that is.

    The caller holds the lock of the run's folder.
    """
    inputs, as_recorded = _asked(ctx)
    if ctx.is_done(TrainingResult, as_recorded, lambda: _checkpoints_whole(ctx)):
        return None
    return _begin(ctx, inputs)


def _asked(ctx: Context) -> tuple[dict[str, str], dict[str, str]]:
    """What decides the weights, and the inputs of the stage; `ctx.run_folder` is then where to train."""
    consent.require(ctx.likeness.root, ctx.likeness.photos, commercial=ctx.config.commercial)
    minors.require_adult_or_guardian(ctx)
    stopping.refuse_what_cannot_stop(ctx.config.training)
    referring.refuse_to_train_with(ctx)
    if ctx.config.training.optimizer == "prodigy":
        require_extra("prodigyopt", "prodigy")
    accelerator_of(ctx.config.generate)  # a file that is missing is told now, not after hours
    warm_start.refuse_what_does_not_fit(ctx)
    inputs = {"dataset": folder_digest(ctx.likeness.dataset), **configured_inputs(ctx)}
    successor.place(ctx, inputs)
    stop = {"stop": probe_digest(ctx)} if ctx.config.training.early_stop else {}
    return inputs, successor.as_trained(ctx, inputs | stop)


def configured_inputs(ctx: Context) -> dict[str, str]:
    """What decides the weights beside the dataset; which of several GPUs this process uses does not."""
    return {
        "config": _config_digest(ctx),
        "base": ctx.base.digest,
        "precision": f"{ctx.device.kind} {ctx.device.mixed_precision}",
        **warm_start.inputs_of(ctx),
    }


def refuse_other_training(ctx: Context) -> None:
    """Raise `InputError` when the adapter that is there was trained from other settings or another base."""
    successor.refuse_other_training(ctx, configured_inputs(ctx))


def _config_digest(ctx: Context) -> str:
    """Of what decides the weights: how memory is saved, where a run is ended, what is shown and who is
    trained beside does not."""
    without = {"micro_batch", "gradient_checkpointing", "streaming", "early_stop", "previews", "together"}
    without |= {"warm_start"}  # by its bytes, among the inputs
    if not ctx.config.training.references:  # adapters from before there were any stay as they are
        without |= {"references", "max_references"}
    if not ctx.config.training.identity_weight:
        without |= {"identity_weight", "identity_share", "identity_lessons"}
    numbers = ctx.config.training.model_dump(mode="json", exclude=without)
    return manifest.digest({"training": numbers, "seed": ctx.config.seed, **identity.inputs_of(ctx)})


def probe_digest(ctx: Context) -> str:
    """Of what decides the probe portraits of a checkpoint and what they are worth; a choice by hand does
    not."""
    config = ctx.config
    return manifest.digest(
        {
            "select": config.select.model_dump(mode="json", exclude={"step"}),
            "generate": config.generate.model_dump(mode="json", include=PROBE_KEYS) | later(config.generate),
            "seed": config.seed,
            "pack": ctx.pack.digest,
        }
    )


def _checkpoints_whole(ctx: Context) -> bool:
    names = ctx.journal.result(TrainingResult).checkpoints
    folders = [ctx.run_folder / "checkpoints" / name for name in names]
    return bool(folders) and all(is_whole(folder) for folder in folders)


def _train(
    ctx: Context, inputs: Mapping[str, str], ended: stopping.Stopped | PortraitError | None
) -> TrainingResult:
    from portrait_lora.training.disk import only_run

    if isinstance(ended, PortraitError):
        raise ended
    if ended is None:
        with only_run(ctx.likeness.adapters):
            begun = _begin(ctx, inputs)
            recorded: dict[str, object] = {
                "root": str(ctx.likeness.root),
                "config": ctx.config.model_dump(mode="json"),
            }
            shared = {"folder": str(ctx.run_folder), "inputs": dict(inputs), "means": asdict(begun.means)}
            processes.share(recorded | shared)
            ended = _in_every_process(ctx, inputs, begun.means, begun.crops)
    result = ended.result
    return TrainingResult(
        base=ctx.base.label,
        steps=result.steps,
        samples=result.samples,
        final_loss=result.final_loss,
        resumed_from=result.resumed_from,
        checkpoints=tuple(a.path.parent.name for a in result.checkpoints),
        stopped_early=bool(ended.reason),
        stop_reason=ended.reason,
    )


def _begin(ctx: Context, inputs: Mapping[str, str]) -> Begun:
    """Refuse what does not fit, tell what will be done, and write down what it is begun with."""
    from portrait_lora.dataset.build import load_dataset_folder

    identity.refuse_what_cannot_be(ctx)  # needs torch, so not where nothing is left to train
    warm_start.of(ctx)  # before anything is begun beside a finished adapter, which needs it no more
    crops, _ = load_dataset_folder(ctx.likeness.dataset)
    steps = limits.steps_for(ctx, limits.photos_in(crops))
    by_hand(ctx.config.select.step, limits.planned(ctx, steps))
    successor.refuse_to_train(ctx, complete=_is_complete(ctx, steps))
    job = limits.job_of(ctx, steps)
    means = limits.means_for(job, ctx.device.device)
    needs = limits.require_fit(ctx, job, means)
    _log.info(
        "%s for training, %s weights%s, %d at a time, activations %s: %s",
        duration(needs.seconds),
        means.weights,
        ", streamed" if means.streamed else "",
        means.micro_batch,
        activations(means.gradient_checkpointing),
        means.reason,
    )
    successor.begin(ctx, inputs)
    return Begun(inputs=inputs, crops=crops, steps=steps, means=means)


def train_along(job: processes.Job) -> None:
    """What the other processes do of a training that the first one shares."""
    from portrait_lora.dataset.build import load_dataset_folder
    from portrait_lora.training.preflight import Means

    fields = cast(Mapping[str, Mapping[str, Any]], job)
    ctx = Context(Likeness(Path(str(job["root"])), LikenessConfig.model_validate(fields["config"])))
    ctx.run_folder = Path(str(job["folder"]))
    crops, _ = load_dataset_folder(ctx.likeness.dataset)
    _in_every_process(ctx, fields["inputs"], Means(**fields["means"]), crops)
    ctx.family.load("none")


def _in_every_process(
    ctx: Context, inputs: Mapping[str, str], means: Means, crops: Sequence[CaptionedCrop]
) -> stopping.Stopped:
    """The same in every process of a run; only the first writes."""
    from portrait_lora.training import run

    steps = limits.steps_for(ctx, limits.photos_in(crops))
    ctx.family.weights, ctx.family.streamed = means.weights, means.streamed
    accelerator = processes.open_accelerator(cpu=ctx.device.kind == "cpu")
    recipe = replace(limits.recipe_of(ctx, steps), start=warm_start.start_of(ctx, crops))
    with accelerator.main_process_first():
        prior = class_pictures(ctx, crops)
    go_on = partial(
        run.train,
        ctx.family,
        crops,
        ctx.run_folder,
        recipe,
        checkpoint_steps=limits.planned(ctx, steps),
        prior=prior,
        micro_batch=means.micro_batch,
        gradient_checkpointing=means.gradient_checkpointing,
        dataset_digest=inputs["dataset"],
        config_digest=inputs["config"],
        accelerator=accelerator,
    )
    lessons = identity.WhenDue(ctx, crops, steps, accelerator.main_process_first)
    return stopping.train_as_configured(ctx, go_on, steps, accelerator, lessons)


def _is_complete(ctx: Context, steps: int) -> bool:
    """Whether every checkpoint is there; where training may be stopped, the first is enough to go on from."""
    from portrait_lora.training import checkpoint

    whole = {c.step for c in checkpoint.find(ctx.run_folder / "checkpoints")}
    return bool(whole) if ctx.config.training.early_stop else whole >= set(limits.planned(ctx, steps))


def class_pictures(ctx: Context, crops: Sequence[CaptionedCrop]) -> list[CaptionedCrop]:
    """Pictures of the class by the base itself, on the captions without the trigger (Ruiz et al. 2023)."""
    count = ctx.config.training.prior_pictures
    if not count:
        return []
    shots: list[Shot] = []
    for i in range(count):
        crop = crops[i % len(crops)]
        prompt = " ".join(crop.caption.replace(crop.trigger, " ").split())
        shots.append(Shot(f"class-{i:04d}", prompt, "", crop.bucket, ctx.config.seed + i))
    portraits = ctx.draw(None, shots, ctx.run_folder / "class", label="class pictures")
    return [identity.as_crop(portrait) for portrait in portraits]
