"""The loss: what is asked of a denoiser, and at which noise.  Pure functions; weights are in `loss_weights`.

Variance-preserving bases predict epsilon or v, flow-matching bases a velocity.  The whole loss of a step is
the mean over its slots of weight × mean squared error, with the weights of noise levels, places and
prior preservation: L = E[w |pred - target|^2] + lambda E[w' |pred' - target'|^2] over pictures of the
person and of the class (Ruiz et al. 2023, eq. 2).

Shape legend: B pictures, C latent channels, H W latent rows and columns, T steps of the schedule.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

import torch
from torch import Tensor

from portrait_lora.families.family import FlowSchedule, NoiseSchedule

_EDGE: Final = 1e-5
"""Quantiles are clipped this far from 0 and 1, where the logit-normal diverges."""


def add_noise(
    schedule: NoiseSchedule | FlowSchedule, latents_BCHW: Tensor, noise_BCHW: Tensor, level_B: Tensor
) -> Tensor:
    """The noisy latents at timesteps t or noise levels sigma.

    x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise (Ho et al. 2020, eq. 4), or on the straight line
    x_sigma = (1 - sigma) x_0 + sigma noise (Lipman et al. 2023, section 4.1; Esser et al. 2024, eq. 13).
    """
    if isinstance(schedule, FlowSchedule):
        sigma_B111 = level_B.view(-1, 1, 1, 1).to(latents_BCHW.dtype)
        return (1.0 - sigma_B111) * latents_BCHW + sigma_B111 * noise_BCHW
    signal_B111, sigma_B111 = _shares(schedule, level_B, latents_BCHW)
    return signal_B111 * latents_BCHW + sigma_B111 * noise_BCHW


def target(
    schedule: NoiseSchedule | FlowSchedule, latents_BCHW: Tensor, noise_BCHW: Tensor, timestep_B: Tensor
) -> Tensor:
    """The denoiser's target.

    The noise; v = sqrt(a_t) noise - sqrt(1 - a_t) x_0 (Salimans & Ho 2022, appendix D); or the velocity of
    the straight line, noise - x_0 (Lipman et al. 2023, eq. 14 with time towards the noise).
    """
    if isinstance(schedule, FlowSchedule):
        return noise_BCHW - latents_BCHW
    if schedule.prediction_type == "epsilon":
        return noise_BCHW
    signal_B111, sigma_B111 = _shares(schedule, timestep_B, latents_BCHW)
    return signal_B111 * noise_BCHW - sigma_B111 * latents_BCHW


def clean(
    schedule: NoiseSchedule | FlowSchedule, noisy_BCHW: Tensor, answer_BCHW: Tensor, level_B: Tensor
) -> Tensor:
    """The picture that an answer of the denoiser stands for: `target` solved for the latents.

    (x_t - sqrt(1 - a_t) noise) / sqrt(a_t); sqrt(a_t) x_t - sqrt(1 - a_t) v; x_sigma - sigma velocity.
    """
    if isinstance(schedule, FlowSchedule):
        return noisy_BCHW - level_B.view(-1, 1, 1, 1).to(noisy_BCHW.dtype) * answer_BCHW
    signal_B111, sigma_B111 = _shares(schedule, level_B, noisy_BCHW)
    if schedule.prediction_type == "epsilon":
        return (noisy_BCHW - sigma_B111 * answer_BCHW) / signal_B111
    return signal_B111 * noisy_BCHW - sigma_B111 * answer_BCHW


def sample_loss(answer_BCHW: Tensor, target_BCHW: Tensor, weight_B1HW: Tensor | None = None) -> Tensor:
    """Mean squared error of each sample, (B,) float32.

    `weight_B1HW` weights the latent pixels; it is normalised to mean 1 per sample, so that a small
    face does not shrink the step.
    """
    error_BCHW = (answer_BCHW.float() - target_BCHW.float()).square()
    if weight_B1HW is not None:
        mean_B111 = weight_B1HW.mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
        error_BCHW = error_BCHW * (weight_B1HW / mean_B111)
    return error_BCHW.mean(dim=(1, 2, 3))


def target_within(mask_B1HW: Tensor, target_BCHW: Tensor, bare_BCHW: Tensor) -> Tensor:
    """The photo's target inside the mask, the bare base's prediction outside, interpolated by its coverage.

    This preserves the base's output for the same caption outside the mask, like Li & Hoiem 2016 (Learning
    without Forgetting, eq. 3): the likeness is learnt, the backdrop is not.
    """
    return mask_B1HW * target_BCHW + (1.0 - mask_B1HW) * bare_BCHW.to(target_BCHW.dtype)


def _shares(schedule: NoiseSchedule, timestep_B: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    a_B111 = schedule.alphas_cumprod_T.to(like.device)[timestep_B].view(-1, 1, 1, 1)
    return a_B111.sqrt().to(like.dtype), (1.0 - a_B111).sqrt().to(like.dtype)


def logit_normal_sigma(quantile: float, mean: float = 0.0, std: float = 1.0) -> float:
    """The noise level at a quantile of the logit-normal law: sigmoid(mean + std × Phi^-1(quantile)).

    Esser et al. 2024, section 3.1, eq. 19; mean 0 and std 1 are their best values.
    """
    z = NormalDist().inv_cdf(min(max(quantile, _EDGE), 1.0 - _EDGE))
    return 1.0 / (1.0 + math.exp(-(mean + std * z)))


def shifted_sigma(sigma: float, shift: float) -> float:
    """s sigma / (1 + (s - 1) sigma): more noise for larger pictures (Esser et al. 2024, eq. 23)."""
    return shift * sigma / (1.0 + (shift - 1.0) * sigma)


def stratified(u: float, slot: int, slots: int) -> float:
    """A quantile in [0, 1) for one slot of a batch: all share one draw `u` and are evenly spaced.

    Each slot alone is uniform (Kingma et al. 2021, appendix I.1).
    """
    return (u + slot / slots) % 1.0


def stratified_timestep(steps: int, u: float, slot: int, slots: int) -> int:
    """The timestep of one slot of a batch: the slots share one draw `u` in [0, 1) and are evenly spaced.

    Each slot alone is uniform over the schedule; together they cover it, which reduces the loss's variance
    (Kingma et al. 2021, appendix I.1).
    """
    return min(int(stratified(u, slot, slots) * steps), steps - 1)


def draw_uniform(generator: torch.Generator) -> float:
    """One number in [0, 1)."""
    return float(torch.rand((), generator=generator, dtype=torch.float64))
