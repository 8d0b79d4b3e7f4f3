"""Saving memory: smaller micro-batches, gradient checkpointing."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import nn

from portrait_lora import log
from portrait_lora.errors import PortraitError

_log = log.get(__name__)


@runtime_checkable
class _Checkpointed(Protocol):
    def enable_gradient_checkpointing(self) -> None: ...
    def disable_gradient_checkpointing(self) -> None: ...


def use_checkpointing(denoiser: nn.Module, on: bool) -> None:
    """Switch gradient checkpointing, which recomputes activations in the backward pass (Chen et al. 2016)."""
    if isinstance(denoiser, _Checkpointed):
        if on:
            denoiser.enable_gradient_checkpointing()
        else:
            denoiser.disable_gradient_checkpointing()


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an allocation failed, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def halved(micro_batch: int, error: RuntimeError) -> int:
    """Halve the micro-batch; the batch stays the same.  `PortraitError` when one sample is too many."""
    if micro_batch <= 1:
        raise PortraitError(
            "not enough memory for one sample at a time",
            got=str(error).splitlines()[0],
            remedy="Set training.gradient_checkpointing=on, training.weights=nf4 or a smaller rank.",
        ) from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    smaller = (micro_batch + 1) // 2
    _log.warning("out of memory: micro-batch reduced to %d, same batch", smaller)
    return smaller
