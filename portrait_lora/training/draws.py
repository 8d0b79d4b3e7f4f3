"""The numbers that decide a run's weights, and how chance is drawn from them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor

from portrait_lora import manifest
from portrait_lora.training import cache, objective

Schedule = Literal["constant", "cosine"]
Mixed = Literal["no", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class Draw:
    """What chance decides for one slot of one step."""

    sample: int
    timestep: int
    noise_CHW: Tensor
    posterior_CHW: Tensor
    dropped: bool


@dataclass(frozen=True, slots=True)
class Recipe:
    """The numbers of a run that decide its weights; `settings` also names its data."""

    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    learning_rate: float
    batch_size: int
    steps: int
    seed: int
    warmup_steps: int
    schedule: Schedule
    caption_dropout: float
    snr_gamma: float
    background_weight: float
    mixed_precision: Mixed
    max_grad_norm: float
    weight_decay: float

    def rate(self, step: int) -> float:
        """The learning rate of the update that makes step `step` (from 1)."""
        warm = min(1.0, step / self.warmup_steps) if self.warmup_steps else 1.0
        if self.schedule == "constant":
            return self.learning_rate * warm
        return self.learning_rate * warm * 0.5 * (1.0 + math.cos(math.pi * (step - 1) / self.steps))

    def settings(self, base: str, encodings: cache.Encodings) -> dict[str, object]:
        """What must be equal for a run to go on; a constant rate may be given more steps."""
        numbers: dict[str, object] = {name: getattr(self, name) for name in self.__slots__}
        if self.schedule == "constant":
            del numbers["steps"]
        data = manifest.digest([[s.key, s.caption, s.mask_1HW is not None] for s in encodings.samples])
        return cast(dict[str, object], json.loads(json.dumps({**numbers, "base": base, "samples": data})))


def draw(recipe: Recipe, encodings: cache.Encodings, noise_steps: int, step: int, slot: int) -> Draw:
    """Everything random about one slot of a batch, from generators of its own.

    The order is a new permutation of the samples per epoch; `noise_steps` is the schedule's length.
    """
    samples = encodings.samples
    epoch, place = divmod(step * recipe.batch_size + slot, len(samples))
    order = torch.randperm(len(samples), generator=_generator(recipe.seed, "order", epoch))
    index = int(order[place])
    sample = samples[index]
    u = objective.draw_uniform(_generator(recipe.seed, "timestep", step))
    timestep = objective.stratified_timestep(noise_steps, u, slot, recipe.batch_size)
    own = _generator(recipe.seed, "sample", step, slot, sample.key)
    noise_CHW = torch.randn(sample.mean_CHW.shape, generator=own)
    posterior_CHW = torch.randn(sample.mean_CHW.shape, generator=own)
    dropped = objective.draw_uniform(own) < recipe.caption_dropout
    return Draw(index, timestep, noise_CHW, posterior_CHW, dropped)


def _generator(*key: object) -> torch.Generator:
    """A CPU generator seeded by a digest of `key`: the same on every machine and in every process."""
    return torch.Generator().manual_seed(int(manifest.digest(list(key))[:15], 16))
