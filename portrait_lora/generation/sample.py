"""Portraits from shots.  Each picture has a generator of its own, so batch size and order change nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, cast

import torch
from PIL import Image

from portrait_lora import log, manifest
from portrait_lora.families.family import ADAPTER_NAME, Family
from portrait_lora.generation import save
from portrait_lora.records import Adapter, Portrait, Shot


class _Pipeline(Protocol):
    """The part of a diffusers text-to-image pipeline that is used here."""

    def __call__(
        self,
        *,
        prompt: list[str],
        negative_prompt: list[str],
        width: int,
        height: int,
        num_inference_steps: int,
        guidance_scale: float,
        generator: list[torch.Generator],
        output_type: str,
    ) -> _Output: ...

    def set_adapters(self, adapter_names: list[str], adapter_weights: list[float]) -> None: ...


class _Output(Protocol):
    images: list[Image.Image]


def generate(
    family: Family,
    adapter: Adapter | None,
    shots: Sequence[Shot],
    out_dir: Path,
    *,
    steps: int,
    guidance_scale: float,
    adapter_scale: float = 1.0,
    batch_size: int = 4,
    force: bool = False,
) -> list[Portrait]:
    """One PNG and JSON per shot in `out_dir`, in the order of `shots`.

    A picture whose sidecar names the same recipe is left alone unless `force`.  `adapter` None draws
    with the bare base.  Raises what `family.pipeline` raises.
    """
    manifest.make_folder(out_dir)
    digest = manifest.sha256_file(adapter.path) if adapter else None
    scale = adapter_scale if adapter else 0.0
    portraits = [
        Portrait(out_dir / f"{shot.name}.png", shot, steps, guidance_scale, scale, digest) for shot in shots
    ]
    base, base_digest = family.base.label, family.base.digest
    trigger = adapter.trigger if adapter else None
    recipes = {p.path: save.recipe_of(p, base, base_digest, trigger) for p in portraits}
    missing = [p for p in portraits if force or not save.is_current(p.path, recipes[p.path])]
    if not missing:
        return portraits
    pipe = cast(_Pipeline, family.pipeline(adapter))
    if adapter:
        pipe.set_adapters([ADAPTER_NAME], [adapter_scale])
    with log.progress("generate", len(missing)) as advance:
        # Batches are those of the whole list: beside other pictures the last bits of a picture differ.
        for batch in _batches(portraits, batch_size):
            wanted = [p for p in batch if p in missing]
            if not wanted:
                continue
            for portrait, picture in zip(batch, _draw(pipe, batch), strict=True):
                if portrait in wanted:
                    save.save(picture, portrait, recipes[portrait.path])
                    advance()
    return portraits


def _batches(portraits: Sequence[Portrait], batch_size: int) -> Iterator[list[Portrait]]:
    """Pictures of one size together, at most `batch_size` at a time."""

    def size(portrait: Portrait) -> tuple[int, int]:
        return portrait.shot.size_px

    for _, group in itertools.groupby(sorted(portraits, key=size), key=size):
        same = list(group)
        for start in range(0, len(same), max(1, batch_size)):
            yield same[start : start + max(1, batch_size)]


@torch.no_grad()
def _draw(pipe: _Pipeline, batch: Sequence[Portrait]) -> list[Image.Image]:
    first = batch[0]
    width, height = first.shot.size_px
    return pipe(
        prompt=[p.shot.prompt for p in batch],
        negative_prompt=[p.shot.negative_prompt for p in batch],
        width=width,
        height=height,
        num_inference_steps=first.steps,
        guidance_scale=first.guidance_scale,
        generator=[torch.Generator("cpu").manual_seed(p.shot.seed) for p in batch],
        output_type="pil",
    ).images
