"""An adapter as a file, in the layouts that others load.

Two layouts: diffusers (`unet.<layer>.lora_A.weight`, the scale folded into `lora_B` because the loader takes
alpha = rank without metadata), and kohya (`<layer>.lora_down.weight` with `.alpha`, the layers named as
`families.lora_readers` says) for ComfyUI and A1111.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from portrait_lora import manifest
from portrait_lora.errors import ArtifactError
from portrait_lora.families.adapter_file import lora_layers, metadata, read_adapter, read_header
from portrait_lora.families.catalog import BaseModel
from portrait_lora.families.lora_readers import spelled
from portrait_lora.records import Adapter, FamilyName


def kohya_state(state: Mapping[str, Tensor], alpha: float, family: FamilyName) -> dict[str, Tensor]:
    """A diffusers state as ComfyUI (and A1111, for UNets) reads it, layer by layer.

    The reader multiplies B by alpha/rank, so B is unfolded; the rank is that of the file's own A.  DoRA's
    magnitudes become `.dora_scale`, (out, 1, ...).  Raises `InputError` for a layer that it has no name for.
    """
    out: dict[str, Tensor] = {}
    for key, value in state.items():
        layer, _, part = key.removesuffix(".weight").rpartition(".")
        name = spelled("comfy", family, layer)
        down = state[f"{layer}.lora_A.weight"]
        if part == "lora_A":
            out[f"{name}.lora_down.weight"] = value
            out[f"{name}.alpha"] = torch.tensor(float(alpha))
        elif part == "lora_B":
            out[f"{name}.lora_up.weight"] = value * (down.shape[0] / alpha)
        else:
            out[f"{name}.dora_scale"] = value.reshape(-1, *[1] * (down.dim() - 1))
    return out


def adapter_bytes(
    state: Mapping[str, Tensor], adapter: Adapter, base: BaseModel, prediction_type: str
) -> bytes:
    """The bytes of a LoRA file with the header of `families.adapter_file`."""
    header = metadata(
        adapter, resolution_px=base.resolution_px, prediction_type=prediction_type, licence=base.licence
    )
    return _same_bytes(save(dict(sorted(state.items())), metadata=header))


def _same_bytes(data: bytes) -> bytes:
    """The file with its header in a fixed order: the library's own order of metadata is random."""
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # the tensors stay aligned
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def export_diffusers(source: Adapter, path: Path) -> Adapter:
    """Copy a checkpoint's adapter to `path`; loads with `StableDiffusionPipeline.load_lora_weights`."""
    manifest.write_bytes_atomic(path, source.path.read_bytes())
    _same_layers(source.path, path)
    return read_adapter(path)


def export_kohya(source: Adapter, path: Path, *, shared: bool = False) -> Path:
    """Write an adapter file of ours for ComfyUI and A1111, and read it back as they do.

    Only its owner may read it, unless `shared`.

    Raises `InputError` for a layer that they have no name for, `ArtifactError` when what is read differs.
    """
    header = {k: str(v) for k, v in read_header(source.path).get("__metadata__", {}).items()}
    state = kohya_state(load_file(source.path), source.alpha, source.family)
    data = _same_bytes(save(dict(sorted(state.items())), metadata=header))
    manifest.write_bytes_atomic(path, data, shared=shared)
    read_back(source, path)
    return path


def read_back(source: Adapter, path: Path) -> int:
    """How many layers a reader of the kohya layout applies; each must change what the source's changes.

    A reader looks every layer of the model up under its own name for it, and applies up x down x
    alpha/rank.  Raises `ArtifactError` for layers that it would not find, find twice, or apply otherwise.
    """
    wanted, file = load_file(source.path), load_file(path)
    layers = [k.removesuffix(".lora_A.weight") for k in wanted if k.endswith(".lora_A.weight")]
    read: set[str] = set()
    for layer in layers:
        name = spelled("comfy", source.family, layer)
        down, up, alpha = (
            file.get(f"{name}.{end}") for end in ("lora_down.weight", "lora_up.weight", "alpha")
        )
        if down is None or up is None or alpha is None:
            raise ArtifactError("the exported file lacks a layer", where=path, got="no " + name, needed=layer)
        scaled = up.float() * (alpha.item() / down.shape[0])
        same = torch.equal(down, wanted[f"{layer}.lora_A.weight"]) and torch.allclose(
            scaled, wanted[f"{layer}.lora_B.weight"].float(), rtol=1e-5, atol=0.0
        )
        magnitude = wanted.get(f"{layer}.lora_magnitude_vector")
        if magnitude is not None:
            same = same and torch.equal(file[f"{name}.dora_scale"].flatten(), magnitude.flatten())
        if not same:
            raise ArtifactError("the exported file changes a layer otherwise", where=path, got=name)
        read |= {f"{name}.{end}" for end in ("lora_down.weight", "lora_up.weight", "alpha", "dora_scale")}
    unread = sorted(set(file) - read)
    if not layers or unread:
        got = f"{len(unread)} tensors that nobody looks for, {unread[0]}" if unread else "no layer"
        raise ArtifactError("the exported file does not fit its reader", where=path, got=got)
    return len(layers)


def _same_layers(source: Path, path: Path) -> None:
    """Read what was written: as many layers as the source, and more than none."""
    needed, got = lora_layers(source), lora_layers(path)
    if got == 0 or got != needed:
        raise ArtifactError("the exported file lacks layers", where=path, got=got, needed=needed)
