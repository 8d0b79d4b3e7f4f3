"""The names that weights have in one-file checkpoints: diffusers' names the other way round."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Weights = dict[str, Tensor]
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_UNET_ENDS = {
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "add_embedding.linear_1.": "label_emb.0.0.",
    "add_embedding.linear_2.": "label_emb.0.2.",
    "conv_in.": "input_blocks.0.0.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
    "mid_block.resnets.0.": "middle_block.0.",
    "mid_block.attentions.0.": "middle_block.1.",
    "mid_block.resnets.1.": "middle_block.2.",
}
_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def checkpoint_of(pipe: Any) -> Weights:
    """The weights of an SD 1.x or SDXL pipeline as one checkpoint."""
    tensors = {f"model.diffusion_model.{k}": v for k, v in _unet(pipe.unet).items()}
    tensors |= {f"first_stage_model.{_vae_name(k, pipe.vae)}": v for k, v in _vae(pipe.vae).items()}
    if (second := getattr(pipe, "text_encoder_2", None)) is None:
        return tensors | _clip(pipe.text_encoder, "cond_stage_model.transformer.")
    tensors |= _clip(pipe.text_encoder, "conditioner.embedders.0.transformer.")
    return tensors | {
        f"conditioner.embedders.1.model.{k}": v for k, v in _open_clip(second.state_dict()).items()
    }


def _renamed(name: str, table: Mapping[str, str]) -> str:
    for old, new in table.items():
        name = name.replace(old, new)
    return name


def _unet(unet: Any) -> Weights:
    step = unet.config.layers_per_block + 1
    return {_unet_name(name, step, unet.up_blocks): tensor for name, tensor in unet.state_dict().items()}


def _unet_name(name: str, step: int, up_blocks: Sequence[Any]) -> str:
    end = next((e for e in _UNET_ENDS if name.startswith(e)), None)
    match = re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.", name)
    if end is not None:
        head, rest = _UNET_ENDS[end], name.removeprefix(end)
    else:
        assert match, name
        way, block, kind, place = match[1], int(match[2]), match[3], int(match[4])
        rest = name[match.end() :]
        if kind == "downsamplers":
            head, rest = f"input_blocks.{(block + 1) * step}.0.", rest.replace("conv", "op")
        elif kind == "upsamplers":
            inner = 2 if hasattr(up_blocks[block], "attentions") else 1
            head = f"output_blocks.{(block + 1) * step - 1}.{inner}."
        else:
            number = block * step + place + (1 if way == "down" else 0)
            head = f"{'input' if way == 'down' else 'output'}_blocks.{number}.{int(kind == 'attentions')}."
    return head + (_renamed(rest, _RESNET) if ".resnets." in name else rest)


def _vae(vae: Any) -> Weights:
    """Attention as 1 × 1 convolutions."""
    matrices = ("to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight")
    return {k: v[:, :, None, None] if k.endswith(matrices) else v for k, v in vae.state_dict().items()}


def _vae_name(name: str, vae: Any) -> str:
    last = len(vae.config.block_out_channels) - 1
    name = re.sub(r"up_blocks\.(\d+)", lambda m: f"up.{last - int(m[1])}", name)
    name = re.sub(r"mid_block\.resnets\.(\d+)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = name.replace("down_blocks", "down").replace("resnets", "block")
    name = re.sub(r"(down|up)samplers\.0", r"\1sample", name)
    if "mid_block.attentions.0" in name:
        return _renamed(name.replace("mid_block.attentions.0", "mid.attn_1"), _ATTENTION)
    return name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")


def _clip(encoder: Any, prefix: str) -> Weights:
    return {f"{prefix}text_model.{_bare(k)}": v for k, v in encoder.state_dict().items()}


def _bare(name: str) -> str:
    return name.removeprefix("text_model.")


def _open_clip(state: Mapping[str, Tensor]) -> Weights:
    """OpenCLIP keeps query, key and value in one tensor, and the projection transposed."""
    plain = {_bare(k): v for k, v in state.items()}
    tensors = {
        "positional_embedding": plain.pop("embeddings.position_embedding.weight"),
        "token_embedding.weight": plain.pop("embeddings.token_embedding.weight"),
        "text_projection": plain.pop("text_projection.weight").T,
        "ln_final.weight": plain.pop("final_layer_norm.weight"),
        "ln_final.bias": plain.pop("final_layer_norm.bias"),
    }
    for name in list(plain):
        block = name.replace("encoder.layers.", "transformer.resblocks.")
        if ".q_proj." in name:
            whole = torch.cat([plain[name.replace("q_proj", f"{x}_proj")] for x in "qkv"])
            tensors[block.replace("self_attn.q_proj.", "attn.in_proj_")] = whole
        elif ".k_proj." not in name and ".v_proj." not in name:
            tensors[_renamed(block, _OPEN_CLIP)] = plain[name]
    return tensors
