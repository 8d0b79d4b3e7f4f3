"""An adapter as a file, in the layouts that others load.

Two layouts: diffusers (`unet.<layer>.lora_A.weight`, the scale folded into `lora_B` because the loader takes
alpha = rank without metadata), and kohya (`lora_unet_<layer>.lora_down.weight` with `.alpha`) for ComfyUI and
A1111.
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
from portrait_lora.records import Adapter


def kohya_state(state: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """The kohya layout of a diffusers state: its loader multiplies B by alpha/rank, so B is unfolded.

    The text encoders are `te`, or `te1` and `te2` where there are two.  The rank is that of the file's own A.
    DoRA's magnitudes become `.dora_scale`, (out, 1, ...).
    """
    two = any(key.startswith("text_encoder_2.") for key in state)
    short = {"text_encoder": "te1" if two else "te", "text_encoder_2": "te2"}
    out: dict[str, Tensor] = {}
    for key, value in state.items():
        prefix, _, rest = key.partition(".")
        layer, _, part = rest.removesuffix(".weight").rpartition(".")
        name = f"lora_{short.get(prefix, prefix)}_{layer.replace('.', '_')}"
        down = state[f"{prefix}.{layer}.lora_A.weight"]
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


def export_kohya(source: Adapter, path: Path) -> Path:
    """Write the ComfyUI/A1111 layout of an adapter file of ours."""
    header = {k: str(v) for k, v in read_header(source.path).get("__metadata__", {}).items()}
    state = kohya_state(load_file(source.path), source.alpha)
    manifest.write_bytes_atomic(path, _same_bytes(save(dict(sorted(state.items())), metadata=header)))
    _same_layers(source.path, path)
    return path


def _same_layers(source: Path, path: Path) -> None:
    """Read what was written: as many layers as the source, and more than none."""
    needed, got = lora_layers(source), lora_layers(path)
    if got == 0 or got != needed:
        raise ArtifactError("the exported file lacks layers", where=path, got=got, needed=needed)
