"""Stage score: the delivered portraits measured, and the summary of the whole journey."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from portrait_lora import likeness, manifest, summaries
from portrait_lora.results import (
    CheckResult,
    GenerateResult,
    RunResult,
    ScoreResult,
    SelectResult,
    StageSeconds,
    TrainingFigures,
    TrainingResult,
)
from portrait_lora.stages.context import Context, folder_digest

REPORTS: Final = ("drift.html", "drift.json", "drift.csv", "drift.parquet", "likeness.jpg")
"""What scoring writes into `reports/`."""


def score(ctx: Context) -> ScoreResult:
    """Measure the portraits with embedder B; writes drift.html, drift.json and, of an adapter, run.json."""
    result = ctx.stage(
        ScoreResult, score_inputs(ctx), lambda: True, lambda: _score(ctx), lambda: _score_outputs(ctx)
    )
    if not ctx.alone:  # there is no training to sum up
        manifest.write_json_atomic(ctx.likeness.reports / "run.json", run_result(ctx).json_value())
    return result


def score_inputs(ctx: Context) -> dict[str, str]:
    """What a report depends on: pictures, photos, choice of the checkpoint, models, and the name on it."""
    return {
        "portraits": folder_digest(ctx.likeness.portraits(ctx.series)),
        "dataset": folder_digest(ctx.likeness.dataset),
        "select": manifest.digest(ctx.journal.inputs("select")),
        "pack": ctx.pack.digest,
        "subject": ctx.digest("subject"),
    } | ({"clip": ctx.config.score.clip} if ctx.config.score.clip else {})


def _score_outputs(ctx: Context) -> list[Path]:
    """Every file that scoring leaves, the bare base's pictures too; run.json is written at each run."""
    base = ctx.likeness.portraits(f"{ctx.series}-base")
    pictures = [base / f"{shot.name}{suffix}" for shot in ctx.shots for suffix in (".png", ".json")]
    return [*(ctx.likeness.reports / name for name in REPORTS), *pictures]


def _score(ctx: Context) -> ScoreResult:
    """The portraits are read as they lie in the sealed folder; only the bare base's are drawn here."""
    from portrait_lora.stages.reports import measure
    from portrait_lora.stages.series import delivered

    portraits = delivered(ctx)
    shots, base = [p.shot for p in portraits], ctx.likeness.portraits(f"{ctx.series}-base")
    bare = ctx.draw(None, shots, base, force="generate" in ctx.redo, label="base alone")
    return measure(ctx, portraits, bare)


def run_result(ctx: Context) -> RunResult:
    """The whole journey, as it stands in `reports/run.json`."""
    journal, training = ctx.journal, ctx.journal.result(TrainingResult)
    result = RunResult(
        seconds=StageSeconds(
            **{name: journal.seconds(name) for name in likeness.STAGES},
            total=round(time.monotonic() - ctx.started, 2),
        ),
        skipped=tuple(ctx.skipped),
        photos=journal.result(CheckResult).photos,
        training=TrainingFigures(
            base=training.base,
            steps=training.steps,
            samples=training.samples,
            final_loss=training.final_loss,
            selected_step=journal.result(SelectResult).selected_step,
        ),
        likeness=journal.result(ScoreResult).likeness,
        portraits=journal.result(GenerateResult).portraits,
        device=ctx.device.device,
        peak_memory_mb=summaries.peak_memory_mb(),
        versions=summaries.versions(),
    )
    return result.model_copy(update={"finished": ctx.finished}) if ctx.finished else result
