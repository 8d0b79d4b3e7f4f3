"""Stage prepare: from the curated photos to a captioned dataset with a holdout."""

from __future__ import annotations

from portrait_lora import manifest
from portrait_lora.results import PrepareResult
from portrait_lora.settings import CAPTION_ADVICE
from portrait_lora.stages import check
from portrait_lora.stages.context import Context, is_whole


def prepare(ctx: Context) -> PrepareResult:
    """Write `dataset/` and `captions.csv`.  Raises `PhotosError` when too few photos are usable."""
    folder = ctx.likeness.dataset
    inputs = _prepare_inputs(ctx)
    result = ctx.stage(PrepareResult, inputs, lambda: is_whole(folder), lambda: _prepare(ctx))
    if "prepare" not in ctx.skipped:  # the captions file that it wrote is an input of the next run
        ctx.journal.record(_prepare_inputs(ctx), ctx.journal.seconds("prepare"), result)
    return result


def _prepare_inputs(ctx: Context) -> dict[str, str]:
    """The captions file counts once it exists; see `_prepare`."""
    there = ctx.likeness.captions.is_file()
    captions = manifest.sha256_file(ctx.likeness.captions) if there else ""
    return check.photo_inputs(ctx) | {"captions": captions}


def _prepare(ctx: Context) -> PrepareResult:
    from portrait_lora.dataset.build import build_dataset
    from portrait_lora.dataset.captioners import choose_captioner
    from portrait_lora.dataset.crop import bucket_sizes
    from portrait_lora.records import CuratedSet

    check.refuse_unknown_world(ctx, trains=True)
    _, outcome = check.examined(ctx)
    if not isinstance(outcome, CuratedSet):
        raise outcome
    settings, subject = ctx.config.dataset, ctx.config.subject.kind
    captions = settings.captions
    crops = build_dataset(
        outcome,
        ctx.likeness.dataset,
        size_px=bucket_sizes(ctx.base.resolution_px, settings.aspects),
        trigger=ctx.trigger,
        subject=subject,
        captioner=choose_captioner(
            captions.captioner,
            trigger=ctx.trigger,
            subject=subject,
            words=captions.words,
            model=captions.model,
            photographs=not ctx.pack.synthetic,
        ),
        captioner_id=manifest.canonical(captions.model_dump()),
        crops_per_photo=settings.crops_per_photo,
        captions_csv=ctx.likeness.captions,
        find_faces=None if ctx.pack.synthetic else ctx.finder.find,
    )
    return PrepareResult(
        crops=len(crops),
        photos_for_training=len(outcome.kept),
        held_out=tuple(r.photo.path.name for r in outcome.holdout),
        captions=tuple(sorted({c.caption for c in crops})[:3]),
        advice=CAPTION_ADVICE if check.built_in_captions(ctx) else "",
    )
