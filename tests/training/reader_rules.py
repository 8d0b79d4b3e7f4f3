"""Under which names other programs look for a layer: facts about their loaders, written down as rules.

ComfyUI's loader walks over the layers of the model and looks each up in the file under every name it has for
it.  diffusers' names of the layers are the keys here; `families.lora_readers` knows nothing of this table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

Names = Callable[[str], set[str]]


def _flat(prefix: str, layer: str) -> str:
    return prefix + layer.replace(".", "_")


def _unet(layer: str) -> set[str]:
    dotted = layer.replace(".to_", ".processor.to_").removesuffix(".0" if ".to_out." in layer else "\0")
    return {_flat("lora_unet_", layer), _flat("lycoris_", layer), dotted, f"unet.{dotted}"}


def _mmdit(layer: str) -> set[str]:
    return {
        f"transformer.{layer}", f"base_model.model.{layer}",
        _flat("lora_transformer_", layer), _flat("lycoris_", layer),
    }  # fmt: skip


def _flux(layer: str) -> set[str]:
    return {layer, f"transformer.{layer}", _flat("lora_transformer_", layer), _flat("lycoris_", layer)}


def _qwen(layer: str) -> set[str]:
    return {
        layer, f"transformer.{layer}", f"diffusion_model.{layer}",
        _flat("lora_unet_", layer), _flat("lycoris_", layer),
    }  # fmt: skip


def _z_image(layer: str) -> set[str]:
    """No underscores but LyCORIS': `lora_unet_` exists for the fused layers of the original only."""
    return {layer, f"transformer.{layer}", f"diffusion_model.{layer}", _flat("lycoris_", layer)}


def _native(layer: str) -> set[str]:
    """A model whose layers have the same names there."""
    return {f"diffusion_model.{layer}", _flat("lora_unet_", layer)}


def _qwen21(layer: str) -> set[str]:
    """The gate and the layer beside it are halves of one matrix there, under fewer names than whole ones."""
    halves = (".img_mlp.gate_layer", ".img_mlp.proj")
    whole = set() if layer.endswith(halves) else {f"diffusion_model.{layer}", _flat("lora_unet_", layer)}
    return {layer, f"transformer.{layer}", _flat("lycoris_", layer)} | whole


def _hidream(layer: str) -> set[str]:
    """The same names there, and SimpleTuner's two spellings beside."""
    return _native(layer) | {layer, f"transformer.{layer}", _flat("lycoris_", layer)}


COMFY: dict[str, Names] = {
    "sd15": _unet, "sdxl": _unet, "sd35": _mmdit, "flux1": _flux, "flux2": _flux,
    "qwen_image": _qwen, "qwen_image_edit": _qwen, "z_image": _z_image, "krea2": _z_image, "chroma": _flux,
    "ernie_image": _native, "qwen_image21": _qwen21, "hidream": _hidream,
}  # fmt: skip
_CLIP = re.compile(r"text_model\.encoder\.layers\.\d+\.(mlp\.fc[12]|self_attn\.[qkvo](ut)?_proj)")


def comfy_names(family: str, layer: str) -> set[str]:
    """Every name under which ComfyUI would find `unet.…`, `transformer.…` or `text_encoder….…`."""
    part, _, name = layer.partition(".")
    if not part.startswith("text_encoder"):
        return COMFY[family](name)
    if not _CLIP.fullmatch(name):
        return set()
    if part == "text_encoder_2":
        return {_flat("lora_te2_", name), layer}
    return {_flat("lora_te_", name), _flat("lora_te1_", name), layer}


def a1111_name(family: str, key: str) -> str | None:
    """The layer of the original model that A1111 turns a key into; None when it knows no rule for it."""
    attentions = r"lora_unet_(down|up)_blocks_(\d+)_attentions_(\d+)_(proj_(?:in|out)|transformer_blocks_.+)"
    resnets = r"lora_unet_(down|up)_blocks_(\d+)_resnets_(\d+)_(conv1|conv2|conv_shortcut|time_emb_proj)"
    middle = r"lora_unet_mid_block_(attentions|resnets)_(\d+)_(.+)"
    clip = r"lora_te1?_text_model_encoder_layers_(\d+)_(self_attn_[qkvo](?:ut)?_proj|mlp_fc[12])"
    if hit := re.fullmatch(attentions, key) or re.fullmatch(resnets, key):
        side, block, index, rest = hit.groups()
        number = 1 + int(block) * 3 + int(index) if side == "down" else int(block) * 3 + int(index)
        kind = 1 if "attentions" in key.split("_blocks_")[1] else 0
        return f"{'input' if side == 'down' else 'output'}_blocks_{number}_{kind}_{rest}"
    if hit := re.fullmatch(middle, key):
        return f"middle_block_{1 if hit[1] == 'attentions' else 2 * int(hit[2])}_{hit[3]}"
    if hit := re.fullmatch(clip, key):
        return f"{'0_' if family == 'sdxl' else ''}transformer_text_model_{hit[1]}_{hit[2]}"
    if family == "sdxl" and (hit := re.fullmatch(clip.replace("te1?", "te2"), key)):
        return f"1_model_transformer_resblocks_{hit[1]}_{hit[2]}"
    return None


def applied(file: dict[str, object], names: Iterable[set[str]]) -> tuple[int, set[str]]:
    """How many layers find up, down and alpha in the file, and the tensors that nobody looks for."""
    complete, left = 0, set(file)
    for accepted in names:
        for name in accepted:
            keys = {f"{name}.{end}" for end in ("lora_down.weight", "lora_up.weight", "alpha")}
            complete += keys <= set(file)
            left -= keys | {f"{name}.dora_scale"}
    return complete, left
