"""Random draws: every number is a function of (seed, step, slot, sample)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

from portrait_lora import manifest
from portrait_lora.families.family import FlowSchedule, NoiseSchedule, PromptCondition
from portrait_lora.training import cache, loss
from portrait_lora.training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Draw:
    """The random draws for one slot of one step; `noise_level` is a timestep or a sigma.

    `references` are the raw latents (C, H, W) of the photos that are shown, in order, `shown` their keys;
    `beside` is the prompt, or the empty one, as a text encoder reads it that sees them.
    """

    sample: cache.EncodedSample
    noise_level: float
    noise_CHW: Tensor
    posterior_CHW: Tensor
    dropped: bool
    prior: bool = False
    references: tuple[Tensor, ...] = ()
    shown: tuple[str, ...] = ()
    beside: PromptCondition | None = None

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of the latents and of what is shown: draws that share these go through the denoiser at once."""
        return tuple(tuple(one.shape) for one in (self.noise_CHW, *self.references))


def draw(
    recipe: Recipe, encodings: cache.Encodings, schedule: NoiseSchedule | FlowSchedule, step: int, slot: int
) -> Draw:
    """The draws for one slot of a batch, from its own generators.

    The order is a new permutation of the samples per epoch.
    """
    index = turn(recipe, "order", len(encodings.samples), step * recipe.batch_size + slot)
    sample = encodings.samples[index]
    u = loss.draw_uniform(generator(recipe.seed, "timestep", step))
    own = generator(recipe.seed, "sample", step, slot, sample.key)
    level = level_of(recipe, schedule, sample, u, slot)
    noise_CHW = torch.randn(sample.mean_CHW.shape, generator=own)
    posterior_CHW = torch.randn(sample.mean_CHW.shape, generator=own)
    dropped = loss.draw_uniform(own) < recipe.caption_dropout
    photos = _references(recipe, encodings, sample, step, slot)
    drawn = Draw(
        sample, level, noise_CHW, posterior_CHW, dropped,
        references=tuple(photo.mean_CHW for photo in photos), shown=tuple(photo.key for photo in photos),
    )  # fmt: skip
    if encodings.beside is None or not photos:
        return drawn
    return replace(drawn, beside=encodings.beside.read(_beside(drawn)))


def prompts_beside(
    recipe: Recipe, encodings: cache.Encodings, schedule: NoiseSchedule | FlowSchedule
) -> set[cache.Beside]:
    """The prompts of a whole run that are read beside photos; none of those read without."""
    bare = replace(encodings, beside=None)
    places = product(range(recipe.steps), range(recipe.batch_size))
    every = (draw(recipe, bare, schedule, step, slot) for step, slot in places)
    return {_beside(drawn) for drawn in every if drawn.shown}


def _beside(drawn: Draw) -> cache.Beside:
    return "" if drawn.dropped else drawn.sample.caption, drawn.shown


def draw_prior(
    recipe: Recipe, encodings: cache.Encodings, schedule: NoiseSchedule | FlowSchedule, step: int, slot: int
) -> Draw:
    """The draws for the class picture of a slot; its caption is never dropped, and the person not shown."""
    place = step * recipe.batch_size + slot
    sample = encodings.prior[turn(recipe, "prior order", len(encodings.prior), place)]
    u = loss.draw_uniform(generator(recipe.seed, "prior timestep", step))
    own = generator(recipe.seed, "prior", step, slot, sample.key)
    level = level_of(recipe, schedule, sample, u, slot)
    noise_CHW = torch.randn(sample.mean_CHW.shape, generator=own)
    posterior_CHW = torch.randn(sample.mean_CHW.shape, generator=own)
    return Draw(sample, level, noise_CHW, posterior_CHW, dropped=False, prior=True)


def _references(
    recipe: Recipe, encodings: cache.Encodings, sample: cache.EncodedSample, step: int, slot: int
) -> tuple[cache.EncodedPhoto, ...]:
    """Other photos than that of the sample, at random; none, or 1 to `max_references` of them.

    From a generator of their own, so that nothing else depends on whether references are shown.
    """
    own = generator(recipe.seed, "references", step, slot, sample.key)
    if loss.draw_uniform(own) >= recipe.references:
        return ()
    others = [p for p in encodings.photos if p.source != sample.source and p.key != sample.key]
    count = 1 + int(loss.draw_uniform(own) * recipe.max_references)
    order = torch.randperm(len(others), generator=own)[:count]
    return tuple(others[i] for i in order.tolist())


def turn(recipe: Recipe, what: str, samples: int, place: int) -> int:
    """The index of the sample at a place of the run: each occurs once per epoch."""
    epoch, place = divmod(place, samples)
    order = torch.randperm(samples, generator=generator(recipe.seed, what, epoch))
    return int(order[place])


def level_of(
    recipe: Recipe, schedule: NoiseSchedule | FlowSchedule, sample: cache.EncodedSample, u: float, slot: int
) -> float:
    """The timestep or sigma of a slot: of the stratum of `u` in the batch that is the slot's own."""
    if isinstance(schedule, NoiseSchedule):
        return loss.stratified_timestep(schedule.steps, u, slot, recipe.batch_size)
    quantile = loss.stratified(u, slot, recipe.batch_size)
    sigma = loss.logit_normal_sigma(quantile) if recipe.timesteps == "logit_normal" else quantile
    height, width = sample.mean_CHW.shape[-2:]
    return loss.shifted_sigma(sigma, recipe.timestep_shift or schedule.shift_for(height, width))


def generator(*key: object) -> torch.Generator:
    """A CPU generator seeded by a digest of `key`: the same on every machine and in every process."""
    return torch.Generator().manual_seed(int(manifest.digest(list(key))[:15], 16))
