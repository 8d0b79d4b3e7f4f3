"""Few-step presets: a distillation LoRA with its scheduler, scheduler settings, steps and guidance.

Values are from the model pages, one row each; tested with tiny random LoRAs only, not with these files.
A second LoRA changes the effect of the identity adapter: check the likeness before trusting a preset.
Distilled bases (flux1-schnell, flux2-klein, z-image-turbo) have few steps in their own configuration and
need no preset.  Torch-free.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import Final

from portrait_lora.errors import ConfigError
from portrait_lora.families.rows import row_of
from portrait_lora.records import FamilyName

Argument = str | float | bool | None


@dataclass(frozen=True, slots=True)
class Preset:
    """Sampler settings for few steps.

    `scheduler` is a name of `schedulers.SCHEDULERS`, or empty for the family's own; `arguments` change its
    configuration.  `accelerator` is the published LoRA (`owner/name/file`), `scale` its scale.
    """

    name: str
    family: FamilyName
    steps: int
    guidance_scale: float
    accelerator: str
    scheduler: str = ""
    arguments: tuple[tuple[str, Argument], ...] = ()
    scale: float = 1.0


_TRAILING: Final = (("timestep_spacing", "trailing"),)
_SHIFT_OF_3: Final = (
    ("base_shift", math.log(3)),
    ("max_shift", math.log(3)),
    ("shift_terminal", None),
    ("use_dynamic_shifting", True),
)
"""The same timestep shift, 3, for every picture size."""


_HYPER: Final = "ByteDance/Hyper-SD/Hyper-{}-{}steps-lora.safetensors"
_QWEN: Final = "lightx2v/Qwen-Image-Lightning/Qwen-Image-Lightning-8steps-V1.1.safetensors"


def _lcm(family: FamilyName, model: str) -> Preset:
    """Luo et al. 2023 (LCM-LoRA)."""
    file = f"latent-consistency/lcm-lora-{model}/pytorch_lora_weights.safetensors"
    return Preset(f"lcm-{family}", family, 4, 1.0, file, "lcm")


def _lightning(steps: int) -> Preset:
    """Lin et al. 2024 (SDXL-Lightning)."""
    file = f"ByteDance/SDXL-Lightning/sdxl_lightning_{steps}step_lora.safetensors"
    return Preset(f"lightning-sdxl-{steps}", "sdxl", steps, 1.0, file, "euler", _TRAILING)


def _hyper(family: FamilyName, model: str, steps: int) -> Preset:
    """Ren et al. 2024 (Hyper-SD) for UNets."""
    file = _HYPER.format(model, steps)
    return Preset(f"hyper-{family}-{steps}", family, steps, 1.0, file, "ddim", _TRAILING)


def _hyper_guided(family: FamilyName, model: str, steps: int) -> Preset:
    """The same for a base that embeds its guidance."""
    return Preset(f"hyper-{family}-{steps}", family, steps, 3.5, _HYPER.format(model, steps), scale=0.125)


PRESETS: Final = {
    preset.name: preset
    for preset in (
        _lcm("sd15", "sdv1-5"),
        _lcm("sdxl", "sdxl"),
        _hyper("sd15", "SD15", 4),
        _hyper("sd15", "SD15", 8),
        _hyper("sdxl", "SDXL", 4),
        _hyper("sdxl", "SDXL", 8),
        _lightning(4),
        _lightning(8),
        _hyper_guided("flux1", "FLUX.1-dev", 8),
        _hyper_guided("flux1", "FLUX.1-dev", 16),
        Preset("lightning-qwen-8", "qwen_image", 8, 1.0, _QWEN, arguments=_SHIFT_OF_3),
    )
}


def preset(name: str) -> Preset:
    """The preset of that name; `ConfigError` suggests the nearest one, or lists all."""
    if name in PRESETS:
        return PRESETS[name]
    close = difflib.get_close_matches(name, PRESETS, 1, cutoff=0.5)
    hint = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(PRESETS)}."
    raise ConfigError("no such preset", where="generate.preset", got=repr(name), remedy=hint)


def fitting(name: str, family: FamilyName) -> Preset:
    """The preset of that name.  Raises `ConfigError` for one of another family, listing those that fit."""
    chosen, family = preset(name), row_of(family).name
    if chosen.family != family:
        mine = ", ".join(p.name for p in PRESETS.values() if p.family == family)
        raise ConfigError(
            "this preset is for another family",
            where="generate.preset",
            got=f"{name} with a base of {family}",
            needed=mine or "none: there is no preset for this family",
        )
    return chosen
