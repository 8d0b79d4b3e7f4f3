"""An export for another program is read by it layer by layer, and changes there what it changed here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_families import FAMILIES, make_tiny
from torch import Tensor

from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.families import open_family
from portrait_lora.families.adapter_file import metadata, read_adapter
from portrait_lora.families.catalog import resolve_base
from portrait_lora.families.lora_readers import reads, spelled
from portrait_lora.families.rows import row_of
from portrait_lora.records import Adapter
from portrait_lora.training import adapter as lora
from portrait_lora.training.export import read_back
from tests.training.reader_rules import a1111_name, applied, comfy_names


def exported(name: str, folder: Path, *, dora: bool = False) -> tuple[Adapter, dict[str, Tensor]]:
    """An adapter of every layer that a family may train, alpha 2 at rank 4, and its layers."""
    family = open_family(resolve_base(make_tiny(name, folder / "base")))  # type: ignore[arg-type]
    family.load("denoiser_and_text" if family.lora_layers.text else "denoiser")
    parts: dict[str, Any] = {family.denoiser_name: (family.denoiser, family.lora_layers.everything)}
    if family.lora_layers.text:
        parts |= {n: (m, family.lora_layers.text) for n, m in family.text_encoders().items()}
    state: dict[str, Tensor] = {}
    for prefix, (module, targets) in parts.items():
        added = lora.add_adapter(module, rank=4, alpha=2.0, target_modules=targets, seed=0, dora=dora)
        for number, parameter in enumerate(added.values()):
            parameter.data += 0.1 + torch.randn(
                parameter.shape, generator=torch.Generator().manual_seed(number)
            )
        inner = ".text_model" if prefix.startswith("text") and not hasattr(module, "text_model") else ""
        state |= lora.diffusers_state(module, prefix + inner)
    path = folder / "adapter.safetensors"
    about = Adapter(path, family.base.family, "tiny", "", 4, 2.0, (), "ohwx", "", "", 1)
    header = metadata(about, resolution_px=64, prediction_type="epsilon", licence="x")
    save_file(state, path, metadata=header)
    return read_adapter(path), state


@pytest.mark.parametrize("name", ["sd15", *(name for name in FAMILIES if reads("comfy", name))])
def test_comfyui_finds_every_layer_of_every_family(name: str, tmp_path: Path) -> None:
    source, state = exported(name, tmp_path)
    layers = [k.removesuffix(".lora_A.weight") for k in state if k.endswith(".lora_A.weight")]
    file = load_file(lora.export_kohya(source, tmp_path / "comfy.safetensors"))
    complete, left = applied(file, (comfy_names(name, layer) for layer in layers))
    assert (complete, left) == (len(layers), set()) and complete > 10
    for layer in layers:
        (key,) = (n for n in comfy_names(name, layer) if f"{n}.alpha" in file)
        down, up = file[f"{key}.lora_down.weight"], file[f"{key}.lora_up.weight"]
        there = up.flatten(1) @ down.flatten(1) * (file[f"{key}.alpha"] / down.shape[0])
        here = state[f"{layer}.lora_B.weight"].flatten(1) @ state[f"{layer}.lora_A.weight"].flatten(1)
        torch.testing.assert_close(there, here)
    if reads("kohya", name):  # type: ignore[arg-type]
        known = [a1111_name(name, key.removesuffix(".alpha")) for key in file if key.endswith(".alpha")]
        assert None not in known and len(set(known)) == len(layers)
        assert row_of(source.family).a1111_version == {"sd15": "SD1", "sdxl": "SDXL"}[name]


def test_a_damaged_export_is_noticed_when_it_is_read_back(tmp_path: Path) -> None:
    source, _ = exported("z_image", tmp_path)
    path = lora.export_kohya(source, tmp_path / "comfy.safetensors")
    file = load_file(path)
    assert read_back(source, path) == len(file) // 3
    key = "diffusion_model.layers.0.attention.to_q"
    for change, message in (
        ({f"{key}.alpha": torch.tensor(4.0)}, "changes a layer differently"),
        ({f"{key}.lora_down.weight": file[f"{key}.lora_down.weight"] * 1.01}, "changes a layer differently"),
        ({"lora_transformer_x.alpha": torch.tensor(4.0)}, "no reader uses"),
    ):
        save_file(file | change, path)
        with pytest.raises(ArtifactError, match=message):
            read_back(source, path)
    save_file({k: v for k, v in file.items() if not k.startswith(f"{key}.lora_up")}, path)
    with pytest.raises(ArtifactError, match="lacks a layer"):
        read_back(source, path)


def test_dora_is_read_back_too(tmp_path: Path) -> None:
    source, _ = exported("sdxl", tmp_path, dora=True)
    path = lora.export_kohya(source, tmp_path / "comfy.safetensors")
    file = load_file(path)
    name = next(k for k in file if k.endswith(".dora_scale"))
    save_file(file | {name: file[name] * 2}, path)
    with pytest.raises(ArtifactError, match="changes a layer differently"):
        read_back(source, path)


def test_a_layer_without_a_name_there_is_refused() -> None:
    assert spelled("diffusers", "z_image", "transformer.x") == "transformer.x"
    for tool, family, layer in (
        ("comfy", "z_image", "transformer.layers.0.adaLN_modulation.1"),
        ("comfy", "flux1", "text_encoder.text_model.encoder.layers.0.mlp.fc1"),
        ("comfy", "sana", "transformer.transformer_blocks.0.attn1.to_q"),
        ("kohya", "flux2", "transformer.transformer_blocks.0.attn.to_q"),
    ):
        with pytest.raises(InputError, match="has no name for this layer"):
            spelled(tool, family, layer)  # type: ignore[arg-type]
