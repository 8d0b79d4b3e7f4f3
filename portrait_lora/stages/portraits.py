"""Stages generate and score, and the summary of the whole journey."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from portrait_lora import likeness, manifest, summaries
from portrait_lora.likeness import Summary
from portrait_lora.stages.context import ADAPTER, Context, folder_digest, is_whole


def generate(ctx: Context) -> Summary:
    """Write `portraits/<series>/` with one PNG and JSON per picture and the contact sheet."""
    inputs = {
        "adapter": manifest.sha256_file(ctx.likeness.adapters / ADAPTER),
        "config": ctx.digest("generate"),
        "shots": manifest.digest(
            [[s.name, s.prompt, s.negative_prompt, s.size_px, s.seed] for s in ctx.shots]
        ),
        "base": ctx.base.digest,
    }
    folder = ctx.likeness.portraits(ctx.series)
    return ctx.stage("generate", inputs, lambda: is_whole(folder), lambda: _portraits(ctx, folder, inputs))


def _portraits(ctx: Context, folder: Path, inputs: Mapping[str, str]) -> Summary:
    from portrait_lora.generation.contact_sheet import contact_sheet

    (folder / manifest.NAME).unlink(missing_ok=True)
    wanted = {f"{s.name}{suffix}" for s in ctx.shots for suffix in (".png", ".json")}
    for stale in folder.glob("*"):
        if stale.is_file() and stale.name not in wanted:
            stale.unlink()
    made = ctx.draw(ctx.selected, ctx.shots, folder, force="generate" in ctx.redo)
    sheet = contact_sheet(made, folder / "contact_sheet.jpg", title=ctx.config.subject.name or ctx.series)
    manifest.finish(folder, kind="portraits", inputs=inputs, extra={"series": ctx.series})
    return {"portraits": len(made), "folder": str(folder), "contact_sheet": str(sheet)}


def score(ctx: Context) -> Summary:
    """Measure the portraits with embedder B; writes drift.html, drift.json and run.json."""
    portraits = ctx.likeness.portraits(ctx.series)
    inputs = {
        "portraits": folder_digest(portraits),
        "dataset": folder_digest(ctx.likeness.dataset),
        "select": manifest.digest(ctx.journal.stages["select"]["inputs"]),
        "pack": ctx.pack.digest,
    }
    pages = [ctx.likeness.reports / name for name in ("drift.html", "drift.json", "run.json")]
    summary = ctx.stage("score", inputs, lambda: all(p.is_file() for p in pages), lambda: _score(ctx))
    manifest.write_json_atomic(pages[2], run_summary(ctx))
    return summary


def _score(ctx: Context) -> Summary:
    from portrait_lora.stages.scoring import measure

    made = ctx.draw(ctx.selected, ctx.shots, ctx.likeness.portraits(ctx.series))
    bare = ctx.draw(
        None, ctx.shots, ctx.likeness.portraits(f"{ctx.series}-base"), force="generate" in ctx.redo
    )
    return measure(ctx, made, bare)


def run_summary(ctx: Context) -> Summary:
    """`reports/run.json`: DESIGN section 8."""
    said = {name: ctx.journal.summary(name) for name in likeness.STAGES}
    seconds: Summary = {name: ctx.journal.seconds(name) for name in likeness.STAGES}
    total = round(time.monotonic() - ctx.started, 2)
    training = said["train"]
    keys = ("base", "steps", "samples", "final_loss")
    return {
        "seconds": seconds | {"total": total},
        "skipped": list(ctx.skipped),
        "photos": said["check"]["photos"],
        "training": {k: training[k] for k in keys} | {"selected_step": said["select"]["selected_step"]},
        "likeness": said["score"]["likeness"],
        "portraits": said["generate"]["portraits"],
        "device": ctx.device.device,
        "peak_memory_mb": summaries.peak_memory_mb(),
        "versions": summaries.versions(),
    }
