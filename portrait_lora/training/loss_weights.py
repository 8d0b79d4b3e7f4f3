"""How errors weigh: by noise level (min-SNR), by place, and by whether the person or the class is shown.

Shape legend: B pictures, H W latent rows and columns, T steps of the schedule.
"""

from __future__ import annotations

import torch
from torch import Tensor

from portrait_lora.families.family import FlowSchedule, NoiseSchedule


def snr_weight(schedule: NoiseSchedule | FlowSchedule, timestep_B: Tensor, gamma: float) -> Tensor:
    """Min-SNR weight of each sample: min(SNR, gamma) / SNR for epsilon, / (SNR + 1) for v.

    Hang et al. 2023, section 3.4; SNR = a_t / (1 - a_t).  Flow matching weighs by how often a noise level
    is drawn instead (Esser et al. 2024, section 3.1): 1 for every sample.
    """
    if isinstance(schedule, FlowSchedule):
        return torch.ones_like(timestep_B, dtype=torch.float32)
    a_B = schedule.alphas_cumprod_T.to(timestep_B.device)[timestep_B].double()
    snr_B = a_B / (1.0 - a_B).clamp(min=1e-12)
    divisor_B = snr_B if schedule.prediction_type == "epsilon" else snr_B + 1.0
    return (snr_B.clamp(max=gamma) / divisor_B.clamp(min=1e-12)).float()


def place_weights(mask_B1HW: Tensor, background_weight: float) -> Tensor:
    """1 on the person, `background_weight` (0..1) elsewhere, mixed by the mask's coverage."""
    return mask_B1HW + background_weight * (1.0 - mask_B1HW)


def prior_weight(prior_B: Tensor, weight: float) -> Tensor:
    """1 for pictures of the person, lambda for pictures of the class (Ruiz et al. 2023, eq. 2)."""
    return torch.where(prior_B, weight, 1.0)
