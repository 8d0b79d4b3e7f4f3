"""The steps of finishing, one file each; a new one is a file here and a line in `by_name`."""

from __future__ import annotations

from functools import cache

from portrait_lora.finishing.step import Step


@cache
def by_name() -> dict[str, Step]:
    """Every step, by the name that looks use."""
    from portrait_lora.finishing.steps import backdrop, clip, cutout, grade, layers, relight, retouch, upscale
    from portrait_lora.finishing.steps import format as format_step

    known: tuple[Step, ...] = (
        cutout.Cutout(),
        backdrop.Backdrop(),
        relight.Relight(),
        grade.Grade(),
        retouch.Retouch(),
        upscale.Upscale(),
        format_step.FormatStep(),
        layers.Layers(),
        clip.Clip(),
    )
    return {step.name: step for step in known}
