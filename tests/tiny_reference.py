"""A tiny random IP-Adapter and its image encoder, made on the spot in the layout of the published ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from diffusers.models.attention_processor import SD3IPAdapterJointAttnProcessor2_0
from diffusers.models.embeddings import IPAdapterTimeImageProjection
from safetensors.torch import save_file

WIDTH = 16


def write_encoder(folder: Path, width: int = WIDTH) -> Path:
    """A CLIP image encoder that looks at 32 px."""
    torch.manual_seed(5)
    config = transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32,
        patch_size=8, projection_dim=width,
    )  # fmt: skip
    model = transformers.CLIPVisionModelWithProjection(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    model.save_pretrained(folder, safe_serialization=True)
    return folder


def write_ip_adapter(unet: Any, folder: Path, *, tokens_wide: int = 0, width: int = WIDTH) -> Path:
    """`ip-adapter.safetensors` for a UNet and its encoder; `tokens_wide` other than the UNet's misfits."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(6)
    wide = tokens_wide or int(unet.config.cross_attention_dim)
    tensors = {
        "image_proj.proj.weight": torch.randn(4 * wide, width),
        "image_proj.proj.bias": torch.randn(4 * wide),
        "image_proj.norm.weight": torch.ones(wide),
        "image_proj.norm.bias": torch.zeros(wide),
    }
    for i, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            out = unet.get_submodule(name.removesuffix(".processor")).inner_dim
            for part in ("to_k_ip", "to_v_ip"):
                tensors[f"ip_adapter.{i}.{part}.weight"] = 0.5 * torch.randn(
                    out, int(unet.config.cross_attention_dim)
                )
    save_file(tensors, folder / "ip-adapter.safetensors")
    write_encoder(folder / "image_encoder", width)
    return folder / "ip-adapter.safetensors"


def write_for_flux(transformer: Any, folder: Path) -> Path:
    """The same for a FLUX.1 transformer, under the names that its published adapters use."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(7)
    wide, out = int(transformer.config.joint_attention_dim), transformer.inner_dim
    tensors = {
        "ip_adapter_proj_model.proj.weight": torch.randn(4 * wide, WIDTH),
        "ip_adapter_proj_model.proj.bias": torch.randn(4 * wide),
        "ip_adapter_proj_model.norm.weight": torch.ones(wide),
        "ip_adapter_proj_model.norm.bias": torch.zeros(wide),
    }
    for i in range(int(transformer.config.num_layers)):
        for part in "kv":
            name = f"double_blocks.{i}.processor.ip_adapter_double_stream_{part}_proj"
            tensors |= {f"{name}.weight": torch.randn(out, wide), f"{name}.bias": torch.randn(out)}
    save_file(tensors, folder / "ip-adapter.safetensors")
    write_encoder(folder / "image_encoder")
    return folder / "ip-adapter.safetensors"


def write_for_sd35(transformer: Any, folder: Path) -> Path:
    """The same for a Stable Diffusion 3.5 transformer, with a SigLIP encoder."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(8)
    inner, head = transformer.inner_dim, int(transformer.config.attention_head_dim)
    projection = IPAdapterTimeImageProjection(
        embed_dim=WIDTH, output_dim=inner, hidden_dim=64, heads=1, num_queries=4
    )
    parts = {"image_proj": projection.state_dict()}
    for i in range(len(transformer.attn_processors)):
        layer = SD3IPAdapterJointAttnProcessor2_0(inner, inner, head, timesteps_emb_dim=64)
        parts[f"ip_adapter.{i}"] = layer.state_dict()
    tensors = {f"{a}.{b}": torch.randn(v.shape) for a, some in parts.items() for b, v in some.items()}
    save_file(tensors, folder / "ip-adapter.safetensors")
    config = transformers.SiglipVisionConfig(
        hidden_size=WIDTH, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32,
        patch_size=8,
    )  # fmt: skip
    transformers.SiglipVisionModel(config).save_pretrained(folder / "image_encoder", safe_serialization=True)
    return folder / "ip-adapter.safetensors"
