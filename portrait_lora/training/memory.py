"""Saving memory: smaller micro-batches, gradient checkpointing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from portrait_lora import log
from portrait_lora.errors import PortraitError
from portrait_lora.families.blocks import repeated_blocks
from portrait_lora.training.streaming import recomputed

_log = log.get(__name__)


@runtime_checkable
class _Checkpointed(Protocol):
    def enable_gradient_checkpointing(self, gradient_checkpointing_func: Callable[..., Any]) -> None: ...
    def disable_gradient_checkpointing(self) -> None: ...


def use_checkpointing(denoiser: nn.Module, share: float) -> None:
    """Switch gradient checkpointing, which recomputes activations in the backward pass (Chen et al. 2016).

    `share` of the repeated blocks are recomputed, from 0 (none) to 1 (all): the first ones, whose activations
    would be kept longest.
    """
    if not isinstance(denoiser, _Checkpointed):
        return
    if not share:
        denoiser.disable_gradient_checkpointing()
        return
    kept: set[nn.Module] = set()
    if share < 1:
        blocks = list(repeated_blocks(denoiser).values())
        kept = set(blocks[math.ceil(share * len(blocks)) :])

    def compute(module: nn.Module, *inputs: Any) -> Any:
        if module in kept:
            return module(*inputs)
        return checkpoint(_without_notes, module, *inputs, use_reentrant=False)

    denoiser.enable_gradient_checkpointing(compute)


def _without_notes(module: nn.Module, *inputs: Any) -> Any:
    with recomputed():
        return module(*inputs)


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
