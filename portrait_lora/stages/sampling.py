"""How the configuration says that pictures are drawn: presets, styles and files beside the base."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from portrait_lora.errors import ConfigError
from portrait_lora.generation.presets import preset
from portrait_lora.generation.weights import weights_file

if TYPE_CHECKING:
    from portrait_lora.generation.drawing import Sampler
    from portrait_lora.settings import GenerateConfig

LATER_KEYS: Final = {
    "style_reference", "style_reference_adapter", "style_reference_scale", "preset", "accelerator",
    "accelerator_scale", "identity_late", "identity_late_scale", "weights",
}  # fmt: skip
"""What a drawing depends on only where it is set: what was drawn before these were known still holds."""


def later(settings: GenerateConfig) -> dict[str, object]:
    """Those of `LATER_KEYS` that are set, as JSON values."""
    return settings.model_dump(mode="json", include=LATER_KEYS, exclude_defaults=True)


def sampler_of(settings: GenerateConfig) -> Sampler:
    """How the configuration says that pictures are drawn.

    Raises `ConfigError` for an unknown preset, `InputError` for files that it names and that are not there.
    """
    from portrait_lora.generation.drawing import Sampler, StyleAdapter
    from portrait_lora.generation.guidance import Identity
    from portrait_lora.generation.reference import reference_of

    style, quick = settings.style_adapter, accelerator_of(settings)
    chosen = preset(settings.preset) if settings.preset else None
    steps, guidance_scale = steps_and_guidance(settings)
    return Sampler(
        steps=steps,
        guidance_scale=guidance_scale,
        adapter_scale=settings.adapter_scale,
        scheduler=chosen.scheduler if chosen else settings.scheduler,
        style=StyleAdapter(Path(style), settings.style_scale) if style else None,
        unconditional=settings.unconditional,
        identity=Identity(
            scale=settings.identity_scale,
            start=settings.identity_start,
            region=settings.identity_region,
            late=settings.identity_late,
            late_scale=settings.identity_late_scale,
        ),
        reference=reference_of(
            settings.style_reference, settings.style_reference_adapter, settings.style_reference_scale
        ),
        preset=settings.preset,
        scheduler_arguments=chosen.arguments if chosen else (),
        accelerator=StyleAdapter(*quick) if quick else None,
        references_until=settings.references_until,
        weights=None if settings.weights == "auto" else settings.weights,
    )


def steps_and_guidance(settings: GenerateConfig) -> tuple[int, float]:
    """Steps and guidance scale: the preset's, or as configured.  Raises `ConfigError` as `preset` does."""
    if not settings.preset:
        return settings.num_inference_steps, settings.guidance_scale
    chosen = preset(settings.preset)
    return chosen.steps, chosen.guidance_scale


def accelerator_of(settings: GenerateConfig) -> tuple[Path, float] | None:
    """File and strength of the LoRA that makes few steps do; None without a preset.

    Raises `ConfigError` for a file without a preset, `InputError` when the file is not there.
    """
    where = "generate.accelerator"
    if not settings.preset:
        if settings.accelerator:
            needed = "generate.preset, which says how to sample with it"
            raise ConfigError("an accelerator without a preset", where=where, needed=needed)
        return None
    chosen = preset(settings.preset)
    path = weights_file(settings.accelerator or chosen.accelerator, where)
    return path, chosen.scale if settings.accelerator_scale is None else settings.accelerator_scale
