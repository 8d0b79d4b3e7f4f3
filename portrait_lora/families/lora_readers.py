"""How other programs name the layers of a LoRA: what is written for them, and what they would not find.

Each reader takes a key apart on its own.  ComfyUI: `lora_unet_` and `lora_te…` with underscores for UNets and
CLIP, `lora_transformer_` for Stable Diffusion 3 and FLUX, `diffusion_model.` with dots for Z-Image and
Qwen-Image; A1111 and Forge: the underscores of UNets only.  diffusers: `unet.`, `transformer.`,
`text_encoder.` with dots.  Torch-free.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from portrait_lora.errors import InputError
from portrait_lora.records import FamilyName

Tool = Literal["comfy", "kohya", "diffusers"]


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a reader names the layers of one part of a pipeline, and which of them it has a name for."""

    prefix: str
    dotted: bool
    layers: re.Pattern[str]

    def key(self, layer: str) -> str:
        """The reader's name of a diffusers layer, without `.lora_down.weight` and the like."""
        return self.prefix + (layer if self.dotted else layer.replace(".", "_"))


_QKV: Final = r"to_q|to_k|to_v|to_out\.0"
_JOINT: Final = rf"attn\.({_QKV}|add_[qkv]_proj|to_add_out)"
_BLOCK: Final = r"(down_blocks\.\d+|up_blocks\.\d+|mid_block)"
_UNET: Final = re.compile(
    rf"{_BLOCK}\.attentions\.\d+\.(proj_in|proj_out"
    rf"|transformer_blocks\.\d+\.(attn[12]\.({_QKV})|ff\.net\.(0\.proj|2)))"
    rf"|{_BLOCK}\.resnets\.\d+\.(conv1|conv2|conv_shortcut|time_emb_proj)"
    r"|down_blocks\.\d+\.downsamplers\.0\.conv|up_blocks\.\d+\.upsamplers\.0\.conv"
    r"|conv_in|conv_out|time_embedding\.linear_[12]"
)
_CLIP: Final = re.compile(r"text_model\.encoder\.layers\.\d+\.(mlp\.fc[12]|self_attn\.(q|k|v|out)_proj)")
_SD3: Final = re.compile(
    rf"transformer_blocks\.\d+\.({_JOINT}|attn2\.({_QKV})|ff(_context)?\.net\.(0\.proj|2))"
)
_FLUX1: Final = re.compile(
    rf"transformer_blocks\.\d+\.({_JOINT}|ff(_context)?\.net\.(0\.proj|2))"
    r"|single_transformer_blocks\.\d+\.(attn\.to_[qkv]|proj_mlp|proj_out)"
)
_FLUX2: Final = re.compile(
    rf"transformer_blocks\.\d+\.({_JOINT}|ff(_context)?\.linear_(in|out))"
    r"|single_transformer_blocks\.\d+\.attn\.(to_qkv_mlp_proj|to_out)"
)
_QWEN: Final = re.compile(rf"transformer_blocks\.\d+\.({_JOINT}|(img|txt)_mlp\.net\.(0\.proj|2))")
_Z_IMAGE: Final = re.compile(
    rf"(layers|context_refiner|noise_refiner)\.\d+\.(attention\.({_QKV})|feed_forward\.w[123])"
)

Spellings = Mapping[str, Spelling]
_SD15: Final[Spellings] = {
    "unet": Spelling("lora_unet_", False, _UNET),
    "text_encoder": Spelling("lora_te_", False, _CLIP),
}
_SDXL: Final[Spellings] = {
    "unet": Spelling("lora_unet_", False, _UNET),
    "text_encoder": Spelling("lora_te1_", False, _CLIP),
    "text_encoder_2": Spelling("lora_te2_", False, _CLIP),
}
_READERS: Final[Mapping[Tool, Mapping[FamilyName, Spellings]]] = {
    "comfy": {
        "sd15": _SD15,
        "sdxl": _SDXL,
        "sd35": {"transformer": Spelling("lora_transformer_", False, _SD3)},
        "flux1": {"transformer": Spelling("lora_transformer_", False, _FLUX1)},
        "flux2": {"transformer": Spelling("lora_transformer_", False, _FLUX2)},
        "qwen_image": {"transformer": Spelling("diffusion_model.", True, _QWEN)},
        "z_image": {"transformer": Spelling("diffusion_model.", True, _Z_IMAGE)},
    },
    "kohya": {"sd15": _SD15, "sdxl": _SDXL},
    "diffusers": {},
}
A1111_VERSIONS: Final[Mapping[FamilyName, str]] = {"sd15": "SD1", "sdxl": "SDXL"}
"""The words of A1111's `sd version`, by which it hides files of the other kind; its third is SD2."""


def reads(tool: Tool, family: FamilyName) -> bool:
    """Whether the program reads adapters of this family at all."""
    return tool == "diffusers" or family in _READERS[tool]


def spelled(tool: Tool, family: FamilyName, layer: str) -> str:
    """A layer of a diffusers file (`unet.mid_block…`), as `tool` names it.

    Raises `InputError` when the program cannot read the family, or has no name for this layer.
    """
    part, _, name = layer.partition(".")
    if tool == "diffusers":
        return layer
    spelling = _READERS[tool].get(family, {}).get(part)
    if spelling is None or not spelling.layers.fullmatch(name):
        raise InputError(
            f"{tool} has no name for this layer",
            where=family,
            got=layer,
            needed="layers that it reads" if spelling else f"one of {', '.join(_READERS[tool])}",
            remedy="Use --for diffusers." if spelling or part.startswith("text") else "",
        )
    return spelling.key(name)
