"""The same picture again: a recipe is followed under the conditions that it names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image

from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.families.family import Family
from portrait_lora.generation import save
from portrait_lora.generation.drawing import Sampler, StyleAdapter, from_text, open_pipeline
from portrait_lora.generation.edits import apply_edit, sampler_of, shot_of
from portrait_lora.records import Adapter

FindFile = Callable[[str], Path | None]
"""sha256 of an adapter file -> the file, when it is at hand."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the picture made again compares with the one on disk; `psnr_db` is None when they are equal."""

    same: bool
    changed_pixels: int
    psnr_db: float | None
    differences: tuple[str, ...]


def remake(
    family: Family,
    recipe: Mapping[str, object],
    adapter: Adapter | None,
    find_style: FindFile,
    source: Image.Image | None = None,
) -> Image.Image:
    """Follow a recipe: what it was edited from is made first.

    `source` is the foreign picture at the beginning of an edit, if there was one.  Raises `ArtifactError`
    for a recipe of another base, `InputError` when something that it needs is not at hand.
    """
    if recipe.get("base_digest") != family.base.digest:
        raise ArtifactError(
            "the picture was made with another base",
            got=family.base.label,
            needed=f"{recipe.get('base')} ({str(recipe.get('base_digest'))[:12]})",
        )
    made = cast(Mapping[str, Any], recipe.get(save.MADE) or {})
    threads, before = int(made.get("threads", 0)), torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    try:
        return _follow(family, recipe, adapter, find_style, source)
    finally:
        torch.set_num_threads(before)


def _follow(
    family: Family,
    recipe: Mapping[str, object],
    adapter: Adapter | None,
    find_style: FindFile,
    source: Image.Image | None,
) -> Image.Image:
    action = str(recipe.get(save.ACTION, "generate"))
    sampler = _with_style(sampler_of(recipe), recipe, find_style)
    if action == "generate":
        made = cast(Mapping[str, Any], recipe.get(save.MADE) or {})
        size, index = int(made.get("batch_size", 1)), int(made.get("batch_index", 0))
        pipe = open_pipeline(family, adapter, sampler)
        return from_text(pipe, [shot_of(recipe)] * max(size, 1), sampler)[index]
    parent = recipe.get(save.PARENT)
    if isinstance(parent, dict):
        source = remake(family, cast(save.Recipe, parent), adapter, find_style, source)
    if source is None:
        raise InputError(
            "the picture was drawn over a reference that is not part of it",
            needed=f"the reference with pixels {str(recipe.get('source_pixels_sha256'))[:12]}",
            remedy="Give it with --source FILE.",
        )
    pipe = open_pipeline(family, adapter, sampler)
    return apply_edit(pipe, source, recipe, family.base.resolution_px)


def _with_style(sampler: Sampler, recipe: Mapping[str, object], find_style: FindFile) -> Sampler:
    wanted = recipe.get("style_sha256")
    if not wanted:
        return sampler
    path = find_style(str(wanted))
    if path is None:
        raise InputError(
            "the style adapter of this picture is not at hand", needed=f"sha256 {str(wanted)[:12]}"
        )
    return replace(sampler, style=StyleAdapter(path, float(cast(float, recipe.get("style_scale", 1.0)))))


def compare(old: Image.Image, new: Image.Image, recipe: Mapping[str, object]) -> Verdict:
    """Pixel by pixel; when they differ, which conditions have changed since."""
    a, b = (np.asarray(p.convert("RGB")).astype(np.float64) for p in (old, new))
    if a.shape != b.shape:
        return Verdict(False, a.shape[0] * a.shape[1], 0.0, ("another size",))
    off = int((a != b).any(axis=-1).sum())
    if not off:
        return Verdict(True, 0, None, ())
    psnr = float(10 * np.log10(255.0**2 / max(float(((a - b) ** 2).mean()), 1e-12)))
    return Verdict(False, off, round(psnr, 2), differences(recipe))


def differences(recipe: Mapping[str, object]) -> tuple[str, ...]:
    """Libraries that are not those of the recipe."""
    made = cast(Mapping[str, Any], recipe.get(save.MADE) or {})
    then = cast(Mapping[str, str], made.get("versions") or {})
    now = save.versions()
    return tuple(
        f"{name} {then[name]} then, {now.get(name)} now" for name in then if then[name] != now.get(name)
    )
