"""Stages train and select: from the dataset to the adapter that is kept."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from portrait_lora import consent, manifest
from portrait_lora.likeness import Summary
from portrait_lora.stages.context import ADAPTER, ADAPTER_COMFY, Context, folder_digest, is_whole, strings


def train(ctx: Context) -> Summary:
    """Leave the checkpoints of the LoRA under `adapters/<run>/checkpoints/`."""
    consent.require(ctx.likeness.root, ctx.likeness.photos, commercial=ctx.config.commercial)
    inputs = {
        "dataset": folder_digest(ctx.likeness.dataset),
        "config": ctx.digest("training", "seed"),
        "base": ctx.base.digest,
        "precision": f"{ctx.device.device} {ctx.device.mixed_precision}",
    }
    return ctx.stage("train", inputs, lambda: _checkpoints_whole(ctx), lambda: _train(ctx, inputs))


def _checkpoints_whole(ctx: Context) -> bool:
    names = ctx.journal.summary("train")["checkpoints"]
    folders = [ctx.likeness.adapters / "checkpoints" / str(name) for name in strings(names)]
    return bool(folders) and all(is_whole(folder) for folder in folders)


def _train(ctx: Context, inputs: Mapping[str, str]) -> Summary:
    from portrait_lora.dataset.build import load_dataset_folder
    from portrait_lora.training import loop

    crops, _ = load_dataset_folder(ctx.likeness.dataset)
    settings = ctx.config.training
    photos = len({crop.source_sha256 for crop in crops})
    steps = loop.steps_for(photos, settings.exposures_per_photo, settings.batch_size)
    _begin_run(ctx, inputs)
    result = loop.train(
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
        dataset_digest=inputs["dataset"],
        config_digest=inputs["config"],
    )
    return {
        "base": ctx.base.label,
        "steps": result.steps,
        "samples": result.samples,
        "final_loss": result.final_loss,
        "resumed_from": result.resumed_from,
        "checkpoints": [a.path.parent.name for a in result.checkpoints],
    }


def _begin_run(ctx: Context, inputs: Mapping[str, str]) -> None:
    """Go on with an interrupted run of the same inputs; clear what came from others."""
    folder = ctx.likeness.adapters
    told = folder / "inputs.json"
    same = told.is_file() and told.read_text(encoding="utf-8") == manifest.canonical(dict(inputs))
    if folder.exists() and ("train" in ctx.redo or not same):
        shutil.rmtree(folder)
    manifest.make_folder(folder)
    manifest.write_text_atomic(told, manifest.canonical(dict(inputs)))


def select(ctx: Context) -> Summary:
    """Choose the checkpoint by embedder A on probe portraits, and write the adapter files."""
    inputs = {
        "train": manifest.digest([ctx.journal.stages["train"]["inputs"], _checkpoint_digests(ctx)]),
        "config": ctx.digest("select", "generate", "seed"),
        "pack": ctx.pack.digest,
    }
    folder = ctx.likeness.adapters
    return ctx.stage("select", inputs, lambda: is_whole(folder), lambda: _select(ctx))


def _checkpoint_digests(ctx: Context) -> list[str]:
    names = strings(ctx.journal.summary("train")["checkpoints"])
    return [folder_digest(ctx.likeness.adapters / "checkpoints" / name) for name in names]


def _select(ctx: Context) -> Summary:
    from portrait_lora.dataset.build import load_dataset_folder
    from portrait_lora.evaluation import identity
    from portrait_lora.evaluation.select import choose_checkpoint
    from portrait_lora.generation import prompts
    from portrait_lora.stages.probing import Probe
    from portrait_lora.training import adapter as lora

    folder = ctx.likeness.adapters
    (folder / manifest.NAME).unlink(missing_ok=True)
    crops, holdout_paths = load_dataset_folder(ctx.likeness.dataset)
    training_paths = sorted({ctx.likeness.photos / crop.source for crop in crops})
    probe = Probe(ctx.finder, holdout_paths, training_paths)
    shots = prompts.probe_shots(
        ctx.trigger,
        ctx.config.subject.kind,
        ctx.config.select.probes,
        resolution_px=ctx.base.resolution_px,
        seed=ctx.config.seed,
    )
    table = []
    for adapter in ctx.adapters:
        made = ctx.draw(adapter, shots, folder / "probes" / f"step-{adapter.step:06d}")
        items = [identity.PortraitItem(p.path, p.shot.prompt) for p in made]
        table.append(probe.score(adapter.step, items))
    step = choose_checkpoint(table, copy_limit=ctx.config.select.copy_limit)
    chosen = next(a for a in ctx.adapters if a.step == step)
    lora.export_diffusers(chosen, folder / ADAPTER)
    lora.export_kohya(chosen, folder / ADAPTER_COMFY)
    rows = [
        {"step": r.step, "mean": r.mean, "face_found_rate": r.face_found_rate, "values": list(r.values)}
        | {"copy_score": r.copy_score, "adherence": r.adherence}
        for r in table
    ]
    manifest.write_json_atomic(folder / "selection.json", {"step": step, "probes": rows})
    manifest.finish(folder, kind="adapter", inputs={"base": ctx.base.digest}, extra={"step": step})
    return {"selected_step": step, "probes": rows, "adapter": str(folder / ADAPTER)}
