"""The header of a LoRA file: who reads it, and what it says.  Torch-free.

ModelSpec 1.0.1 keys for interfaces that list models, the few `ss_*` keys that ComfyUI and A1111 tools
look at, and our own `portrait_lora.*` from which an `Adapter` is read back.  Captions, folder names and
photo names never enter a header.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

from portrait_lora import strict_json
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.families import other_kinds, safetensors_header
from portrait_lora.families.rows import row_of
from portrait_lora.records import Adapter

_OWN: Final = "portrait_lora."
_PREDICTION: Final[Mapping[str, str]] = {"epsilon": "epsilon", "v_prediction": "v"}


def metadata(adapter: Adapter, *, resolution_px: int, prediction_type: str, licence: str) -> dict[str, str]:
    """The `__metadata__` of a LoRA file: strings only, as safetensors demands.

    ModelSpec knows no word for a velocity, so a flow family's file says nothing there.
    Raises `InputError` for an unknown family.
    """
    row, base = row_of(adapter.family), Path(adapter.base).name
    own = next((b.architecture for b in row.bases if b.name == base), "")
    entries = (
        {"modelspec.prediction_type": _PREDICTION[prediction_type]} if prediction_type in _PREDICTION else {}
    )
    rank, alpha = str(adapter.rank), f"{adapter.alpha:g}"
    return {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{own or row.architecture}/lora",
        "modelspec.implementation": "https://github.com/huggingface/diffusers",
        "modelspec.title": f"{adapter.trigger} on {base}",
        "modelspec.trigger_phrase": adapter.trigger,
        "modelspec.resolution": f"{resolution_px}x{resolution_px}",
        **entries,
        "modelspec.license": licence,
        "ss_network_module": "networks.lora",
        "ss_network_dim": rank,
        "ss_network_alpha": alpha,
        "ss_network_args": json.dumps({"conv_dim": rank, "conv_alpha": alpha}),
        "ss_base_model_version": row.kohya_version,
        "ss_steps": str(adapter.step),
        f"{_OWN}family": adapter.family,
        f"{_OWN}base": base,
        f"{_OWN}base_digest": adapter.base_digest,
        f"{_OWN}rank": rank,
        f"{_OWN}alpha": repr(adapter.alpha),
        f"{_OWN}target_modules": json.dumps(adapter.target_modules),
        f"{_OWN}trigger": adapter.trigger,
        f"{_OWN}dataset_digest": adapter.dataset_digest,
        f"{_OWN}config_digest": adapter.config_digest,
        f"{_OWN}step": str(adapter.step),
    }


def read_header(path: Path) -> dict[str, dict[str, object]]:
    """The JSON header of a safetensors file: tensor names, and `__metadata__`.

    Raises `InputError` when there is no such file, `ArtifactError` when it is not whole.
    """
    if not path.is_file():
        raise InputError("no such adapter file", where=path, needed="a .safetensors file")
    other_kinds.refuse(path)
    return safetensors_header.read(path)


def lora_layers(path: Path) -> int:
    """How many layers the file changes."""
    return sum(name.endswith((".lora_A.weight", ".lora_down.weight")) for name in read_header(path))


def read_adapter(path: Path) -> Adapter:
    """The `Adapter` of a file that this program wrote.

    Raises `ArtifactError` for any other LoRA file, `InputError` for a family that has no row here.
    """
    meta = read_header(path).get("__metadata__", {})
    own = {k.removeprefix(_OWN): str(v) for k, v in meta.items() if k.startswith(_OWN)}
    try:
        return Adapter(
            path=path,
            family=row_of(own["family"], where=path).name,
            base=own["base"],
            base_digest=own["base_digest"],
            rank=int(own["rank"]),
            alpha=float(own["alpha"]),
            target_modules=_modules(own["target_modules"], path),
            trigger=own["trigger"],
            dataset_digest=own["dataset_digest"],
            config_digest=own["config_digest"],
            step=int(own["step"]),
        )
    except (KeyError, ValueError) as error:
        raise ArtifactError(
            "not an adapter of this program",
            where=path,
            got=f"no usable {error}",
            needed="metadata written by `portrait-lora train`",
        ) from error


def _modules(text: str, path: Path) -> tuple[str, ...]:
    modules = strict_json.parse(text, path, "list of target modules")
    if not isinstance(modules, list) or not all(isinstance(one, str) for one in cast(list[object], modules)):
        raise ValueError("list of target modules")
    return tuple(cast(list[str], modules))
