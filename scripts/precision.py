"""Half precision for the networks of the scripts, where the machine computes in it."""

from __future__ import annotations

from functools import lru_cache

import torch

from portrait_lora import device as devices


def half(device: torch.device | str) -> torch.autocast:
    """Autocast to bfloat16; on a processor without instructions for it nothing is cast, because a convolution
    takes a hundred times as long there."""
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=kind != "cpu" or _processor_has_it())


@lru_cache(maxsize=1)
def _processor_has_it() -> bool:
    return devices.choose("cpu").mixed_precision == "bf16"
