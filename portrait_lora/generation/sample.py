"""Portraits from shots.  Each picture has its own generator, so batch size and order change nothing."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from portrait_lora import log, manifest
from portrait_lora.families.family import Family
from portrait_lora.generation import save
from portrait_lora.generation.drawing import (
    Sampler,
    check_size,
    from_text,
    open_pipeline,
)
from portrait_lora.generation.guidance import AS_ONE
from portrait_lora.generation.in_context import digests_of
from portrait_lora.generation.schedulers import common_name
from portrait_lora.records import Adapter, Portrait, Shot
from portrait_lora.rights import guard

_log = log.get(__name__)

Drawn = Callable[[Portrait, float], None]
"""Called for every generated picture, with its share of the batch's seconds."""


def generate(
    family: Family,
    adapter: Adapter | None,
    shots: Sequence[Shot],
    out_dir: Path,
    sampler: Sampler,
    *,
    batch_size: int = 4,
    force: bool = False,
    on_drawn: Drawn | None = None,
    framing: Mapping[str, object] | None = None,
    label: str = "portraits",
    refused: list[str] | None = None,
    references: Mapping[str, Sequence[Path]] | None = None,
) -> list[Portrait]:
    """Write one PNG and JSON per shot into `out_dir`, in the order of `shots`.

    A picture whose sidecar has the same generation record is kept unless `force`, so an interrupted series
    continues where it stopped; with `framing`, also one that was cropped to it afterwards.  `adapter` None
    uses the bare base.  `references` are the photos of the person shown in context, in order, by the name
    of the shot; shots with the same ones share a batch.  A picture that the guard's checker refuses is not
    written: with a list `refused` its name is added there and the others go on, without one
    `RefusedPicture` is raised.  Raises what `family.pipeline` raises, and `InputError` for a size or a
    scheduler that the family cannot use.
    """
    manifest.make_folder(out_dir)
    digest = manifest.sha256_file(adapter.path) if adapter else None
    if adapter is None:
        sampler = replace(sampler, adapter_scale=0.0, unconditional="adapter", identity=AS_ONE)
    settings = (sampler.steps, sampler.guidance_scale, sampler.adapter_scale)
    portraits = [Portrait(out_dir / f"{s.name}.png", s, *settings, digest) for s in shots]
    shown = {p.path: tuple((references or {}).get(p.shot.name, ())) for p in portraits}
    batches = list(_batches(portraits, batch_size, shown))
    records = _records(family, adapter, sampler, batches, shown)
    missing = {p.path for p in portraits if force or not save.is_current(p.path, records[p.path], framing)}
    if not missing:
        return portraits
    for size in {p.shot.size_px for p in portraits}:
        check_size(family, size)
    pipe = open_pipeline(family, adapter, replace(sampler, references=max(shown.values(), key=len)))
    sampler_name = common_name(sampler.scheduler)
    with log.progress(label, len(missing)) as advance:
        # Batches are those of the whole list: beside other pictures the last bits of a picture differ.
        for batch in batches:
            wanted = {p.path for p in batch} & missing
            if not wanted:
                continue
            started = time.monotonic()
            within = BatchProgress(advance, len(wanted), sampler.steps)
            own = replace(sampler, references=shown[batch[0].path])
            pictures = from_text(pipe, [p.shot for p in batch], own, on_step=within.step)
            seconds = (time.monotonic() - started) / len(wanted)
            for portrait, picture in zip(batch, pictures, strict=True):
                if portrait.path not in wanted:
                    continue
                try:
                    save.save(picture, portrait, records[portrait.path], sampler_name=sampler_name)
                except guard.RefusedPicture as error:
                    if refused is None:
                        raise
                    _log.warning("%s", error.message())
                    refused.append(portrait.shot.name)
                    continue
                if on_drawn is not None:
                    on_drawn(portrait, seconds)
            within.finish()
    return [p for p in portraits if p.shot.name not in (refused or ())]


class BatchProgress:
    """Advances a progress line while `count` pictures are generated in `steps` steps."""

    def __init__(self, advance: log.Advance, count: int, steps: int):
        self._advance, self._left, self._each = advance, float(count), count / (steps + 1)

    def step(self) -> None:
        """Report one denoising step; the last part of a batch is its decoding."""
        part = min(self._each, self._left - self._each)
        if part > 0:
            self._left -= part
            self._advance(part)

    def finish(self) -> None:
        self._advance(self._left)
        self._left = 0.0


def _records(
    family: Family,
    adapter: Adapter | None,
    sampler: Sampler,
    batches: Sequence[Sequence[Portrait]],
    shown: Mapping[Path, Sequence[Path]],
) -> Mapping[Path, save.Record]:
    """The generation record of every picture, with its place in its batch."""
    base, base_digest = family.base.label, family.base.digest
    trigger = adapter.trigger if adapter else None
    extra = extra_of(sampler)
    return {
        portrait.path: save.record_of(portrait, base, base_digest, trigger)
        | extra
        | digests_of(shown[portrait.path], sampler.references_until)
        | {save.CONDITIONS: conditions(family, len(batch), i)}
        for batch in batches
        for i, portrait in enumerate(batch)
    }


def extra_of(sampler: Sampler) -> save.Record:
    """The optional sampler settings in a generation record."""
    extra: save.Record = {"scheduler": sampler.scheduler} if sampler.scheduler else {}
    if sampler.unconditional == "base":
        extra["unconditional"] = "base"
    if sampler.two_terms:
        extra |= {"identity_scale": sampler.identity.scale, "identity_start": sampler.identity.start}
        extra["identity_region"] = sampler.identity.region
        if sampler.identity.late_scale is not None:
            extra["identity_late"] = sampler.identity.late
            extra["identity_late_scale"] = sampler.identity.late_scale
    if sampler.style is not None:
        extra["style_sha256"] = manifest.sha256_file(sampler.style.path)
        extra["style_scale"] = sampler.style.scale
    if sampler.preset:
        extra["preset"] = sampler.preset
    if sampler.scheduler_arguments:
        extra["scheduler_arguments"] = dict(sampler.scheduler_arguments)
    if sampler.accelerator is not None:
        extra["accelerator_sha256"] = manifest.sha256_file(sampler.accelerator.path)
        extra["accelerator_scale"] = sampler.accelerator.scale
    if sampler.weights is not None:
        extra["weights"] = sampler.weights
    if sampler.reference is not None:
        extra |= {**sampler.reference.digests, "style_reference_scale": sampler.reference.scale}
    return extra


def conditions(family: Family, batch_size: int, batch_index: int) -> save.Record:
    """The conditions that can change the last bits of a picture."""
    return {
        "batch_size": batch_size,
        "batch_index": batch_index,
        "device": family.device.type,
        "threads": torch.get_num_threads(),
        "versions": save.versions(),
    }


def _batches(
    portraits: Sequence[Portrait], batch_size: int, shown: Mapping[Path, Sequence[Path]]
) -> Iterator[list[Portrait]]:
    """Batches of pictures of one size that are shown the same references, at most `batch_size` each."""

    def alike(portrait: Portrait) -> tuple[tuple[int, int], tuple[str, ...]]:
        return portrait.shot.size_px, tuple(map(str, shown[portrait.path]))

    for _, group in itertools.groupby(sorted(portraits, key=alike), key=alike):
        same = list(group)
        for start in range(0, len(same), max(1, batch_size)):
            yield same[start : start + max(1, batch_size)]
