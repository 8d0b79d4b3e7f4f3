"""The reports of a likeness: embedder B measures the portraits, the bare base's, and the real photos."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from portrait_lora import manifest, summaries
from portrait_lora.dataset.build import load_dataset_folder
from portrait_lora.evaluation import drift_page, drift_words, overview, similarity, tables
from portrait_lora.evaluation.checkpoint_choice import CheckpointScore
from portrait_lora.evaluation.measure import Wanted, look
from portrait_lora.records import DriftReport, IdentityScore, Portrait
from portrait_lora.results import LikenessFigures, Probe, ScoreResult, SelectResult, TrainingResult
from portrait_lora.stages.sampling import steps_and_guidance

if TYPE_CHECKING:
    from portrait_lora.stages.context import Context


def measure(ctx: Context, portraits: Sequence[Portrait], bare: Sequence[Portrait]) -> ScoreResult:
    """Score, and write drift.html, .json, .csv, .parquet and likeness.jpg: all of them, or none."""
    folder = ctx.likeness
    wanted = wanted_of(ctx, portraits, bare)
    looked = look(ctx.reporter, wanted)
    report, notes = looked.report, _notes(ctx)
    with manifest.new_files(folder.reports) as part:
        drift_page.write_drift_html(
            part / "drift.html",
            report,
            portraits={p.path.name: p.path for p in portraits},
            base_portraits={p.path.name: p.path for p in bare},
            holdout={p.name: p for p in wanted.holdout},
            notes=notes,
            extras=looked.extras,
        )
        drift_page.write_drift_json(part / "drift.json", report, notes, looked.extras)
        tables.write_csv(part / "drift.csv", report)
        tables.write_parquet(part / "drift.parquet", report)
        title = "With references alone" if ctx.alone else "With the adapter"
        _overview(part / "likeness.jpg", report, looked.heads, portraits, bare, title)
    return ScoreResult(
        likeness=likeness_figures(report), report=str(folder.reports / "drift.html"), series=ctx.series
    )


def wanted_of(ctx: Context, portraits: Sequence[Portrait], bare: Sequence[Portrait]) -> Wanted:
    """The held-out and training photos of a likeness, beside these portraits."""
    crops, holdout_paths = load_dataset_folder(ctx.likeness.dataset)
    training_paths = ctx.photos_of(crops)
    return Wanted(
        holdout_paths,
        training_paths,
        _items(portraits),
        _items(bare),
        clip=ctx.config.score.clip,
        trigger=ctx.trigger,
    )


def _overview(
    path: Path,
    report: DriftReport,
    heads: Sequence[Image.Image],
    portraits: Sequence[Portrait],
    bare: Sequence[Portrait],
    title: str,
) -> None:
    """Held-out photos, the base and the portraits under one another, one picture per prompt."""

    def row(
        title: str, note: str, pictures: Sequence[Portrait], scores: Sequence[IdentityScore]
    ) -> overview.Row:
        similarities = {s.portrait: s.similarity for s in scores}
        first: dict[str, Portrait] = {}
        for picture in pictures:
            first.setdefault(picture.shot.prompt, picture)
        tiles = []
        for picture in list(first.values())[:8]:
            value = similarities[picture.path.name]
            with Image.open(picture.path) as opened:
                tiles.append((opened.convert("RGB"), "no face" if value is None else f"{value:.2f}"))
        return overview.Row(title, note, tiles)

    real = overview.Row("Held-out photos", "never trained on", [(head, "") for head in heads[:8]])
    base = row("Without the adapter", f"mean similarity {report.base_mean:.2f}", bare, report.base_scores)
    others = f", other people {report.impostor:.2f}" if math.isfinite(report.impostor) else ""
    note = f"mean similarity {report.mean:.2f}; real photos {report.ceiling:.2f}{others}"
    ours = row(title, note, portraits, report.scores)
    overview.write_overview(path, "How much of the face survived", [real, base, ours])


def _items(portraits: Sequence[Portrait]) -> list[similarity.PortraitItem]:
    return [similarity.PortraitItem.of(p) for p in portraits]


def _notes(ctx: Context) -> drift_page.PageNotes:
    notes = drift_page.PageNotes(
        subject=ctx.config.subject.name,
        settings=_settings(ctx),
        versions=summaries.versions(),
        embedder_select=ctx.pack.embedder_ids["select"],
        synthetic=ctx.pack.synthetic,
    )
    if ctx.alone:
        return replace(notes, words=drift_words.REFERENCES_ALONE)
    select = ctx.journal.result(SelectResult)
    return replace(
        notes,
        checkpoints=[checkpoint_of(probe) for probe in select.probes],
        selected_step=select.selected_step,
        best_step=select.best_step,
    )


def _settings(ctx: Context) -> dict[str, object]:
    """What the page says of how the portraits were made."""
    generate = ctx.config.generate
    steps, guidance = steps_and_guidance(generate)
    settings: dict[str, object] = {"base": ctx.base.label}
    if not ctx.alone:
        settings["LoRA rank"] = ctx.config.training.rank
        settings["training steps"] = ctx.journal.result(TrainingResult).steps
    settings |= {"series": generate.series, "inference steps": steps, "guidance scale": guidance}
    if not ctx.alone:
        settings["adapter scale"] = generate.adapter_scale
    settings["face pack"] = f"{ctx.pack.name} ({ctx.pack.licence})"
    settings |= {"reference photos": generate.references} if generate.references else {}
    if generate.references and generate.references_until < 1:
        settings["shown until"] = f"{generate.references_until:.0%} of the steps"
    settings |= {"chosen by embedder A": f"best of {generate.best_of}"} if generate.best_of > 1 else {}
    return settings


def checkpoint_of(probe: Probe) -> CheckpointScore:
    """The row that selection had of a checkpoint."""
    return CheckpointScore(
        step=probe.step,
        mean=probe.mean,
        face_found_rate=probe.face_found_rate,
        n=len(probe.values),
        values=probe.values,
        copy_score=probe.copy_score,
        adherence=probe.adherence,
        refused=probe.refused,
    )


def likeness_figures(report: DriftReport, *, prompts_known: bool = True) -> LikenessFigures:
    """The figures of a report that people and programs read first."""
    return LikenessFigures(
        embedder=report.embedder_id,
        adapter_mean=report.mean,
        mean_of_found=report.mean_of_found,
        ci95=report.ci95,
        prompts=len(report.prompts) if prompts_known else None,
        no_interval=drift_words.interval_missing(report, prompts_known),
        passing=drift_words.passing(report),
        base_mean=_known(report.base_mean),
        ceiling=report.ceiling,
        impostor=_known(report.impostor),
        impostor_source=report.impostor_source,
        share_of_ceiling=_known(report.share_of_ceiling),
        face_found_rate=report.face_found_rate,
        verified_rate=report.verified_rate,
        threshold=report.threshold,
        copy_score=_known(report.copy_score),
    )


def _known(value: float) -> float | None:
    """None for what was not measured: NaN is no JSON."""
    return value if math.isfinite(value) else None
