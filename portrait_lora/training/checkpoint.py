"""Checkpoints: `checkpoints/step-000400/` with the adapter, the state to go on from, and a manifest.

safetensors and JSON only, never pickles.  `adapter.safetensors` is what others load;
`optimizer.safetensors` holds the raw LoRA weights and AdamW's moments, bit for bit.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from portrait_lora import log, manifest
from portrait_lora.errors import ArtifactError
from portrait_lora.families.adapter_file import read_adapter
from portrait_lora.records import Adapter

ADAPTER: Final = "adapter.safetensors"
_OPTIMIZER: Final = "optimizer.safetensors"
_STATE: Final = "state.json"
_NAME: Final = re.compile(r"step-(\d{6,})")
_MOMENTS: Final = ("exp_avg", "exp_avg_sq", "step")
_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A whole checkpoint; `settings` are those of the run that wrote it."""

    folder: Path
    step: int
    settings: Mapping[str, object]

    @property
    def adapter(self) -> Adapter:
        return read_adapter(self.folder / ADAPTER)


def folder_of(checkpoints: Path, step: int) -> Path:
    return checkpoints / f"step-{step:06d}"


def write(
    checkpoints: Path,
    step: int,
    *,
    adapter: bytes,
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    settings: Mapping[str, object],
) -> Checkpoint:
    """Write one checkpoint whole or not at all."""
    folder = folder_of(checkpoints, step)
    inputs = {"settings": manifest.digest(settings)}
    with manifest.writing(folder, kind="checkpoint", inputs=inputs, extra={"step": step}) as temporary:
        (temporary / ADAPTER).write_bytes(adapter)
        save_file(_raw(parameters, optimizer), temporary / _OPTIMIZER)
        text = json.dumps({"step": step, "settings": dict(settings)}, indent=2, sort_keys=True)
        (temporary / _STATE).write_text(text + "\n", encoding="utf-8")
    return Checkpoint(folder, step, settings)


def _raw(parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        tensors[f"param/{name}"] = parameter.detach().cpu().contiguous()
        state = cast(dict[str, Tensor], optimizer.state.get(parameter, {}))
        for moment in _MOMENTS:
            if moment in state:
                tensors[f"{moment}/{name}"] = torch.as_tensor(state[moment]).detach().cpu().contiguous()
    return tensors


def restore(
    checkpoint: Checkpoint, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> None:
    """Put weights and moments back, bit for bit.  Raises `ArtifactError` when they are of another adapter."""
    try:
        tensors = load_file(checkpoint.folder / _OPTIMIZER)
    except SafetensorError as error:
        raise ArtifactError("the state cannot be read", where=checkpoint.folder, got=error) from error
    names = {k.removeprefix("param/") for k in tensors if k.startswith("param/")}
    if names != set(parameters):
        raise ArtifactError(
            "the state belongs to another adapter",
            where=checkpoint.folder,
            got=f"{len(names)} tensors",
            needed=f"{len(parameters)} tensors",
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"param/{name}"])
            state = {m: tensors[f"{m}/{name}"] for m in _MOMENTS if f"{m}/{name}" in tensors}
            # Clones: what was read is mapped from the file.  AdamW keeps its step count on the CPU and its
            # moments beside the parameter.
            optimizer.state[parameter] = {
                m: v.clone() if m == "step" else v.to(parameter.device, copy=True) for m, v in state.items()
            }


def find(checkpoints: Path) -> list[Checkpoint]:
    """The whole checkpoints, oldest first; a damaged one is named in a warning and left out."""
    if not checkpoints.is_dir():
        return []
    manifest.clean_leftovers(checkpoints)
    found: list[Checkpoint] = []
    for folder in sorted(checkpoints.iterdir()):
        match = _NAME.fullmatch(folder.name)
        if not match or not folder.is_dir():
            continue
        try:
            manifest.verify(folder)
            state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
            found.append(Checkpoint(folder, int(state["step"]), dict(state["settings"])))
        except (ArtifactError, OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("checkpoint %s is not usable and is ignored: %s", folder.name, error)
    return sorted(found, key=lambda c: c.step)


def drop_unplanned(checkpoints: Path, planned: Sequence[int], before: int) -> None:
    """Remove checkpoints that an interruption left between the planned ones, once a later one is whole."""
    for folder in checkpoints.glob("step-*"):
        match = _NAME.fullmatch(folder.name)
        if match and int(match[1]) < before and int(match[1]) not in planned:
            shutil.rmtree(folder, ignore_errors=True)
