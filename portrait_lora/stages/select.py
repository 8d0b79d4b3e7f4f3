"""Stage select: of the checkpoints the adapter that is kept."""

from __future__ import annotations

from portrait_lora import manifest
from portrait_lora.likeness import Summary
from portrait_lora.stages import successor
from portrait_lora.stages.context import ADAPTER, ADAPTER_COMFY, Context, folder_digest, is_whole, strings
from portrait_lora.stages.train import probe_digest


def select(ctx: Context) -> Summary:
    """Choose the checkpoint by embedder A on probe portraits, and write the adapter files."""
    inputs = {
        "train": manifest.digest([ctx.journal.stages["train"]["inputs"], _checkpoint_digests(ctx)]),
        "probes": probe_digest(ctx),
    }
    summary = ctx.stage("select", inputs, lambda: is_whole(ctx.run_folder), lambda: _select(ctx))
    successor.put_in_place(ctx)
    return summary


def _checkpoint_digests(ctx: Context) -> list[str]:
    names = strings(ctx.journal.summary("train")["checkpoints"])
    return [folder_digest(ctx.run_folder / "checkpoints" / name) for name in names]


def _select(ctx: Context) -> Summary:
    from portrait_lora.evaluation.checkpoint_choice import choose_checkpoint
    from portrait_lora.stages import averaging
    from portrait_lora.stages.probing import Checkpoints
    from portrait_lora.training import adapter as lora

    folder = ctx.run_folder
    probes = Checkpoints(ctx)
    table = [probes.score(adapter) for adapter in ctx.adapters]
    stopped = bool(ctx.journal.summary("train").get("stopped_early"))
    step = choose_checkpoint(table, copy_limit=ctx.config.select.copy_limit, stopped_early=stopped)
    chosen = next(a for a in ctx.adapters if a.step == step)
    told: Summary = {}
    if ctx.config.select.average:
        chosen, told["average"] = averaging.better_average(ctx, probes, table, chosen)
    trained = [*(a.path for a in ctx.adapters), chosen.path]
    successor.keep_foreign(folder, trained)
    lora.export_diffusers(chosen, folder / ADAPTER)
    lora.export_kohya(chosen, folder / ADAPTER_COMFY)
    rows = [
        {"step": r.step, "mean": r.mean, "face_found_rate": r.face_found_rate, "values": list(r.values)}
        | {"copy_score": r.copy_score, "adherence": r.adherence}
        for r in table
    ]
    manifest.write_json_atomic(folder / "selection.json", {"step": step, "probes": rows} | told)
    manifest.finish(folder, kind="adapter", inputs={"base": ctx.base.digest}, extra={"step": step})
    return {"selected_step": step, "probes": rows, "adapter": str(ctx.likeness.adapters / ADAPTER)} | told
