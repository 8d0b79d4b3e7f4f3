"""Checkpoints of the training loop: weights, running average and optimiser in one safetensors file.

Names are `weights/NAME`, `average/NAME` and `optimizer/SLOT/NAME`; the metadata hold the state.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

CHECKPOINT: Final = "checkpoint.safetensors"
STATE: Final = "state.json"


@dataclass(slots=True)
class State:
    """Where a run stands."""

    step: int = 0
    seconds: float = 0.0
    finished: bool = False
    figures: dict[str, float] | None = None


def checkpoint_of(name: str) -> str:
    """The file of one of several networks that share a folder."""
    return f"{name}.{CHECKPOINT}"


def write_atomically(file: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    save_file({k: t.detach().cpu().contiguous() for k, t in tensors.items()}, str(temporary), metadata)
    os.replace(temporary, file)


def write_json(file: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value, indent=2), encoding="utf-8")
    os.replace(temporary, file)


def read_part(file: Path, part: str) -> dict[str, Tensor]:
    """The tensors below `part/` of a safetensors file."""
    with safe_open(str(file), framework="pt") as handle:
        names: list[str] = list(handle.keys())
        return {k[len(part) + 1 :]: handle.get_tensor(k) for k in names if k.startswith(part + "/")}


def read_state(folder: Path, checkpoint: str = CHECKPOINT) -> State:
    """The state inside the checkpoint of `folder`; a fresh one where there is none."""
    file = folder / checkpoint
    if not file.exists():
        return State()
    with safe_open(str(file), framework="pt") as handle:
        return State(**json.loads((handle.metadata() or {})["state"]))


def averaged(folder: Path, name: str, prefix: str = "net.") -> dict[str, Tensor]:
    """The averaged weights, and statistics, of one module of the network `name` of `folder`.

    Raises `FileNotFoundError` without its checkpoint, `ValueError` where that holds nothing of the module.
    """
    file = folder / checkpoint_of(name)
    average = read_part(file, "average")
    table = {k[len(prefix) :]: v for k, v in average.items() if k.startswith(prefix)}
    if not table:
        raise ValueError(f"{file}: no average/{prefix}*; of another network or version: train it anew")
    return table


def grown(value: Tensor, current: Tensor) -> Tensor:
    """`value`, with the last rows of `current` where that has more of them."""
    if value.shape == current.shape or value.shape[1:] != current.shape[1:] or len(value) > len(current):
        return value
    return torch.cat([value.to(current.device), current[len(value) :].to(value.dtype)])
