"""Stage check: every photo examined, and the set curated."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from portrait_lora import log, manifest, provenance
from portrait_lora.errors import InputError
from portrait_lora.pictures.reader import list_photos
from portrait_lora.results import (
    CheckResult,
    CoverageGrid,
    PhotoCounts,
    PhotoFinding,
    PhotoVerdict,
    RejectedPhoto,
)
from portrait_lora.settings import CAPTION_ADVICE
from portrait_lora.stages.context import Context

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from portrait_lora.dataset.curate import TooFewPhotos
    from portrait_lora.records import CuratedSet, PhotoReport


_SETTING = {"face pack": "-s face_pack=NAME", "base model": "-s base=NAME"}


def check(ctx: Context) -> CheckResult:
    """Write `reports/check.html`; too few usable photos is reported, not raised."""
    page = ctx.likeness.reports / "check.html"
    return ctx.stage(CheckResult, photo_inputs(ctx), page.is_file, lambda: _check(ctx, page), lambda: [page])


def _check(ctx: Context, page: Path) -> CheckResult:
    from portrait_lora.dataset.report import write_check_html
    from portrait_lora.records import CuratedSet

    manifest.make_folder(ctx.likeness.reports)
    reports, outcome = examined(ctx)
    curated = outcome if isinstance(outcome, CuratedSet) else None
    shown = reports if isinstance(outcome, CuratedSet) else outcome.reports
    title = ctx.config.subject.name or ctx.likeness.root.name
    write_check_html(page, curated, shown, title=title)
    return _result(curated, shown, page)


def _result(curated: CuratedSet | None, reports: Sequence[PhotoReport], page: Path) -> CheckResult:
    """`curated` is None when too few photos are usable; the findings of curation count with the others."""
    from portrait_lora.dataset import coverage

    final = [*curated.kept, *curated.holdout, *curated.rejected] if curated else list(reports)
    final.sort(key=lambda r: r.photo.path.name)
    out = [r for r in final if not r.accepted]
    rejected = tuple(RejectedPhoto(file=r.photo.path.name, codes=r.codes) for r in out if not r.questioned)
    held_out = tuple(r.photo.path.name for r in curated.holdout) if curated else ()
    seen = curated.coverage if curated else coverage.coverage(final)
    return CheckResult(
        photos=PhotoCounts(
            given=len(final),
            accepted=len(final) - len(out),
            rejected=rejected,
            held_out=len(held_out),
            questioned=tuple(r.photo.path.name for r in out if r.questioned),
        ),
        held_out=held_out,
        findings=tuple(_verdict(r) for r in final),
        missing=seen.missing,
        advice=seen.advice,
        enough=curated is not None,
        report=str(page),
        coverage=_coverage(curated),
    )


def _verdict(report: PhotoReport) -> PhotoVerdict:
    from portrait_lora.dataset.coverage import cell

    box = None
    if report.face is not None:
        x0, y0, x1, y1 = (round(float(v), 1) for v in report.face.box_xyxy_px)
        box = (x0, y0, x1, y1)
    view, expression = cell(report.face) if report.face else (None, None)
    return PhotoVerdict(
        file=report.photo.path.name,
        accepted=report.accepted,
        findings=tuple(
            PhotoFinding(
                code=f.code,
                severity=f.severity,
                measured=f.measured,
                threshold=f.threshold,
                advice=f.advice,
            )
            for f in report.findings
            if f.severity != "not_checked"
        ),
        not_checked=tuple(f.code for f in report.findings if f.severity == "not_checked"),
        size_px=report.photo.size_px,
        box_px=box,
        view=view,
        expression=expression,
        sha256=report.photo.sha256,
        turn_deg=report.photo.edit.turn_deg if report.photo.edit else 0,
        crop=report.photo.edit.crop if report.photo.edit else None,
    )


def _coverage(curated: CuratedSet | None) -> CoverageGrid | None:
    """The grid and the groups, for programs; None when too few photos are usable."""
    if curated is None:
        return None
    coverage = curated.coverage
    return CoverageGrid(
        yaw_bins=coverage.yaw_bins,
        pitch_bins=coverage.pitch_bins,
        expression_bins=coverage.expression_bins,
        cells=coverage.cells,
        variety={one.kind: one.groups for one in coverage.variety},
        appearance_spread=coverage.appearance_spread,
    )


def photo_inputs(ctx: Context) -> dict[str, str]:
    """The base counts by its resolution: smaller photos than that asks for are rejected."""
    return {
        "photos": manifest.digest(ctx.photo_digests),
        "config": ctx.digest("dataset", "subject", "allow_synthetic_models"),
        "pack": ctx.pack.digest,
        "resolution_px": str(ctx.base.resolution_px),
    }


def examined(ctx: Context) -> tuple[list[PhotoReport], CuratedSet | TooFewPhotos]:
    """Every photo's report, and the curated set or why there is none; looked at once per journey."""
    if ctx.examined is None:
        ctx.examined = _examine(ctx)
    return ctx.examined


def _examine(ctx: Context) -> tuple[list[PhotoReport], CuratedSet | TooFewPhotos]:
    """Every photo's report, and the curated set or why there is none."""
    from portrait_lora.dataset import checks, crop, curate, duplicates, subject
    from portrait_lora.faces import age
    from portrait_lora.stages import configured, minors

    refuse_unknown_world(ctx, trains=False)
    _ = ctx.photo_digests
    settings = ctx.config.dataset
    least = math.ceil(ctx.base.resolution_px / crop.MAX_ENLARGEMENT)
    wanted = configured.check_of(settings.check, least_side_px=least)
    fingerprints = duplicates.Fingerprints()
    edits = configured.edits_of(settings)
    reports = checks.check_folder(
        ctx.likeness.photos, ctx.finder, wanted, seen=fingerprints.see, edits=edits, tell=_tell
    )
    reports = minors.with_ages(reports, age.reader_of(ctx.pack))
    if not reports:
        got = f"{len(ctx.photo_digests)} files, none of them a picture"
        raise ctx.no_photos(got)
    same = subject.SHARE_OF_THRESHOLD * ctx.pack.threshold("select")
    try:
        limits = configured.curate_of(settings.curate, same_person_similarity=same)
        curated = curate.curate(reports, limits, fingerprints=fingerprints)
        return reports, _with_advice(ctx, curated)
    except curate.TooFewPhotos as few:
        return reports, few


def _tell(report: PhotoReport) -> None:
    """The verdict on one photo as it comes, for whoever follows the job."""
    from portrait_lora.dataset.report import TITLES

    tone = "good" if report.accepted else "ask" if report.questioned else "bad"
    words = ", ".join(TITLES.get(code, code) for code in report.codes) or "Usable so far"
    log.event("metric", name="photo", file=report.photo.path.name, tone=tone, words=words)


def _with_advice(ctx: Context, curated: CuratedSet) -> CuratedSet:
    """The recommendation of a captioning model, where photographs would get the built-in captioner."""
    if not built_in_captions(ctx):
        return curated
    coverage = curated.coverage
    return replace(curated, coverage=replace(coverage, advice=(*coverage.advice, CAPTION_ADVICE)))


def built_in_captions(ctx: Context) -> bool:
    """Whether photographs are captioned by what the program itself sees."""
    return not ctx.pack.synthetic and ctx.config.dataset.captions.captioner == "attributes"


def refuse_unknown_world(ctx: Context, *, trains: bool) -> None:
    """The embedded models know only the studio; on photographs they would give nonsense figures.

    The base has no part in looking at photos: an embedded one alone is refused where a dataset for training
    with it would be made (`trains`).
    """
    unfit = ctx.pack.synthetic or (trains and ctx.base.synthetic)
    if ctx.config.allow_synthetic_models or not unfit:
        return
    files = list_photos(ctx.likeness.photos)
    real = [p.name for p in files if provenance.is_unmarked_picture(p)]
    if real:
        embedded = {"face pack": ctx.pack.synthetic, "base model": ctx.base.synthetic}
        which = [part for part, synthetic in embedded.items() if synthetic]
        know = "know" if len(which) > 1 else "knows"
        raise InputError(
            f"the embedded {' and '.join(which)} {know} only the synthetic studio, and these look like real "
            "photographs",
            where=ctx.likeness.photos,
            got=f"{len(real)} of {len(files)} pictures without the studio's mark, such as {real[0]}",
            needed=f"a {' and a '.join(which)} made for photographs",
            remedy="See `portrait-lora models` and set "
            f"{' and '.join(_SETTING[part] for part in which)}, or go on all the same with "
            "--allow-synthetic-models.",
        )
