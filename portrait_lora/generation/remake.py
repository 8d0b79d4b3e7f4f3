"""Reproduction of a picture from its generation record, under the recorded conditions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from PIL import Image

from portrait_lora import record_limits
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.families.family import Family
from portrait_lora.generation import in_context, reframe, save, together
from portrait_lora.generation.drawing import Sampler, StyleAdapter, from_text, open_pipeline
from portrait_lora.generation.edits import apply_edit, refuse_other_source, sampler_of, shot_of
from portrait_lora.generation.reference import StyleReference
from portrait_lora.records import Adapter

FindFile = Callable[[str], Path | None]
"""sha256 of a file in a record (`encoder_digest` of an image encoder) -> its path, if available."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Comparison of the reproduced picture with the one on disk; `psnr_db` is None when they are equal."""

    same: bool
    changed_pixels: int
    psnr_db: float | None
    differences: tuple[str, ...]


def remake(
    family: Family,
    record: Mapping[str, object],
    adapter: Adapter | None,
    find: FindFile,
    source: Image.Image | None = None,
) -> Image.Image:
    """Reproduce the picture of a generation record, after the pictures that it was edited from.

    `source` is the foreign picture that an edit began from, if any.  Raises `ArtifactError` for a record of
    another base, `InputError` when a file that it needs is not available.
    """
    record_limits.refuse(record)
    if record.get("base_digest") != family.base.digest:
        raise ArtifactError(
            "the picture was generated with another base",
            got=family.base.label,
            needed=f"{record.get('base')} ({str(record.get('base_digest'))[:12]})",
        )
    conditions = cast(Mapping[str, Any], record.get(save.CONDITIONS) or {})
    threads, before = int(conditions.get("threads", 0)), torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    try:
        return _follow(family, record, adapter, find, source)
    finally:
        torch.set_num_threads(before)


def _follow(
    family: Family,
    record: Mapping[str, object],
    adapter: Adapter | None,
    find: FindFile,
    source: Image.Image | None,
) -> Image.Image:
    """The picture with the watermark that it was written with."""
    action = str(record.get(save.ACTION, "generate"))
    sampler = sampler_of(record) if action == reframe.ACTION else whole_sampler(record, find)
    if action == "generate":
        conditions = cast(Mapping[str, Any], record.get(save.CONDITIONS) or {})
        size, index = int(conditions.get("batch_size", 1)), int(conditions.get("batch_index", 0))
        until = float(cast(float, record.get(in_context.UNTIL, 1.0)))
        sampler = replace(sampler, references=_references(record, find), references_until=until)
        if conditions.get(together.PEOPLE):
            return save.marked(together.again(family, adapter, shot_of(record), sampler, size)[index], record)
        pipe = open_pipeline(family, adapter, sampler)
        return save.marked(from_text(pipe, [shot_of(record)] * size, sampler)[index], record)
    parent = record.get(save.PARENT)
    if isinstance(parent, dict):
        source = remake(family, cast(save.Record, parent), adapter, find, source)
    if source is None:
        raise InputError(
            "the picture was generated from a reference picture that it does not contain",
            needed=f"the reference with pixels {str(record.get('source_pixels_sha256'))[:12]}",
            remedy="Pass it with --source FILE.",
        )
    if action == reframe.ACTION:
        refuse_other_source(source, record)
        return save.marked(reframe.apply(source, record), record)
    pipe = open_pipeline(family, adapter, sampler)
    again = apply_edit(pipe, source, record, family.base.resolution_px, sampler)
    return save.marked(again, record)


def whole_sampler(record: Mapping[str, object], find: FindFile) -> Sampler:
    """The sampler of a generation record, with the files that it refers to.

    Raises `InputError` when one of them is not available.
    """
    sampler = sampler_of(record)
    if record.get("style_sha256"):
        sampler = replace(sampler, style=_beside(record, "style", find))
    if record.get("accelerator_sha256"):
        sampler = replace(sampler, accelerator=_beside(record, "accelerator", find))
    if record.get("style_reference_sha256"):
        parts = ("", "adapter_", "encoder_")
        picture, file, encoder = (_found(record, f"style_reference_{part}sha256", find) for part in parts)
        scale = _scale(record, "style_reference_scale")
        sampler = replace(sampler, reference=StyleReference(picture, file, encoder, scale))
    return sampler


def _beside(record: Mapping[str, object], what: str, find: FindFile) -> StyleAdapter:
    return StyleAdapter(_found(record, f"{what}_sha256", find), _scale(record, f"{what}_scale"))


def _references(record: Mapping[str, object], find: FindFile) -> tuple[Path, ...]:
    """The photos that were shown in context, in order.  Raises `InputError` for one that is gone."""
    files = {digest: find(digest) for digest in in_context.recorded(record)}
    gone = [digest for digest, path in files.items() if path is None]
    if gone:
        raise InputError(
            f"{len(gone)} of {len(files)} reference photos of this picture are not available",
            where="dataset/train",
            needed=", ".join(f"sha256 {digest[:12]}" for digest in gone),
            remedy="Pass each with --reference FILE: the crop as it was then, from a copy of the dataset.",
        )
    return tuple(path for digest in in_context.recorded(record) if (path := files[digest]) is not None)


_FILES: Final = {
    "accelerator_sha256": ("accelerator", "generate.accelerator"),
    "style_sha256": ("style adapter", "generate.style_adapter"),
    "style_reference_sha256": ("style reference", "generate.style_reference"),
    "style_reference_adapter_sha256": ("IP-Adapter", "generate.style_reference_adapter"),
    "style_reference_encoder_sha256": ("image encoder", "generate.style_reference_adapter"),
}
"""Key in a generation record -> the file's kind, and the setting that names it."""


def _found(record: Mapping[str, object], key: str, find: FindFile) -> Path:
    digest = str(record.get(key))
    path = find(digest)
    if path is None:
        what, setting = _FILES[key]
        raise InputError(
            f"the {what} of this picture is not available",
            needed=f"sha256 {digest[:12]}",
            remedy=f"Pass it with -s {setting}=FILE.",
        )
    return path


def _scale(record: Mapping[str, object], key: str) -> float:
    return float(cast(float, record.get(key, 1.0)))


def compare(old: Image.Image, new: Image.Image, record: Mapping[str, object]) -> Verdict:
    """Compare pixel by pixel; if they differ, list the conditions that have changed."""
    a, b = (np.asarray(p.convert("RGB")).astype(np.float64) for p in (old, new))
    if a.shape != b.shape:
        return Verdict(False, a.shape[0] * a.shape[1], 0.0, ("another size",))
    off = int((a != b).any(axis=-1).sum())
    if not off:
        return Verdict(True, 0, None, ())
    psnr = float(10 * np.log10(255.0**2 / max(float(((a - b) ** 2).mean()), 1e-12)))
    return Verdict(False, off, round(psnr, 2), differences(record))


def differences(record: Mapping[str, object], now: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Libraries whose versions differ from the record; `now` are the versions here, or those of drawing."""
    conditions = cast(Mapping[str, Any], record.get(save.CONDITIONS) or {})
    then = cast(Mapping[str, str], conditions.get("versions") or {})
    now = now or save.versions()
    return tuple(
        f"{name} {then[name]} then, {now.get(name)} now" for name in then if then[name] != now.get(name)
    )
