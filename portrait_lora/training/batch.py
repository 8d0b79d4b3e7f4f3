"""From draws to their loss: the denoiser's input, its target, and the weights of errors.

Shape legend: B pictures, C latent channels, H W latent rows and columns.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from accelerate import Accelerator
from torch import Tensor

from portrait_lora.families.family import Family, PromptCondition
from portrait_lora.training import cache, loss, loss_weights
from portrait_lora.training.adapter import bare
from portrait_lora.training.attention import Float32Attention
from portrait_lora.training.draws import Draw
from portrait_lora.training.recipe import Recipe


def accumulate(
    family: Family,
    recipe: Recipe,
    encodings: cache.Encodings,
    draws: Sequence[Sequence[Draw]],
    micro_batch: int,
    accelerator: Accelerator,
    scaled: Callable[[Tensor], Tensor],
) -> Tensor:
    """Gradients of this process's slots, `micro_batch` at a time; processes synchronise once, at the end.

    `draws` has one entry per slot: a picture of the person, and one of the class, if any.  Returns the
    plain and the weighted loss (2,).
    """
    losses = torch.zeros(2, device=family.device)
    for start in range(0, len(draws), micro_batch):
        last = start + micro_batch >= len(draws)
        part = [d for slot in draws[start : start + micro_batch] for d in slot]
        with contextlib.nullcontext() if last else accelerator.no_sync(family.denoiser):
            total, plain = loss_sums(family, recipe, encodings, part, len(draws))
            accelerator.backward(scaled(total))
        losses += torch.stack([plain, total.detach()])
    return losses


def loss_sums(
    family: Family, recipe: Recipe, encodings: cache.Encodings, draws: Sequence[Draw], slots: int
) -> tuple[Tensor, Tensor]:
    """The draws' share of a step's loss, weighted (with gradient) and plain (of the person's pictures).

    Both are sums over the draws divided by `slots`, the slots of the whole batch.  Pictures of different
    sizes, or shown others, go through the denoiser in turn; the gradient is that of the whole batch.
    """
    groups: dict[tuple[tuple[int, ...], ...], list[Draw]] = {}
    for drawn in draws:
        groups.setdefault(drawn.shapes, []).append(drawn)
    total = torch.zeros((), device=family.device)
    plain = torch.zeros((), device=family.device)
    for group in groups.values():
        loss_B, level_B = sample_losses(family, recipe, encodings, group)
        weighted, own = weighted_sums(family, recipe, loss_B, level_B, group, slots)
        total, plain = total + weighted, plain + own
    return total, plain


def weighted_sums(
    family: Family, recipe: Recipe, loss_B: Tensor, level_B: Tensor, group: Sequence[Draw], slots: int
) -> tuple[Tensor, Tensor]:
    """The weighted loss of draws (with gradient) and the plain one, summed and divided by `slots`."""
    weight_B = loss_weights.snr_weight(family.schedule, level_B, recipe.snr_gamma)
    prior_B = torch.tensor([d.prior for d in group], device=family.device)
    weight_B = weight_B * loss_weights.prior_weight(prior_B, recipe.prior_weight)
    return (loss_B * weight_B).sum() / slots, loss_B.detach()[~prior_B].sum() / slots


def sample_losses(
    family: Family, recipe: Recipe, encodings: cache.Encodings, group: Sequence[Draw]
) -> tuple[Tensor, Tensor]:
    """Loss per sample (B,) and noise levels (B,) of draws that share their shapes.

    The bare base, where it is asked, sees the same references.
    """
    device, chosen = family.device, [d.sample for d in group]
    noise = noised(family, group)
    noisy_BCHW, level_B = noise.noisy_BCHW, noise.level_B
    places, shown = [s.geometry for s in chosen], _references(family, group)
    target_BCHW = loss.target(family.schedule, noise.latents_BCHW, noise.noise_BCHW, level_B)
    if recipe.learn_region != "picture":
        with bare(family.denoiser), torch.no_grad(), precision(family, recipe):
            cached = replace(_cached_prompts(family, encodings, group), references=shown)
            bare_BCHW = family.predict(noisy_BCHW, level_B, cached, places)
        target_BCHW = loss.target_within(_masks(chosen, device), target_BCHW, bare_BCHW)
    with precision(family, recipe):
        prompts = replace(condition(family, recipe, encodings, group), references=shown)
        answer_BCHW = family.predict(noisy_BCHW, level_B, prompts, places)
    weight_B1HW = _place_weights(chosen, recipe.background_weight, device)
    return loss.sample_loss(answer_BCHW, target_BCHW, weight_B1HW), level_B


@dataclass(frozen=True, slots=True)
class Noised:
    """Draws of one shape in model space: the latents, their noise, both together, and the levels (B,)."""

    latents_BCHW: Tensor
    noise_BCHW: Tensor
    noisy_BCHW: Tensor
    level_B: Tensor


def noised(family: Family, group: Sequence[Draw]) -> Noised:
    """The latents of draws and what the denoiser is given, on the device."""
    latents_BCHW = torch.stack([d.sample.mean_CHW + d.sample.std_CHW * d.posterior_CHW for d in group])
    latents_BCHW = family.to_model_space(latents_BCHW.to(family.device))
    noise_BCHW = torch.stack([d.noise_CHW for d in group]).to(family.device)
    level_B = torch.tensor([d.noise_level for d in group], device=family.device)
    noisy_BCHW = loss.add_noise(family.schedule, latents_BCHW, noise_BCHW, level_B)
    return Noised(latents_BCHW, noise_BCHW, noisy_BCHW, level_B)


def condition(
    family: Family, recipe: Recipe, encodings: cache.Encodings, group: Sequence[Draw]
) -> PromptCondition:
    """The prompts of draws: as cached, computed anew if the text encoders are in training."""
    if recipe.text_encoder:
        return family.encode_prompts(["" if d.dropped else d.sample.caption for d in group])
    return _cached_prompts(family, encodings, group)


def _cached_prompts(family: Family, encodings: cache.Encodings, group: Sequence[Draw]) -> PromptCondition:
    rows = [d.beside or (encodings.empty if d.dropped else d.sample.condition) for d in group]
    return PromptCondition.batch(rows).to(family.device)


def _references(family: Family, group: Sequence[Draw]) -> tuple[Tensor, ...]:
    """What the rows are shown, in model space."""
    columns = zip(*(d.references for d in group), strict=True)
    return tuple(family.to_model_space(torch.stack(same).to(family.device)) for same in columns)


def _place_weights(
    chosen: Sequence[cache.EncodedSample], background_weight: float, device: torch.device
) -> Tensor | None:
    if background_weight >= 1.0:
        return None
    return loss_weights.place_weights(_masks(chosen, device), background_weight)


def _masks(chosen: Sequence[cache.EncodedSample], device: torch.device) -> Tensor:
    """(B, 1, H, W); all ones for a picture without a mask."""
    masks = [torch.ones_like(s.mean_CHW[:1]) if s.mask_1HW is None else s.mask_1HW for s in chosen]
    return torch.stack(masks).to(device)


@contextlib.contextmanager
def precision(family: Family, recipe: Recipe) -> Iterator[None]:
    """Autocast as configured, with attention in float32 where that is faster.

    Not with gradient checkpointing: its recomputation would run outside this context.
    """
    device, mixed = family.device, recipe.mixed_precision
    again = any(getattr(m, "gradient_checkpointing", False) for m in family.denoiser.modules())
    quicker = device.type == "cpu" and mixed == "bf16" and not again
    dtype = torch.float16 if mixed == "fp16" else torch.bfloat16
    attention = Float32Attention() if quicker else contextlib.nullcontext()
    with torch.autocast(device.type, dtype=dtype, enabled=mixed != "no"), attention:
        yield
