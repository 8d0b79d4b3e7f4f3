"""The LoRA itself: put into the denoiser, taken out, and written in the layouts that others load.

Two layouts: diffusers (`unet.<layer>.lora_A.weight`, alpha/rank folded into `lora_B` because the loader
takes alpha = rank without metadata), and kohya (`lora_unet_<layer>.lora_down.weight` with `.alpha`) for
ComfyUI and A1111.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal, cast

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save
from torch import Tensor, nn

from portrait_lora import manifest
from portrait_lora.errors import InputError
from portrait_lora.families.adapter_file import metadata, read_adapter, read_header
from portrait_lora.families.catalog import BaseModel
from portrait_lora.records import Adapter

Targets = Literal["attention", "attention_and_conv"]

ATTENTION: Final = ("to_q", "to_k", "to_v", "to_out.0")
ATTENTION_AND_CONV: Final = (
    *ATTENTION,
    "ff.net.0.proj",
    "ff.net.2",
    "proj_in",
    "proj_out",
    "conv1",
    "conv2",
    "conv_shortcut",
    "time_emb_proj",
)
TARGETS: Final[Mapping[Targets, tuple[str, ...]]] = {
    "attention": ATTENTION,
    "attention_and_conv": ATTENTION_AND_CONV,
}
_NAME: Final = "likeness"


def add_adapter(
    denoiser: nn.Module, *, rank: int, alpha: float, target_modules: tuple[str, ...], seed: int
) -> dict[str, nn.Parameter]:
    """Put a LoRA into `denoiser` and return its parameters by name: the only ones with gradients.

    A starts from a Gaussian drawn from `seed`, B from zero, so the model is unchanged at first.
    Raises `InputError` when no layer bears one of the names.
    """
    denoiser.requires_grad_(False)
    names = list(target_modules)
    if not any(n == t or n.endswith(f".{t}") for n, _ in denoiser.named_modules() for t in names):
        raise InputError(
            "no layer of the denoiser matches the target modules",
            where="target_modules",
            got=", ".join(names),
        )
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=names, init_lora_weights="gaussian")  # pyright: ignore[reportArgumentType]
    inject_adapter_in_model(config, denoiser, adapter_name=_NAME)
    parameters = {n: p for n, p in denoiser.named_parameters() if p.requires_grad}
    for name, parameter in parameters.items():
        if ".lora_A." in name:
            generator = torch.Generator().manual_seed(int(manifest.digest([seed, "lora_A", name])[:15], 16))
            start = torch.randn(parameter.shape, generator=generator) / rank
            parameter.data.copy_(start)
    return parameters


def _layers(denoiser: nn.Module) -> Iterator[tuple[str, LoraLayer]]:
    for name, module in denoiser.named_modules():
        if isinstance(module, LoraLayer) and _NAME in module.lora_A:
            yield name, module


def diffusers_state(denoiser: nn.Module, prefix: str) -> dict[str, Tensor]:
    """Every layer's A, and B with alpha/rank folded in: what the loader applies at strength 1."""
    state: dict[str, Tensor] = {}
    for name, layer in _layers(denoiser):
        scale = float(layer.scaling[_NAME])
        state[f"{prefix}.{name}.lora_A.weight"] = _plain(layer.lora_A[_NAME].weight)
        state[f"{prefix}.{name}.lora_B.weight"] = _plain(layer.lora_B[_NAME].weight) * scale
    return state


def _plain(weight: object) -> Tensor:
    return cast(Tensor, weight).detach().to("cpu", torch.float32).contiguous().clone()


def kohya_state(state: Mapping[str, Tensor], rank: int, alpha: float) -> dict[str, Tensor]:
    """The kohya layout of a diffusers state: its loader multiplies B by alpha/rank, so B is unfolded."""
    out: dict[str, Tensor] = {}
    for key, value in state.items():
        prefix, _, rest = key.partition(".")
        layer, _, part = rest.removesuffix(".weight").rpartition(".")
        name = f"lora_{prefix}_{layer.replace('.', '_')}"
        if part == "lora_A":
            out[f"{name}.lora_down.weight"] = value
            out[f"{name}.alpha"] = torch.tensor(float(alpha))
        else:
            out[f"{name}.lora_up.weight"] = value * (rank / alpha)
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
    return read_adapter(path)


def export_kohya(source: Adapter, path: Path) -> Path:
    """Write the ComfyUI/A1111 layout of an adapter file of ours."""
    header = {k: str(v) for k, v in read_header(source.path).get("__metadata__", {}).items()}
    state = kohya_state(load_file(source.path), source.rank, source.alpha)
    manifest.write_bytes_atomic(path, _same_bytes(save(dict(sorted(state.items())), metadata=header)))
    return path
