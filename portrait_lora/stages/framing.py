"""The last edit of a series: every portrait cropped to the framing of the brand, where that is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from portrait_lora import log, provenance

if TYPE_CHECKING:
    from portrait_lora.generation.reframe import Crop, Target
    from portrait_lora.records import Portrait
    from portrait_lora.stages.context import Context

_log = log.get(__name__)


def target(ctx: Context) -> Target | None:
    """What to crop to; None when it is not asked for.

    Raises `ConfigError` when it is asked for and the brand sheet names no framing.
    """
    from portrait_lora.generation.brand import load_brand
    from portrait_lora.generation.reframe import target_of

    settings = ctx.config.generate
    if not settings.reframe:
        return None
    return target_of(load_brand(settings.brand) if settings.brand else None, settings.reframe_limit)


def reframed(ctx: Context, portraits: Sequence[Portrait], wanted: Target) -> list[str]:
    """Crop the portraits that are not framed so, in place; a line for each that does not get there.

    A picture that was cropped before is left alone, and so is one without a face.
    """
    missed_lines: list[str] = []
    for portrait in portraits:
        missed = _one(ctx, portrait.path, wanted)
        if missed:
            missed_lines.append(f"{portrait.shot.name}: {missed}")
    for line in missed_lines[:5]:
        _log.warning("%s", line)
    if len(missed_lines) > 5:
        _log.warning("… and %d more portraits that are not framed as the brand asks", len(missed_lines) - 5)
    return missed_lines


def _one(ctx: Context, path: Path, wanted: Target) -> str:
    """What is missing at the end; empty when nothing is."""
    from PIL import Image

    from portrait_lora.evaluation import similarity
    from portrait_lora.generation import reframe, save
    from portrait_lora.generation.sample import conditions
    from portrait_lora.generation.schedulers import common_name

    recipe = provenance.read_record(path)
    if recipe.get(save.ACTION) == reframe.ACTION:
        return _told(cast(Mapping[str, float], recipe[reframe.MISSED]), wanted)
    image = similarity.read_rgb(path)
    face = similarity.subject_face(ctx.finder.find(image))
    if face is None:
        return "no face, so not framed"
    picture = Image.fromarray(image)
    crop: Crop | None = reframe.crop_for(face, picture.size, wanted)
    if crop is None:
        return ""
    if crop.box_px == (0, 0, *picture.size):
        return _told(crop.entry, wanted)
    changed = reframe.record_of(picture, recipe, crop, wanted)
    cropped = reframe.apply(picture, changed)
    scheduler = common_name(str(recipe.get("scheduler", "")))
    whole = changed | {save.CONDITIONS: conditions(ctx.family, 1, 0)}
    save.write(cropped, path, whole, sampler_name=scheduler, parent=path)
    return _told(crop.entry, wanted)


def _told(missed: Mapping[str, float], wanted: Target) -> str:
    from portrait_lora.generation.reframe import NEAR

    far = [f"{name.replace('_', ' ')} {value:.3f}" for name, value in missed.items() if value > NEAR]
    if not far:
        return ""
    why = f"a crop cannot leave the picture, nor enlarge more than {wanted.limit:g} times"
    return f"off by {' and '.join(far)} of the height: {why}"
