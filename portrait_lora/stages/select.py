"""Stage select: of the checkpoints the adapter that is kept."""

from __future__ import annotations

from typing import Any

from portrait_lora import manifest
from portrait_lora.families.lora_readers import reads
from portrait_lora.results import SelectResult, TrainingResult
from portrait_lora.stages import stopping, successor
from portrait_lora.stages.context import ADAPTER, ADAPTER_COMFY, Context, folder_digest, is_whole
from portrait_lora.stages.train import probe_digest


def select(ctx: Context) -> SelectResult:
    """Choose the checkpoint by embedder A on probe portraits, and write the adapter files.

    `select.step` is kept whatever the probes say; what they would have chosen is recorded beside it.
    """
    inputs = {
        "train": manifest.digest([ctx.journal.inputs("train"), _checkpoint_digests(ctx)]),
        "probes": probe_digest(ctx),
    } | ({} if ctx.config.select.step is None else {"by_hand": str(ctx.config.select.step)})
    result = ctx.stage(SelectResult, inputs, lambda: is_whole(ctx.run_folder), lambda: _select(ctx))
    successor.put_in_place(ctx)
    return result


def _checkpoint_digests(ctx: Context) -> list[str]:
    names = ctx.journal.result(TrainingResult).checkpoints
    return [folder_digest(ctx.run_folder / "checkpoints" / name) for name in names]


def _select(ctx: Context) -> SelectResult:
    from portrait_lora.evaluation.checkpoint_choice import by_hand, choose_checkpoint
    from portrait_lora.stages import averaging
    from portrait_lora.stages.probing import Checkpoints
    from portrait_lora.training import adapter as lora

    folder = ctx.run_folder
    probes = Checkpoints(ctx)
    table = probes.race(ctx.adapters, keep=ctx.config.select.step)
    stopped = ctx.journal.result(TrainingResult).stopped_early
    best = choose_checkpoint(table, copy_limit=ctx.config.select.copy_limit, stopped_early=stopped)
    step = by_hand(ctx.config.select.step, [a.step for a in ctx.adapters]) or best
    chosen = next(a for a in ctx.adapters if a.step == step)
    average = None
    if ctx.config.select.average and ctx.config.select.step is None:
        chosen, average = averaging.better_average(ctx, probes, table, chosen)
    successor.keep_foreign(folder, [chosen, *ctx.adapters])
    lora.export_diffusers(chosen, folder / ADAPTER)
    if reads("comfy", chosen.family):
        lora.export_kohya(chosen, folder / ADAPTER_COMFY)
    more: dict[str, Any] = {} if average is None else {"average": average}
    more |= {} if ctx.config.select.step is None else {"best_step": best}
    result = SelectResult(
        selected_step=step,
        probes=tuple(stopping.probe_row(row) for row in table),
        adapter=str(ctx.likeness.adapters / ADAPTER),
        **more,
    )
    summary = result.json_value()
    kept = {key: summary[key] for key in ("probes", "average", "best_step") if key in summary}
    manifest.write_json_atomic(folder / "selection.json", {"step": step} | kept)
    manifest.finish(folder, kind="adapter", inputs={"base": ctx.base.digest}, extra={"step": step})
    return result
