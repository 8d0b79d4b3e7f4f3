"""Stages generate and score, and the summary of the whole journey."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from portrait_lora import consent, likeness, manifest, removal, strict_json, summaries
from portrait_lora.errors import ArtifactError
from portrait_lora.likeness import Summary
from portrait_lora.stages import standing
from portrait_lora.stages.context import ADAPTER, Context, folder_digest, is_whole

if TYPE_CHECKING:
    from portrait_lora.generation.checklist import Check
    from portrait_lora.records import Portrait


def generate(ctx: Context) -> Summary:
    """Write `portraits/<series>/`: PNG and JSON per picture, the checklist, two sheets; and the page.

    Raises `TooManyPictures` for a series above `generate.max_pictures`, and `ConfigError` for remarks of
    the linter when `generate.strict`, and `InputError` where a consent has ended.
    """
    consent.require_valid(ctx.likeness.root)
    inputs = {
        "adapter": manifest.sha256_file(ctx.likeness.adapters / ADAPTER),
        "config": ctx.digest("generate"),
        "shots": manifest.digest(
            [[s.name, s.prompt, s.negative_prompt, s.size_px, s.seed] for s in ctx.shots]
        ),
        "base": ctx.base.digest,
    }
    folder = ctx.likeness.portraits(ctx.series)
    standing.refuse_another_series(ctx, folder)
    summary = ctx.stage(
        "generate",
        inputs,
        lambda: is_whole(folder),
        lambda: _portraits(ctx, folder, inputs),
        lambda: [_page_file(ctx), _timings_file(ctx)],
    )
    standing.withdraw_report(ctx, folder)
    return summary


def _portraits(ctx: Context, folder: Path, inputs: Mapping[str, str]) -> Summary:
    from portrait_lora.generation.checklist import failures
    from portrait_lora.generation.contact_sheet import contact_sheet
    from portrait_lora.generation.gallery import worst_first
    from portrait_lora.stages import series

    series.ask_first(ctx)
    remarks = series.lint_shots(ctx)
    best = {series.CHOICES} if ctx.config.generate.best_of > 1 else set[str]()
    wanted = {f"{s.name}{suffix}" for s in ctx.shots for suffix in (".png", ".json")} | best
    pages = (likeness.CONTACT_SHEET, likeness.WORST_FIRST, series.CHECKLIST, series.CHOICES, manifest.NAME)
    removal.remove_recorded(folder, owner=ctx.likeness.root / "portraits", names=pages, keep=wanted)
    timings = _known_timings(ctx) if "generate" not in ctx.redo else {}
    drawn: dict[str, float] = {}
    made = series.draw(ctx, folder, drawn)
    checks = series.check_all(ctx, made)
    series.write_checklist(folder, checks)
    title = ctx.config.subject.name or ctx.series
    sheet = contact_sheet(made, folder / likeness.CONTACT_SHEET, title=title)
    failed = {name: failures(found) for name, found in checks.items()}
    review = contact_sheet(
        worst_first(made, checks), folder / likeness.WORST_FIRST, title=f"{title}: worst first", notes=failed
    )
    extra = {"series": ctx.series, "origin": standing.origin(ctx)}
    sealed = wanted | {likeness.CONTACT_SHEET, likeness.WORST_FIRST, series.CHECKLIST}
    # what others laid there is not ours to seal
    manifest.finish(folder, kind="portraits", inputs=inputs, extra=extra, names=sealed)
    seconds = {s.name: round((timings | drawn).get(s.name, 0.0), 3) for s in ctx.shots}
    manifest.write_json_atomic(_timings_file(ctx), seconds)
    told = _cost(ctx, seconds)
    page = _page(ctx, made, checks, told, remarks, title)
    return {
        "portraits": len(made),
        "folder": str(folder),
        "contact_sheet": str(sheet),
        "worst_first": str(review),
        "gallery": str(page),
        "remarks": remarks,
        "flawed": sum(bool(codes) for codes in failed.values()),
        **told,
    }


def _known_timings(ctx: Context) -> dict[str, float]:
    """Seconds of the pictures that an earlier run drew, told on the page."""
    try:
        raw = strict_json.load_object(_timings_file(ctx), "record of the series")
    except ArtifactError:
        return {}
    return cast(dict[str, float], raw)


def _timings_file(ctx: Context) -> Path:
    return ctx.likeness.reports / f"series-{ctx.series}.json"


def _page_file(ctx: Context) -> Path:
    return ctx.likeness.reports / f"series-{ctx.series}.html"


def _cost(ctx: Context, seconds: Mapping[str, float]) -> Summary:
    """Seconds and, given a price, cost of one portrait; a picture of unknown time is left out."""
    known = [value for value in seconds.values() if value > 0]
    each = sum(known) / len(known) if known else None
    price = ctx.config.generate.price_per_hour
    cost = None if each is None or price is None else round(each * price / 3600, 6)
    return {"seconds_per_portrait": None if each is None else round(each, 3), "cost_per_portrait": cost}


def _page(
    ctx: Context,
    made: Sequence[Portrait],
    checks: Mapping[str, tuple[Check, ...]],
    told: Summary,
    remarks: Sequence[str],
    title: str,
) -> Path:
    from portrait_lora.generation.gallery import write_gallery

    each, cost = told["seconds_per_portrait"], told["cost_per_portrait"]
    facts = [f"{len(made)} portraits", f"series {ctx.series}", f"base {ctx.base.label}"]
    facts += [] if each is None else [f"{each} s each"]
    facts += (
        [] if cost is None else [f"cost {cost:g} each at {ctx.config.generate.price_per_hour:g} per hour"]
    )
    return write_gallery(_page_file(ctx), made, checks, title=title, facts=facts, remarks=remarks)


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
    from portrait_lora.stages.scoring import REPORTS

    base = ctx.likeness.portraits(f"{ctx.series}-base")
    pictures = [base / f"{shot.name}{suffix}" for shot in ctx.shots for suffix in (".png", ".json")]
    return [*(ctx.likeness.reports / name for name in REPORTS), *pictures]


def _score(ctx: Context) -> Summary:
    """The portraits are read as they lie in the sealed folder; only the bare base's are drawn here."""
    from portrait_lora.stages.scoring import measure
    from portrait_lora.stages.series import delivered

    made = delivered(ctx)
    shots, base = [p.shot for p in made], ctx.likeness.portraits(f"{ctx.series}-base")
    bare = ctx.draw(None, shots, base, force="generate" in ctx.redo, label="base alone")
    return {**measure(ctx, made, bare), standing.SERIES: ctx.series}


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
