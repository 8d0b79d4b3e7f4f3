"""The same shots at several strengths of the adapter, on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from portrait_lora.evaluation import similarity
from portrait_lora.generation import sample
from portrait_lora.generation.contact_sheet import contact_sheet
from portrait_lora.likeness import open_likeness
from portrait_lora.records import Portrait
from portrait_lora.results import Number, Value
from portrait_lora.stages.context import Context, sampler_of
from portrait_lora.stages.series import holdout_of


class ScaleRow(Value):
    """Mean similarity at one strength of the adapter, a portrait without a face counted as 0."""

    scale: Number
    similarity: Number
    faces: int


class ScalesResult(Value):
    """One row per strength, the embedder that measured, and the sheet."""

    rows: tuple[ScaleRow, ...]
    embedder: str
    contact_sheet: str


def sweep(folder: Path, scales: Sequence[float], shots: int, overrides: Sequence[str]) -> ScalesResult:
    """The same shots and seeds at several strengths of the adapter, on one sheet, one row per shot."""
    ctx = Context(open_likeness(folder, overrides))
    settings, out = ctx.config.generate, ctx.likeness.portraits(f"{ctx.series}-scales")
    columns: list[list[Portrait]] = []
    rows: list[ScaleRow] = []
    holdout = holdout_of(ctx)
    for scale in scales:
        own = [replace(s, name=f"{s.name}-scale-{scale:g}") for s in ctx.shots[:shots]]
        portraits = sample.generate(
            ctx.family,
            ctx.selected,
            own,
            out,
            replace(sampler_of(settings), adapter_scale=scale),
            batch_size=settings.batch_size,
            references={s.name: ctx.references.get(o.name, ()) for s, o in zip(own, ctx.shots, strict=False)},
        )
        items = [similarity.PortraitItem.of(p) for p in portraits]
        similarities = [s.similarity for s in similarity.score_portraits(items, holdout, ctx.finder)]
        mean = float(np.mean([0.0 if v is None else v for v in similarities]))
        columns.append(portraits)
        faces = sum(v is not None for v in similarities)
        rows.append(ScaleRow(scale=scale, similarity=round(mean, 4), faces=faces))
    by_shot = [portrait for row in zip(*columns, strict=True) for portrait in row]
    notes = {p.path.name: [f"scale {p.adapter_scale:g}"] for p in by_shot}
    sheet = contact_sheet(
        by_shot, out / "contact_sheet.jpg", title="adapter scale", columns=len(scales), notes=notes
    )
    return ScalesResult(rows=tuple(rows), embedder=ctx.finder.embedder_id, contact_sheet=str(sheet))
