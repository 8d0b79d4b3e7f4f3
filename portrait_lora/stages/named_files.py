"""The files that a generation record names by their digests, found again: the adapter, style files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from portrait_lora import manifest
from portrait_lora.errors import InputError
from portrait_lora.generation import remake
from portrait_lora.generation.reference import reference_of
from portrait_lora.records import Adapter
from portrait_lora.stages.context import Context
from portrait_lora.stages.referring import finder_of
from portrait_lora.stages.sampling import accelerator_of


def adapter_of(ctx: Context, recipe: Mapping[str, object]) -> Adapter | None:
    """The adapter of a recipe, found by its digest below `adapters/`."""
    from portrait_lora.families.adapter_file import read_adapter

    wanted = recipe.get("adapter_sha256")
    if not wanted:
        return None
    for path in sorted((ctx.likeness.root / "adapters").rglob("adapter.safetensors")):
        if manifest.sha256_file(path) == wanted:
            return read_adapter(path)
    raise InputError(
        "the adapter that drew this picture is not here",
        where=ctx.likeness.root / "adapters",
        needed=f"sha256 {str(wanted)[:12]}",
    )


def find_style(ctx: Context, references: Sequence[Path] = ()) -> remake.FindFile:
    """Finds the files that a recipe names beside the base among those that the configuration names.

    Photos that were shown in context are found among the training crops and `references`.
    """
    settings = ctx.config.generate
    find_reference = finder_of(ctx.likeness.dataset, references)

    def find(digest: str) -> Path | None:
        style = Path(settings.style_adapter)
        digests = {manifest.sha256_file(style): style} if style.is_file() else {}
        quick = accelerator_of(settings)
        digests |= {manifest.sha256_file(quick[0]): quick[0]} if quick else {}
        reference = reference_of(settings.style_reference, settings.style_reference_adapter, 1.0)
        if reference is not None:
            files = (reference.picture, reference.adapter, reference.encoder)
            digests |= dict(zip(reference.digests.values(), files, strict=True))
        return digests.get(digest) or find_reference(digest)

    return find
