"""The repeated blocks of a denoiser: what is moved, recomputed and counted as one piece.

diffusers' classes name the modules that must stay in one piece on one device; a block is the innermost such
module in a list of modules, or what holds nothing but one.  That is a transformer block, and in the U-Nets a
ResNet block as well.  A class that names none may name the blocks that are repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

import torch
from torch import nn

from portrait_lora.errors import InputError
from portrait_lora.families.tensor_files import TensorFiles


def repeated_blocks(denoiser: nn.Module) -> Mapping[str, nn.Module]:
    """Name and module of every block, in the order in which the network registers them.

    Raises `InputError` for a network without repeated blocks.
    """
    named_by_class = (getattr(denoiser, key, None) for key in ("_no_split_modules", "_repeated_blocks"))
    whole = set(next((cast("list[str]", names) for names in named_by_class if names), ()))
    everything = cast("Iterator[tuple[str, nn.Module]]", denoiser.named_modules())
    named = {
        f"{name}.{key}": block
        for name, modules in everything
        if isinstance(modules, nn.ModuleList)
        for key, block in modules.named_children()
        if type(block).__name__ in whole or _holds_one(block, whole)
    }
    inner = {n: m for n, m in named.items() if not any(other.startswith(f"{n}.") for other in named)}
    if not inner:
        raise InputError(
            "this denoiser has no repeated blocks that could be streamed",
            where=type(denoiser).__name__,
            got=f"no list of {', '.join(sorted(whole)) or 'modules that stay in one piece'}",
            remedy="Set training.streaming=off.",
        )
    return inner


def _holds_one(module: nn.Module, whole: set[str]) -> bool:
    """Whether it is the wrapping of a block."""
    return [type(inside).__name__ in whole for inside in module.children()] == [True]


def fill_outside_blocks(denoiser: nn.Module, files: TensorFiles) -> None:
    """Read what is in no block into a network on the meta device; raises as `repeated_blocks` and `read` do.

    That every block can be read, by names and shapes, is seen here as well.
    """
    beginnings = tuple(f"{name}." for name in repeated_blocks(denoiser))
    for name, tensor in [*denoiser.named_parameters(), *denoiser.named_buffers()]:
        if not tensor.is_meta:
            continue
        if name.startswith(beginnings):
            files.require(name, tuple(tensor.shape))
            continue
        full = torch.empty(tensor.shape, dtype=tensor.dtype)
        files.read(name, full)
        owner, _, key = name.rpartition(".")
        module = denoiser.get_submodule(owner)
        setattr(module, key, nn.Parameter(full, requires_grad=False) if key in module._parameters else full)  # pyright: ignore[reportPrivateUsage]
