"""The last stage: embedder B looks at the portraits, the bare base's, and the real photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from portrait_lora import summaries
from portrait_lora.dataset.build import load_dataset_folder
from portrait_lora.evaluation import drift, identity, memorization, overview, report
from portrait_lora.evaluation.select import CheckpointScore
from portrait_lora.faces.quality import aligned_crop
from portrait_lora.likeness import Summary
from portrait_lora.records import DriftReport, Face, IdentityScore, Portrait

if TYPE_CHECKING:
    from portrait_lora.stages.context import Context

Crops = npt.NDArray[np.uint8]


class _Gather:
    """Collects the aligned crop and the embedding of every face that is looked at."""

    def __init__(self) -> None:
        self.crops: list[Crops] = []
        self.embeddings: list[npt.NDArray[np.float32]] = []
        self.heads: list[Image.Image] = []

    def __call__(self, path: Path, image: identity.RGBImage, face: Face | None) -> None:
        self.heads.append(overview.head_square(image, face))
        if face is not None:
            self.crops.append(aligned_crop(image, face.keypoints_px, 112))
            self.embeddings.append(face.embedding)

    def stacked(self) -> Crops:
        return np.stack(self.crops) if self.crops else np.zeros((0, 112, 112, 3), np.uint8)


def measure(ctx: Context, portraits: Sequence[Portrait], bare: Sequence[Portrait]) -> Summary:
    """Score, write drift.html and drift.json, and return the likeness block of run.json."""
    finder, pack, folder = ctx.reporter, ctx.pack, ctx.likeness
    crops, holdout_paths = load_dataset_folder(folder.dataset)
    training_paths = sorted({folder.photos / crop.source for crop in crops})
    seen_holdout, seen_training, seen_portraits = _Gather(), _Gather(), _Gather()
    holdout, _ = identity.embed_photos(
        holdout_paths, finder, min_faces=identity.MIN_HOLDOUT, on_face=seen_holdout
    )
    training, _ = identity.embed_photos(training_paths, finder, on_face=seen_training)
    scores = identity.score_portraits(_items(portraits), holdout, finder, on_face=seen_portraits)
    base_scores = identity.score_portraits(_items(bare), holdout, finder)
    made = drift.drift_report(
        scores,
        base_scores,
        holdout=holdout.names,
        pack_digest=pack.digest,
        threshold=pack.threshold("report"),
        false_match_rate=pack.false_match_rate,
        ceiling=identity.ceiling(training, holdout),
        impostor=identity.impostor(finder.impostor_embeddings(), holdout),
        copy_score=memorization.copy_score(
            seen_portraits.stacked(), seen_training.stacked(), seen_holdout.stacked()
        ),
    )
    gap = None
    if seen_portraits.embeddings:
        gap = memorization.similarity_gap(np.stack(seen_portraits.embeddings), training, holdout)
    notes = _notes(ctx, gap)
    report.write_drift_html(
        folder.reports / "drift.html",
        made,
        portraits={p.path.name: p.path for p in portraits},
        base_portraits={p.path.name: p.path for p in bare},
        holdout={p.name: p for p in holdout_paths},
        notes=notes,
    )
    report.write_drift_json(folder.reports / "drift.json", made, notes)
    _overview(folder.reports / "likeness.jpg", made, seen_holdout, portraits, bare)
    return {"likeness": likeness_block(made), "report": str(folder.reports / "drift.html")}


def _overview(
    path: Path, made: DriftReport, holdout: _Gather, portraits: Sequence[Portrait], bare: Sequence[Portrait]
) -> None:
    """Held-out photos, the base and the adapter under one another, one picture per prompt."""

    def row(
        title: str, note: str, pictures: Sequence[Portrait], scores: Sequence[IdentityScore]
    ) -> overview.Row:
        found = {s.portrait: s.similarity for s in scores}
        first: dict[str, Portrait] = {}
        for picture in pictures:
            first.setdefault(picture.shot.prompt, picture)
        tiles = []
        for picture in list(first.values())[:8]:
            value = found[picture.path.name]
            with Image.open(picture.path) as opened:
                tiles.append((opened.convert("RGB"), "no face" if value is None else f"{value:.2f}"))
        return overview.Row(title, note, tiles)

    real = overview.Row("Held-out photos", "never trained on", [(head, "") for head in holdout.heads[:8]])
    base = row("Without the adapter", f"mean similarity {made.base_mean:.2f}", bare, made.base_scores)
    note = (
        f"mean similarity {made.mean:.2f}; real photos {made.ceiling:.2f}, other people {made.impostor:.2f}"
    )
    ours = row("With the adapter", note, portraits, made.scores)
    overview.write_overview(path, "How much of the face survived", [real, base, ours])


def _items(portraits: Sequence[Portrait]) -> list[identity.PortraitItem]:
    return [identity.PortraitItem(p.path, p.shot.prompt) for p in portraits]


def _notes(ctx: Context, gap: float | None) -> report.PageNotes:
    select = ctx.journal.summary("select")
    training = ctx.journal.summary("train")
    generate = ctx.config.generate
    rows: list[dict[str, object]] = list(select["probes"])  # pyright: ignore[reportArgumentType]
    return report.PageNotes(
        subject=ctx.config.subject.name,
        settings={
            "base": ctx.base.label,
            "LoRA rank": ctx.config.training.rank,
            "training steps": training["steps"],
            "series": generate.series,
            "inference steps": generate.num_inference_steps,
            "guidance scale": generate.guidance_scale,
            "adapter scale": generate.adapter_scale,
            "face pack": f"{ctx.pack.name} ({ctx.pack.licence})",
        },
        versions=summaries.versions(),
        checkpoints=[CheckpointScore(**(row | {"n": len(row["values"])})) for row in rows],  # type: ignore[arg-type]
        selected_step=int(str(select["selected_step"])),
        embedder_select=ctx.pack.embedder_ids["select"],
        copy_gap=gap,
        synthetic=ctx.pack.synthetic,
    )


def likeness_block(made: DriftReport) -> Summary:
    """The `likeness` object of run.json."""
    return {
        "embedder": made.embedder_id,
        "adapter_mean": made.mean,
        "mean_of_found": made.mean_of_found,
        "ci95": list(made.ci95),
        "base_mean": made.base_mean,
        "ceiling": made.ceiling,
        "impostor": made.impostor,
        "share_of_ceiling": made.share_of_ceiling,
        "face_found_rate": made.face_found_rate,
        "verified_rate": made.verified_rate,
        "threshold": made.threshold,
        "copy_score": made.copy_score,
    }
