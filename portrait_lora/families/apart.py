"""Prompts of different length asked for apart, for denoisers that padding does not leave as they were.

Shape legend: see `family.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from portrait_lora.families.family import PromptCondition


def by_length(
    ask: Callable[[Tensor, Tensor, Tensor], Tensor],
    noisy_BCHW: Tensor,
    level_B: Tensor,
    condition: PromptCondition,
) -> Tensor:
    """`ask(noisy, level, embeds)` for the rows of every length together, without padding."""
    assert condition.mask_BL is not None
    lengths = [int(mask.sum()) for mask in condition.mask_BL.cpu()]
    answer_BCHW = torch.empty_like(noisy_BCHW)
    for length in set(lengths):
        alike = torch.tensor([one == length for one in lengths], device=noisy_BCHW.device)
        embeds = condition.embeds_BLD[alike, :length]
        answer_BCHW[alike] = ask(noisy_BCHW[alike], level_B[alike], embeds)
    return answer_BCHW
