"""Stage generate of several people at once: the pictures of those who can share batches are drawn ahead.

Everything else is each one's own, in `generate`: it asks again what is asked here, takes over what was drawn,
draws what was not, and checks, seals and reports the series.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from portrait_lora import log
from portrait_lora.errors import Interrupted, PortraitError
from portrait_lora.families import family_type
from portrait_lora.results import GenerateResult
from portrait_lora.stages import framing, generate, series
from portrait_lora.stages.context import Context
from portrait_lora.stages.sampling import sampler_of
from portrait_lora.training import processes

if TYPE_CHECKING:
    from portrait_lora.generation.together import Sitter
    from portrait_lora.records import Portrait

_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class _Ready:
    """Somebody whose series is to be drawn into `folder`; those of one `key` may share batches."""

    ctx: Context
    folder: Path
    key: tuple[object, ...]


def draw_together(contexts: Sequence[Context]) -> None:
    """Draw the series of those of several people who can share batches, `generate.together` at a time.

    Whoever cannot, or must not be drawn, is left to the own stage, which draws alone or raises why not.
    """
    groups: dict[tuple[object, ...], list[_Ready]] = {}
    for ctx in contexts:
        if (one := _ready(ctx)) is not None:
            groups.setdefault(one.key, []).append(one)
    for group in groups.values():
        most = min(one.ctx.config.generate.together for one in group)
        for start in range(0, len(group), most):
            _draw(group[start : start + most])


def why_alone(ctx: Context) -> str:
    """Why somebody's portraits cannot be drawn with others'; empty when they can."""
    if processes.count() > 1:
        return "several processes work on one person"
    if not family_type(ctx.base.family).rows_are_pictures:
        return f"{ctx.base.family} does not draw several people in one batch"
    if ctx.config.generate.references or ctx.config.generate.style_reference:
        return "reference pictures are shown to one person's pictures at a time"
    if ctx.selected.base_digest != ctx.base.digest:
        return "the adapter is of another base"
    return ""


def _ready(ctx: Context) -> _Ready | None:
    """Somebody whose pictures can be drawn with others' now."""
    if ctx.config.generate.together < 2:
        return None
    try:
        folder = generate.ahead(ctx)
        if folder is None:
            return None
        if reason := why_alone(ctx):
            _log.info("%s is drawn alone: %s", _name(ctx), reason)
            return None
        settings, adapter, family = ctx.config.generate, ctx.selected, ctx.family
        key = (
            *(ctx.base.digest, ctx.device.device, family.streamed),
            *(sampler_of(settings), settings.batch_size, adapter.rank, adapter.target_modules),
        )
    except Interrupted:
        raise
    except PortraitError as error:  # the own stage raises it
        _log.debug("%s", error)
        return None
    return _Ready(ctx, folder, key)


def _draw(group: Sequence[_Ready]) -> None:
    """Draw a group's pictures; what cannot be is left to everybody's own stage."""
    from portrait_lora.generation.together import generate_together
    from portrait_lora.training.memory import is_out_of_memory

    first = group[0].ctx
    if len(group) < 2:
        _log.info("%s is drawn alone: nobody else has this base, shape and settings", _name(first))
        return
    log.event("progress", stage=GenerateResult.STAGE)
    _log.info("the portraits of %d people are drawn together", len(group))
    started = time.monotonic()
    for one in group:
        one.ctx.family = first.family
    settings = first.config.generate
    try:
        generate_together(
            first.family, [_sitter(one) for one in group], sampler_of(settings),
            batch_size=settings.batch_size,
        )  # fmt: skip
    except Interrupted:
        raise
    except PortraitError as error:
        _log.warning("the rest is drawn one person after the other: %s", error)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        _log.warning("memory is short for %d people: the rest is drawn one after the other", len(group))
    own = [sum(one.ctx.drawn.values()) for one in group]
    spent = time.monotonic() - started
    for one, seconds in zip(group, own, strict=True):
        one.ctx.spent[GenerateResult.STAGE] = spent * seconds / sum(own) if sum(own) else spent / len(group)


def _sitter(one: _Ready) -> Sitter:
    from portrait_lora.generation.together import Sitter

    ctx, wanted = one.ctx, framing.target(one.ctx)

    def note(portrait: Portrait, seconds: float) -> None:
        ctx.drawn[portrait.shot.name] = ctx.drawn.get(portrait.shot.name, 0.0) + seconds

    return Sitter(
        adapter=ctx.selected,
        sets=series.sets(ctx, one.folder),
        framing=wanted.entry if wanted else None,
        on_drawn=note,
        refused=ctx.refused,
    )


def _name(ctx: Context) -> str:
    return ctx.likeness.root.name
