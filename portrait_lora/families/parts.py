"""Small questions about the parts of a pipeline: there, of modules, with an adapter?"""

from __future__ import annotations

from typing import Any, TypeVar

from torch import nn

from portrait_lora.families.family import ADAPTER_NAME

_T = TypeVar("_T")


def loaded(part: _T | None, parts: str) -> _T:
    """The part, or `RuntimeError` when it has not been loaded."""
    if part is None:
        raise RuntimeError(f'call load("{parts}") first')
    return part


def modules(pipe: Any) -> dict[str, nn.Module]:
    """The networks of a diffusers pipeline by their names."""
    return {name: part for name, part in pipe.components.items() if isinstance(part, nn.Module)}


def injected(module: nn.Module) -> int:
    """How many layers of a module carry the adapter."""
    return sum(ADAPTER_NAME in getattr(m, "lora_A", {}) for m in module.modules())
