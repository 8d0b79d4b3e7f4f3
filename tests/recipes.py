"""Recipes and samplers for tests: those of the configuration's defaults, with what a test changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from portrait_lora.config import GenerateConfig, TrainingConfig
from portrait_lora.families.family import Family
from portrait_lora.generation.drawing import Sampler
from portrait_lora.records import CaptionedCrop, TrainResult
from portrait_lora.stages.configured import recipe_of
from portrait_lora.stages.sampling import sampler_of
from portrait_lora.training.recipe import Recipe
from portrait_lora.training.run import train

USUAL = recipe_of(TrainingConfig(), steps=1, seed=0, mixed_precision="no")


def recipe(**changes: Any) -> Recipe:
    """The usual recipe of one step with some of its fields changed."""
    return replace(USUAL, **changes)


def train_with(family: Family, crops: Sequence[CaptionedCrop], out_dir: Path, **settings: Any) -> TrainResult:
    """`train` by `recipe`: fields of a recipe go there, the others to `train` itself."""
    own = {name: value for name, value in settings.items() if name in Recipe.__slots__}
    beside = {name: value for name, value in settings.items() if name not in own}
    return train(family, crops, out_dir, recipe(**own), **beside)


def sampler(steps: int, guidance_scale: float, **changes: Any) -> Sampler:
    """The usual sampler with these steps and this guidance, and what else is changed."""
    usual = sampler_of(GenerateConfig())
    return replace(usual, steps=steps, guidance_scale=guidance_scale, **changes)
