"""Drift over a sampler setting or the checkpoints: the same prompts and seeds at several values of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from portrait_lora import config, csv_file, manifest
from portrait_lora.errors import ConfigError, InputError
from portrait_lora.evaluation import compare, drift, similarity
from portrait_lora.likeness import open_likeness
from portrait_lora.records import Adapter, IdentityScore
from portrait_lora.results import Number, Value
from portrait_lora.stages.context import Context, sampler_of
from portrait_lora.stages.reports import wanted_of

SETTINGS: Final = ("adapter_scale", "num_inference_steps", "guidance_scale")
CHECKPOINT: Final = "checkpoint"
SERIES: Final = "drift"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the sweep: how it is called, the setting it overrides, and the adapter it draws with."""

    text: str
    override: str | None
    adapter: Adapter


class SweepRow(Value):
    """The likeness at one value of the setting, and a sentence that compares it with the first."""

    value: str
    mean: Number
    ci95: tuple[Number, Number]
    face_found_rate: Number
    verified_rate: Number
    sentence: str


class SweepResult(Value):
    """Drift `over` a setting; `matrix` is the CSV of every portrait."""

    over: str
    rows: tuple[SweepRow, ...]
    matrix: str


def run(folder: Path, over: str, overrides: Sequence[str] = ()) -> SweepResult:
    """Measure `KEY=A,B,C` (a setting of `generate`, or `checkpoint=all`); writes reports/sweep-KEY.csv.

    The prompts are those of the series `drift`, which is used for nothing else.  The first value is what the
    others are compared with.
    """
    key, _, text = over.partition("=")
    key = key.strip().removeprefix("generate.")
    if key not in (*SETTINGS, CHECKPOINT) or not text.strip():
        needed = f"KEY=A,B,C with KEY one of {', '.join((*SETTINGS, CHECKPOINT))}"
        raise InputError("cannot measure drift over this", where="--over", got=over, needed=needed)
    overridden = [*overrides, f"generate.series={SERIES}"]
    ctx = Context(open_likeness(folder, overridden))
    values = _values(ctx, key, [part.strip() for part in text.split(",") if part.strip()])
    photos = wanted_of(ctx, [], []).holdout
    holdout, _ = similarity.embed_photos(photos, ctx.reporter, min_faces=similarity.MIN_HOLDOUT)
    table = [(value, _scores(ctx, folder, overridden, key, value, holdout)) for value in values]
    first = table[0]
    rows: list[SweepRow] = []
    for value, scores in table:
        estimate = drift.estimate(scores)
        low, high = estimate.ci95
        sentence = f"{key} {value.text}: similarity {estimate.mean:.3f} [{low:.3f}, {high:.3f}]"
        against = None
        if value is not first[0]:
            sides = [
                compare.Measured(f"{key} {v.text}", s, ctx.pack.digest, holdout.names)
                for v, s in ((value, scores), first)
            ]
            against = compare.compare(*sides).sentence
        rows.append(
            SweepRow(
                value=value.text,
                mean=estimate.mean,
                ci95=estimate.ci95,
                face_found_rate=drift.face_found_rate(scores),
                verified_rate=drift.verified_rate(scores, ctx.pack.threshold("report")),
                sentence=sentence if against is None else f"{sentence}. {against}",
            )
        )
    path = ctx.likeness.reports / f"sweep-{key}.csv"
    manifest.write_text_atomic(path, _matrix(key, table))
    return SweepResult(over=key, rows=tuple(rows), matrix=str(path))


def _values(ctx: Context, key: str, texts: Sequence[str]) -> list[Column]:
    if key != CHECKPOINT:
        return [Column(text, f"generate.{key}={text}", ctx.selected) for text in texts]
    steps = {str(a.step): a for a in ctx.adapters}
    wanted = list(steps) if list(texts) == ["all"] else list(texts)
    unknown = [text for text in wanted if text not in steps]
    if unknown:
        raise ConfigError(
            "no such checkpoint", where="--over", got=", ".join(unknown), needed=", ".join(steps)
        )
    return [Column(text, None, steps[text]) for text in wanted]


def _scores(
    ctx: Context,
    folder: Path,
    overrides: Sequence[str],
    key: str,
    value: Column,
    holdout: similarity.ReferenceSet,
) -> tuple[IdentityScore, ...]:
    """Draw the drift series at one value and score it with embedder B."""
    from portrait_lora.generation import sample

    own = [*overrides, *([value.override] if value.override else [])]
    settings = config.load(folder / config.FILE_NAME, own).generate
    portraits = sample.generate(
        ctx.family,
        value.adapter,
        ctx.shots,
        ctx.likeness.portraits(f"{SERIES}-{key}-{value.text}"),
        sampler_of(settings),
        batch_size=settings.batch_size,
        references=ctx.references,
    )
    items = [similarity.PortraitItem.of(p) for p in portraits]
    return similarity.score_portraits(items, holdout, ctx.reporter)


def _matrix(key: str, table: Sequence[tuple[Column, Sequence[IdentityScore]]]) -> str:
    """One row per value, prompt and seed."""
    rows = ([value.text, s.prompt, s.portrait, s.similarity] for value, scores in table for s in scores)
    return csv_file.text_of([key, "prompt", "portrait", "similarity"], rows)
