"""The denoising objective of variance-preserving bases.  Pure functions.

Shape legend: B pictures, C latent channels, H W latent rows and columns, T steps of the schedule.
"""

from __future__ import annotations

import torch
from torch import Tensor

from portrait_lora.families.family import NoiseSchedule


def add_noise(
    schedule: NoiseSchedule, latents_BCHW: Tensor, noise_BCHW: Tensor, timestep_B: Tensor
) -> Tensor:
    """x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise (Ho et al. 2020, eq. 4)."""
    signal_B111, sigma_B111 = _shares(schedule, timestep_B, latents_BCHW)
    return signal_B111 * latents_BCHW + sigma_B111 * noise_BCHW


def target(schedule: NoiseSchedule, latents_BCHW: Tensor, noise_BCHW: Tensor, timestep_B: Tensor) -> Tensor:
    """What the denoiser is to answer: the noise, or v = sqrt(a_t) noise - sqrt(1 - a_t) x_0.

    Salimans & Ho 2022, appendix D, for v.
    """
    if schedule.prediction_type == "epsilon":
        return noise_BCHW
    signal_B111, sigma_B111 = _shares(schedule, timestep_B, latents_BCHW)
    return signal_B111 * noise_BCHW - sigma_B111 * latents_BCHW


def snr_weight(schedule: NoiseSchedule, timestep_B: Tensor, gamma: float) -> Tensor:
    """Min-SNR weight of each sample: min(SNR, gamma) / SNR for epsilon, / (SNR + 1) for v.

    Hang et al. 2023, section 3.4; SNR = a_t / (1 - a_t).
    """
    a_B = schedule.alphas_cumprod_T.to(timestep_B.device)[timestep_B].double()
    snr_B = a_B / (1.0 - a_B).clamp(min=1e-12)
    divisor_B = snr_B if schedule.prediction_type == "epsilon" else snr_B + 1.0
    return (snr_B.clamp(max=gamma) / divisor_B.clamp(min=1e-12)).float()


def sample_loss(answer_BCHW: Tensor, target_BCHW: Tensor, weight_B1HW: Tensor | None = None) -> Tensor:
    """Mean squared error of each sample, (B,) float32.

    `weight_B1HW` weighs the places of the latent; it is normalised to mean 1 per sample, so that a small
    face does not shrink the step.
    """
    error_BCHW = (answer_BCHW.float() - target_BCHW.float()).square()
    if weight_B1HW is not None:
        mean_B111 = weight_B1HW.mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
        error_BCHW = error_BCHW * (weight_B1HW / mean_B111)
    return error_BCHW.mean(dim=(1, 2, 3))


def place_weights(mask_B1HW: Tensor, background_weight: float) -> Tensor:
    """1 on the person, `background_weight` (0..1) elsewhere, mixed by the mask's coverage."""
    return mask_B1HW + background_weight * (1.0 - mask_B1HW)


def _shares(schedule: NoiseSchedule, timestep_B: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    a_B111 = schedule.alphas_cumprod_T.to(like.device)[timestep_B].view(-1, 1, 1, 1)
    return a_B111.sqrt().to(like.dtype), (1.0 - a_B111).sqrt().to(like.dtype)


def stratified_timestep(steps: int, u: float, slot: int, slots: int) -> int:
    """The timestep of one slot of a batch: the slots share one draw `u` in [0, 1) and stand evenly apart.

    Each slot alone is uniform over the schedule; together they cover it, which steadies the loss
    (Kingma et al. 2021, appendix I.1).
    """
    return min(int(((u + slot / slots) % 1.0) * steps), steps - 1)


def draw_uniform(generator: torch.Generator) -> float:
    """One number in [0, 1)."""
    return float(torch.rand((), generator=generator, dtype=torch.float64))
