"""Portraits of several people in one batch: adapters stacked, noise, files and record each one's own.

A picture differs from the one drawn alone by rounding, as between batches of other sizes.  Its record says so
(`together` in the conditions, with size and place of the batch), and names nobody: drawn again with its own
person in every place of such a batch it has the same bytes, see `stacked`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image

from portrait_lora import log, manifest
from portrait_lora.errors import ArtifactError, InputError, PortraitError, system_errors
from portrait_lora.families.family import ADAPTER_NAME, Family
from portrait_lora.families.lora_loading import carried, load_lora
from portrait_lora.families.parts import modules
from portrait_lora.generation import save
from portrait_lora.generation.drawing import (
    Sampler,
    check_size,
    from_text,
    guides_from_base,
    load_beside,
    refuse_what_cannot_be,
)
from portrait_lora.generation.guidance import new_share
from portrait_lora.generation.sample import BatchProgress, Drawn, conditions, extra_of
from portrait_lora.generation.schedulers import common_name, with_scheduler
from portrait_lora.generation.stacked import CannotStack, Seats, stack_layers
from portrait_lora.records import Adapter, Portrait, Shot
from portrait_lora.rights import guard

PEOPLE: Final = "together"
"""Key in the conditions of a generation record: how many people the batch was of."""
_log = log.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sitter:
    """One person: the adapter, and the pictures wanted in each folder.

    `framing` as in `sample.generate`.  `refused` receives the file of every picture that the guard's checker
    refused, which is not written.
    """

    adapter: Adapter
    sets: Sequence[tuple[Path, Sequence[Shot]]]
    framing: Mapping[str, object] | None
    on_drawn: Drawn
    refused: list[Path]


@dataclass(frozen=True, slots=True)
class _Picture:
    """A portrait, and the place of its person among the sitters."""

    person: int
    portrait: Portrait


def generate_together(
    family: Family, sitters: Sequence[Sitter], sampler: Sampler, *, batch_size: int, label: str = "portraits"
) -> None:
    """Write PNG and JSON of every picture of several people, at most `batch_size` to a batch.

    What is there with the same generation record is kept, so an interrupted call continues where it stopped.
    Who cannot be written to is left out and warned of, and keeps nobody waiting.  Raises `CannotStack` where
    base, adapters or settings are not for several people, before anything is drawn, and what `from_text`
    raises; what was drawn until then stays.
    """
    refuse(family, sampler)
    pictures = [_Picture(i, p) for i, one in enumerate(sitters) for p in _portraits(one, sampler)]
    batches = list(_batches(pictures, batch_size))
    records = {
        path: record for batch in batches for path, record in _records(family, sitters, batch, sampler)
    }
    missing = {
        path
        for one in pictures
        if not save.is_current(path := one.portrait.path, records[path], sitters[one.person].framing)
    }
    if not missing:
        return
    for size in {one.portrait.shot.size_px for one in pictures}:
        check_size(family, size)
    pipe, seats = open_together(family, [one.adapter for one in sitters], sampler)
    gone = set[int]()
    with log.progress(label, len(missing)) as advance:
        # Batches are those of everybody's whole list: in others the last bits of a picture differ.
        for batch in batches:
            wanted = [one for one in batch if one.portrait.path in missing and one.person not in gone]
            if not wanted:
                continue
            started = time.monotonic()
            within = BatchProgress(advance, len(wanted), sampler.steps)
            with seats.taken([one.person for one in batch]):
                drawn = from_text(pipe, [one.portrait.shot for one in batch], sampler, on_step=within.step)
            seconds = (time.monotonic() - started) / len(wanted)
            for one, picture in zip(batch, drawn, strict=True):
                if one in wanted and one.person not in gone:
                    record = records[one.portrait.path]
                    if not _kept(picture, one.portrait, record, sitters[one.person], sampler, seconds):
                        gone.add(one.person)
            within.finish()


def _kept(
    picture: Image.Image,
    portrait: Portrait,
    record: save.Record,
    sitter: Sitter,
    sampler: Sampler,
    seconds: float,
) -> bool:
    """Write one picture; False where the person's folder cannot be written to."""
    try:
        with system_errors(portrait.path):
            save.save(picture, portrait, record, sampler_name=common_name(sampler.scheduler))
    except guard.RefusedPicture as error:
        _log.warning("%s", error.message())
        sitter.refused.append(portrait.path)
        return True
    except PortraitError as error:
        _log.warning("%s is drawn no further: %s", portrait.path.parent, error)
        return False
    sitter.on_drawn(portrait, seconds)
    return True


def again(
    family: Family, adapter: Adapter | None, shot: Shot, sampler: Sampler, batch_size: int
) -> list[Image.Image]:
    """A picture of one person in every place of a batch as `generate_together` draws them.

    Raises `ArtifactError` without the adapter, which no such picture can do without.
    """
    if adapter is None:
        raise ArtifactError("a picture drawn together with others, and no adapter in its record")
    refuse(family, sampler)
    pipe, seats = open_together(family, [adapter], sampler)
    with seats.taken([0] * batch_size):
        return from_text(pipe, [shot] * batch_size, sampler)


def refuse(family: Family, sampler: Sampler) -> None:
    """Raise `CannotStack` for a base or settings that draw one person at a time."""
    if not getattr(family, "rows_are_pictures", False):
        raise CannotStack(f"{family.base.family} has layers whose rows are not pictures")
    if sampler.references or sampler.reference is not None:
        raise CannotStack("reference pictures are shown to one person's pictures at a time")


def open_together(family: Family, adapters: Sequence[Adapter], sampler: Sampler) -> tuple[Any, Seats]:
    """The pipeline with everybody's adapter stacked, those of style and preset in each, and its seats.

    Raises `CannotStack` for adapters that are no plain LoRA of the denoiser or differ in rank, and what
    `drawing.open_pipeline` raises.
    """
    refuse_what_cannot_be(family, sampler)
    pipe: Any = family.pipeline(adapters[0], sampler.weights)
    names = [ADAPTER_NAME]
    for number, adapter in enumerate(adapters[1:], 2):
        if adapter.family != family.base.family:
            raise InputError("the adapter belongs to another family", where=adapter.path, got=adapter.family)
        names.append(f"{ADAPTER_NAME}{number}")
        load_lora(pipe, adapter.path, names[-1])
    beside = load_beside(pipe, sampler)
    pipe.set_adapters([*names, *beside], [*([sampler.adapter_scale] * len(names)), *beside.values()])
    own = [[name, *beside] for name in names]
    for part, module in modules(pipe).items():
        if part != family.denoiser_name and any(carried(module, name) for name in (*names, *beside)):
            raise CannotStack("adapters on text encoders", part)
    denoiser = getattr(pipe, family.denoiser_name)
    share = new_share(denoiser) if guides_from_base(family, sampler) else None
    seats = stack_layers(denoiser, own, share)
    return with_scheduler(pipe, sampler.scheduler, sampler.scheduler_arguments), seats


def _portraits(sitter: Sitter, sampler: Sampler) -> Iterator[Portrait]:
    settings = (sampler.steps, sampler.guidance_scale, sampler.adapter_scale)
    digest = manifest.sha256_file(sitter.adapter.path)
    for folder, shots in sitter.sets:
        manifest.make_folder(folder)
        for shot in shots:
            yield Portrait(folder / f"{shot.name}.png", shot, *settings, digest)


def _batches(pictures: Sequence[_Picture], batch_size: int) -> Iterator[list[_Picture]]:
    """Batches of pictures of one size, person after person."""
    for size in sorted({one.portrait.shot.size_px for one in pictures}):
        same = [one for one in pictures if one.portrait.shot.size_px == size]
        for start in range(0, len(same), max(1, batch_size)):
            yield same[start : start + max(1, batch_size)]


def _records(
    family: Family, sitters: Sequence[Sitter], batch: Sequence[_Picture], sampler: Sampler
) -> Iterator[tuple[Path, save.Record]]:
    """The generation record of every picture of a batch: that of one drawn alone but for its conditions."""
    people, extra = len({one.person for one in batch}), extra_of(sampler)
    for place, one in enumerate(batch):
        trigger = sitters[one.person].adapter.trigger
        record = save.record_of(one.portrait, family.base.label, family.base.digest, trigger)
        here = conditions(family, len(batch), place) | {PEOPLE: people}
        yield one.portrait.path, record | extra | {save.CONDITIONS: here}
