"""Export of an adapter file in the layouts that other programs load.

Two layouts: diffusers (`unet.<layer>.lora_A.weight`, the scale folded into `lora_B` because the loader takes
alpha = rank without metadata), and kohya (`<layer>.lora_down.weight` with `.alpha`, layer names from
`families.lora_readers`) for ComfyUI and A1111.
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
    """A diffusers state in the layout that ComfyUI (and A1111, for UNets) reads, layer by layer.

    The reader multiplies B by alpha/rank, so B is unfolded; the rank is that of the file's own A.  DoRA's
    magnitudes become `.dora_scale`, (out, 1, ...).  Raises `InputError` for a layer without a name there.
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
    """The file with its header in a fixed order: the library's order of metadata is random."""
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
    """Convert one of our adapter files for ComfyUI and A1111, and read it back as they do.

    It is readable by its owner only, unless `shared`.

    Raises `InputError` for a layer without a name there, `ArtifactError` when the result differs.
    """
    manifest.write_bytes_atomic(path, kohya_bytes(source), shared=shared)
    read_back(source, path)
    return path


def kohya_bytes(source: Adapter) -> bytes:
    """The file that `export_kohya` writes: the same bytes for the same adapter."""
    header = {k: str(v) for k, v in read_header(source.path).get("__metadata__", {}).items()}
    state = kohya_state(load_file(source.path), source.alpha, source.family)
    return _same_bytes(save(dict(sorted(state.items())), metadata=header))


def read_back(source: Adapter, path: Path) -> int:
    """The number of layers that a reader of the kohya layout applies; each must equal the source's.

    A reader looks up every layer of the model by its name in that layout, and applies up x down x
    alpha/rank.  Raises `ArtifactError` for layers that it would miss, find twice, or apply differently.
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
            raise ArtifactError("the exported file changes a layer differently", where=path, got=name)
        read |= {f"{name}.{end}" for end in ("lora_down.weight", "lora_up.weight", "alpha", "dora_scale")}
    unread = sorted(set(file) - read)
    if not layers or unread:
        got = f"{len(unread)} tensors that no reader uses, {unread[0]}" if unread else "no layer"
        raise ArtifactError("the exported file does not match its reader", where=path, got=got)
    return len(layers)


def _same_layers(source: Path, path: Path) -> None:
    """Check the written file: as many layers as the source, and at least one."""
    needed, got = lora_layers(source), lora_layers(path)
    if got == 0 or got != needed:
        raise ArtifactError("the exported file lacks layers", where=path, got=got, needed=needed)
