"""The loss against its definitions."""

from __future__ import annotations

import torch
from diffusers import DDPMScheduler

from portrait_lora.families.family import NoiseSchedule, PredictionType
from portrait_lora.training import loss, loss_weights


def _schedule(kind: PredictionType) -> NoiseSchedule:
    return NoiseSchedule(DDPMScheduler(beta_schedule="scaled_linear").alphas_cumprod, kind)


def test_noise_and_velocity_are_those_of_diffusers() -> None:
    scheduler = DDPMScheduler(beta_schedule="scaled_linear")
    latents, noise, t = torch.randn(3, 4, 5, 6), torch.randn(3, 4, 5, 6), torch.tensor([0, 400, 999])
    schedule = _schedule("v_prediction")
    torch.testing.assert_close(
        loss.add_noise(schedule, latents, noise, t), scheduler.add_noise(latents, noise, t)
    )
    torch.testing.assert_close(
        loss.target(schedule, latents, noise, t), scheduler.get_velocity(latents, noise, t)
    )
    assert loss.target(_schedule("epsilon"), latents, noise, t) is noise


def test_min_snr_makes_both_targets_the_same_loss_in_x0() -> None:
    """min(SNR, g) on the x0 error, written for epsilon and for v, must be one weight (Hang et al. 2023)."""
    t = torch.arange(1, 1000, 37)
    a = _schedule("epsilon").alphas_cumprod_T[t]
    snr = a / (1 - a)
    for kind, to_x0 in (("epsilon", 1 / snr), ("v_prediction", 1 - a)):
        weight = loss_weights.snr_weight(_schedule(kind), t, 5.0)  # type: ignore[arg-type]
        # An error e of the answer is an error e * sqrt(to_x0) of x0.
        torch.testing.assert_close(weight / to_x0, snr.clamp(max=5.0), rtol=1e-4, atol=1e-5)


def test_place_weights_keep_the_scale_and_ignore_the_background() -> None:
    answer, target = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    answer[..., :2] = 3.0  # wrong on the left half only
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1.0
    assert loss.sample_loss(answer, target).item() == 4.5
    assert loss.sample_loss(answer, target, loss_weights.place_weights(mask, 0.0)).item() == 9.0
    assert loss.sample_loss(answer, target, loss_weights.place_weights(1 - mask, 0.0)).item() == 0.0


def test_timesteps_of_a_batch_cover_the_schedule() -> None:
    drawn = [loss.stratified_timestep(1000, 0.9, slot, 4) for slot in range(4)]
    assert drawn == [900, 149, 399, 649]
    assert loss.stratified_timestep(1000, 0.9999999, 0, 1) == 999
