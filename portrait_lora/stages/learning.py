"""Stages train and select: from the dataset to the adapter that is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from portrait_lora import consent, log, manifest, removal
from portrait_lora.likeness import Summary
from portrait_lora.records import CaptionedCrop, Shot
from portrait_lora.stages import limits, stopping
from portrait_lora.stages.context import ADAPTER, ADAPTER_COMFY, Context, folder_digest, is_whole, strings
from portrait_lora.stages.sampling import accelerator_of, later
from portrait_lora.summaries import duration

PROBE_KEYS: Final = {
    "num_inference_steps", "guidance_scale", "unconditional", "adapter_scale", "scheduler", "style_adapter",
    "style_scale", "batch_size", "identity_scale", "identity_start", "identity_region",
}  # fmt: skip
"""Of `generate`: what a probe portrait depends on."""
RUN_FILES: Final = (
    "inputs.json",
    "metrics.jsonl",
    "metrics.tmp",
    "selection.json",
    "cache/latents-*.safetensors",
    "cache/prompt-*.safetensors",
    "checkpoints/step-*/state.json",
    "checkpoints/step-*/optimizer.safetensors",
)
"""What only this program writes into the folder of a run; adapters are known by their manifest."""
_log = log.get(__name__)


def train(ctx: Context) -> Summary:
    """Leave the checkpoints of the LoRA under `adapters/<run>/checkpoints/`."""
    consent.require(ctx.likeness.root, ctx.likeness.photos, commercial=ctx.config.commercial)
    stopping.refuse_what_cannot_stop(ctx.config.training)
    accelerator_of(ctx.config.generate)  # a file that is missing is told now, not after hours
    inputs = {
        "dataset": folder_digest(ctx.likeness.dataset),
        "config": _config_digest(ctx),
        "base": ctx.base.digest,
        "precision": f"{ctx.device.device} {ctx.device.mixed_precision}",
    }
    told = inputs | ({"stop": _probe_digest(ctx)} if ctx.config.training.early_stop else {})
    return ctx.stage("train", told, lambda: _checkpoints_whole(ctx), lambda: _train(ctx, inputs))


def _config_digest(ctx: Context) -> str:
    """Of what decides the weights: how memory is saved, and where a run is ended, does not."""
    without = {"micro_batch", "gradient_checkpointing", "early_stop"}
    numbers = ctx.config.training.model_dump(mode="json", exclude=without)
    return manifest.digest({"training": numbers, "seed": ctx.config.seed})


def _probe_digest(ctx: Context) -> str:
    """Of what decides the probe portraits of a checkpoint and what they are worth."""
    config = ctx.config
    return manifest.digest(
        {
            "select": config.select.model_dump(mode="json"),
            "generate": config.generate.model_dump(mode="json", include=PROBE_KEYS) | later(config.generate),
            "seed": config.seed,
            "pack": ctx.pack.digest,
        }
    )


def _checkpoints_whole(ctx: Context) -> bool:
    names = ctx.journal.summary("train")["checkpoints"]
    folders = [ctx.likeness.adapters / "checkpoints" / str(name) for name in strings(names)]
    return bool(folders) and all(is_whole(folder) for folder in folders)


def _train(ctx: Context, inputs: Mapping[str, str]) -> Summary:
    from accelerate import Accelerator

    from portrait_lora.dataset.build import load_dataset_folder
    from portrait_lora.training import loop
    from portrait_lora.training.disk import only_run

    accelerator = Accelerator(cpu=ctx.device.device == "cpu")
    crops, _ = load_dataset_folder(ctx.likeness.dataset)
    settings = ctx.config.training
    steps = limits.steps_for(ctx, limits.photos_in(crops))
    job = limits.job_of(ctx, steps)
    means = limits.means_for(job, ctx.device.device)
    needs = limits.require_fit(ctx, job, means)
    with only_run(ctx.likeness.adapters, accelerator.is_main_process):
        twice = "computed twice" if means.gradient_checkpointing else "kept"
        _log.info(
            "%s for training, %s weights, %d at a time, activations %s: %s",
            duration(needs.seconds),
            means.weights,
            means.micro_batch,
            twice,
            means.reason,
        )
        ctx.family.weights = means.weights
        with accelerator.main_process_first():
            if accelerator.is_main_process:
                _begin_run(ctx, inputs)
            prior = _class_pictures(ctx, crops)
        go_on = partial(
            loop.train,
            ctx.family,
            crops,
            ctx.likeness.adapters,
            rank=settings.rank,
            alpha=settings.alpha,
            target_modules=settings.targets,
            learning_rate=settings.learning_rate,
            batch_size=settings.batch_size,
            steps=steps,
            checkpoint_steps=loop.checkpoint_schedule(steps, settings.checkpoints),
            seed=ctx.config.seed,
            caption_dropout=settings.caption_dropout,
            snr_gamma=settings.snr_gamma,
            warmup_steps=settings.warmup_steps,
            schedule=settings.schedule,
            background_weight=settings.background_weight,
            mixed_precision=ctx.device.mixed_precision,
            blocks=settings.blocks,
            adapter_kind=settings.adapter,
            rank_stabilised=settings.rank_stabilised,
            dora=settings.dora,
            optimizer=settings.optimizer,
            ema_decay=settings.ema_decay,
            timesteps=settings.timesteps,
            timestep_shift=settings.timestep_shift,
            text_encoder=settings.text_encoder,
            learn_region=settings.learn_region,
            prior=prior,
            prior_weight=settings.prior_weight,
            micro_batch=means.micro_batch,
            gradient_checkpointing=means.gradient_checkpointing,
            dataset_digest=inputs["dataset"],
            config_digest=inputs["config"],
            accelerator=accelerator,
        )
        ended = stopping.train_as_configured(ctx, go_on, steps, accelerator)
    result = ended.result
    if not accelerator.is_main_process:
        raise SystemExit(0)  # one process goes on with what comes after
    return {
        "base": ctx.base.label,
        "steps": result.steps,
        "samples": result.samples,
        "final_loss": result.final_loss,
        "resumed_from": result.resumed_from,
        "checkpoints": [a.path.parent.name for a in result.checkpoints],
        "stopped_early": bool(ended.reason),
        "stop_reason": ended.reason,
    }


def _class_pictures(ctx: Context, crops: Sequence[CaptionedCrop]) -> list[CaptionedCrop]:
    """Pictures of the class by the base itself, on the captions without the trigger (Ruiz et al. 2023)."""
    count = ctx.config.training.prior_pictures
    if not count:
        return []
    shots: list[Shot] = []
    for i in range(count):
        crop = crops[i % len(crops)]
        prompt = " ".join(crop.caption.replace(crop.trigger, " ").split())
        shots.append(Shot(f"class-{i:04d}", prompt, "", crop.bucket, ctx.config.seed + i))
    made = ctx.draw(None, shots, ctx.likeness.adapters / "class", label="class pictures")
    return [
        CaptionedCrop(
            path=portrait.path,
            source=portrait.path.name,
            source_sha256=manifest.sha256_file(portrait.path),
            crop_xyxy_px=(0, 0, *portrait.shot.size_px),
            bucket=portrait.shot.size_px,
            caption=portrait.shot.prompt,
            trigger="",
        )
        for portrait in made
    ]


def _begin_run(ctx: Context, inputs: Mapping[str, str]) -> None:
    """Go on with an interrupted run of the same inputs; clear what came from others."""
    folder = ctx.likeness.adapters
    told = folder / "inputs.json"
    same = told.is_file() and told.read_text(encoding="utf-8") == manifest.canonical(dict(inputs))
    if folder.exists() and ("train" in ctx.redo or not same):
        if not same and (folder / "checkpoints").is_dir():
            _log.warning("%s is of other photos or settings; training afresh", folder)
        removal.remove_recorded(folder, owner=folder.parent, names=RUN_FILES)
    manifest.make_folder(folder)
    manifest.write_text_atomic(told, manifest.canonical(dict(inputs)))


def select(ctx: Context) -> Summary:
    """Choose the checkpoint by embedder A on probe portraits, and write the adapter files."""
    inputs = {
        "train": manifest.digest([ctx.journal.stages["train"]["inputs"], _checkpoint_digests(ctx)]),
        "probes": _probe_digest(ctx),
    }
    folder = ctx.likeness.adapters
    return ctx.stage("select", inputs, lambda: is_whole(folder), lambda: _select(ctx))


def _checkpoint_digests(ctx: Context) -> list[str]:
    names = strings(ctx.journal.summary("train")["checkpoints"])
    return [folder_digest(ctx.likeness.adapters / "checkpoints" / name) for name in names]


def _select(ctx: Context) -> Summary:
    from portrait_lora.evaluation.select import choose_checkpoint
    from portrait_lora.stages import averaging
    from portrait_lora.stages.probing import Checkpoints
    from portrait_lora.training import adapter as lora

    folder = ctx.likeness.adapters
    removal.remove_file(folder / manifest.NAME, owner=folder)
    probes = Checkpoints(ctx)
    table = [probes.score(adapter) for adapter in ctx.adapters]
    stopped = bool(ctx.journal.summary("train").get("stopped_early"))
    step = choose_checkpoint(table, copy_limit=ctx.config.select.copy_limit, stopped_early=stopped)
    chosen = next(a for a in ctx.adapters if a.step == step)
    told: Summary = {}
    if ctx.config.select.average:
        chosen, told["average"] = averaging.better_average(ctx, probes, table, chosen)
    lora.export_diffusers(chosen, folder / ADAPTER)
    lora.export_kohya(chosen, folder / ADAPTER_COMFY)
    rows = [
        {"step": r.step, "mean": r.mean, "face_found_rate": r.face_found_rate, "values": list(r.values)}
        | {"copy_score": r.copy_score, "adherence": r.adherence}
        for r in table
    ]
    manifest.write_json_atomic(folder / "selection.json", {"step": step, "probes": rows} | told)
    manifest.finish(folder, kind="adapter", inputs={"base": ctx.base.digest}, extra={"step": step})
    return {"selected_step": step, "probes": rows, "adapter": str(folder / ADAPTER)} | told
