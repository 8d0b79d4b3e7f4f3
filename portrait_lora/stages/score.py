"""Stage score: the delivered portraits measured, and the summary of the whole journey."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from portrait_lora import likeness, manifest, summaries
from portrait_lora.likeness import Summary
from portrait_lora.stages import standing
from portrait_lora.stages.context import Context, folder_digest

REPORTS: Final = ("drift.html", "drift.json", "drift.csv", "drift.parquet", "likeness.jpg")
"""What scoring writes into `reports/`."""


def score(ctx: Context) -> Summary:
    """Measure the portraits with embedder B; writes drift.html, drift.json and run.json."""
    summary = ctx.stage(
        "score", score_inputs(ctx), lambda: True, lambda: _score(ctx), lambda: _score_outputs(ctx)
    )
    manifest.write_json_atomic(ctx.likeness.reports / "run.json", run_summary(ctx))
    return summary


def score_inputs(ctx: Context) -> dict[str, str]:
    """What a report depends on: pictures, photos, choice of the checkpoint, models, and the name on it."""
    return {
        "portraits": folder_digest(ctx.likeness.portraits(ctx.series)),
        "dataset": folder_digest(ctx.likeness.dataset),
        "select": manifest.digest(ctx.journal.stages["select"]["inputs"]),
        "pack": ctx.pack.digest,
        "subject": ctx.digest("subject"),
    } | ({"clip": ctx.config.score.clip} if ctx.config.score.clip else {})


def _score_outputs(ctx: Context) -> list[Path]:
    """Every file that scoring leaves, the bare base's pictures too; run.json is written at each run."""
    base = ctx.likeness.portraits(f"{ctx.series}-base")
    pictures = [base / f"{shot.name}{suffix}" for shot in ctx.shots for suffix in (".png", ".json")]
    return [*(ctx.likeness.reports / name for name in REPORTS), *pictures]


def _score(ctx: Context) -> Summary:
    """The portraits are read as they lie in the sealed folder; only the bare base's are drawn here."""
    from portrait_lora.stages.reports import measure
    from portrait_lora.stages.series import delivered

    made = delivered(ctx)
    shots, base = [p.shot for p in made], ctx.likeness.portraits(f"{ctx.series}-base")
    bare = ctx.draw(None, shots, base, force="generate" in ctx.redo, label="base alone")
    return {**measure(ctx, made, bare), standing.SERIES: ctx.series}


def run_summary(ctx: Context) -> Summary:
    """The whole journey in `reports/run.json`."""
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
