"""Checkpoints: `checkpoints/step-000400/` with the adapter, the state to resume from, and a manifest.

safetensors and JSON only, never pickles.  `adapter.safetensors` is what others load;
`optimizer.safetensors` holds the raw weights and the optimizer's moments, bit for bit, and `state.json` its
numbers and the settings of the run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from portrait_lora import log, manifest, removal, strict_json
from portrait_lora.errors import ArtifactError, PortraitError
from portrait_lora.families.adapter_file import read_adapter
from portrait_lora.records import Adapter

ADAPTER: Final = "adapter.safetensors"
_OPTIMIZER: Final = "optimizer.safetensors"
_STATE: Final = "state.json"
FILES: Final = (_OPTIMIZER, _STATE)
"""Files that only this program writes into a checkpoint, complete or not."""
_NAME: Final = re.compile(r"step-(\d{6,})")
_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint; `settings` are those of the run that wrote it, `numbers` the updater's."""

    folder: Path
    step: int
    settings: Mapping[str, object]
    numbers: Mapping[str, object] = field(default_factory=dict)

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
    tensors: Mapping[str, Tensor],
    numbers: Mapping[str, object],
    settings: Mapping[str, object],
) -> Checkpoint:
    """Write one checkpoint atomically.

    Raises `PortraitError` for weights that are not finite; whatever fails, earlier checkpoints stay.
    """
    wrong = [n for n, t in tensors.items() if n.startswith(("param/", "average/")) and not t.isfinite().all()]
    if wrong:
        raise PortraitError("the weights are not finite and are not saved", where=checkpoints, got=wrong[0])
    folder = folder_of(checkpoints, step)
    inputs = {"settings": manifest.digest(settings)}
    state = {"step": step, "settings": dict(settings), "numbers": dict(numbers)}
    with manifest.writing(folder, kind="checkpoint", inputs=inputs, extra={"step": step}) as temporary:
        (temporary / ADAPTER).write_bytes(adapter)
        # Clones: optimizers share tables between parameters, which the format refuses.
        raw = {n: t.cpu().contiguous().clone() for n, t in tensors.items()}
        (temporary / _OPTIMIZER).write_bytes(save(raw))
        text = json.dumps(state, indent=2, sort_keys=True)
        (temporary / _STATE).write_text(text + "\n", encoding="utf-8")
    return Checkpoint(folder, step, settings, numbers)


def read_tensors(checkpoint: Checkpoint, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a checkpoint.  Raises `ArtifactError` when they belong to another adapter."""
    try:
        tensors = load_file(checkpoint.folder / _OPTIMIZER)
    except SafetensorError as error:
        raise ArtifactError("the state cannot be read", where=checkpoint.folder, got=error) from error
    shapes = {k.removeprefix("param/"): t.shape for k, t in tensors.items() if k.startswith("param/")}
    needed = {n: p.shape for n, p in parameters.items()}
    if shapes != needed:
        odd = next(n for n in sorted({*shapes, *needed}) if shapes.get(n) != needed.get(n))
        raise ArtifactError(
            "the state belongs to another adapter",
            where=checkpoint.folder,
            got=f"{odd} {list(shapes.get(odd, ()))}",
            needed=f"{list(needed.get(odd, ()))}",
        )
    return tensors


def find(checkpoints: Path) -> list[Checkpoint]:
    """The complete checkpoints, oldest first; a damaged one is skipped with a warning."""
    if not checkpoints.is_dir():
        return []
    complete: list[Checkpoint] = []
    for folder in sorted(checkpoints.iterdir()):
        match = _NAME.fullmatch(folder.name)
        if not match or not folder.is_dir():
            continue
        try:
            manifest.verify(folder)
            state: Any = strict_json.load_object(folder / _STATE, "state of the checkpoint")
            complete.append(
                Checkpoint(folder, int(state["step"]), dict(state["settings"]), dict(state["numbers"]))
            )
        except (ArtifactError, OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("checkpoint %s is not usable and is ignored: %s", folder.name, error)
    return sorted(complete, key=lambda c: c.step)


def drop_unplanned(checkpoints: Path, planned: Sequence[int], before: int) -> None:
    """Remove unplanned checkpoints, left by interruptions, once a later one is complete."""
    for folder in checkpoints.glob("step-*"):
        match = _NAME.fullmatch(folder.name)
        if match and int(match[1]) < before and int(match[1]) not in planned:
            removal.remove_recorded(folder, owner=checkpoints, names=FILES)
