"""How another program names the layers of a LoRA, and the names that several families share.  Torch-free."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a reader names the layers of one part of a pipeline, and which of them it has a name for."""

    prefix: str
    dotted: bool
    layers: re.Pattern[str]

    def key(self, layer: str) -> str:
        """The reader's name of a diffusers layer, without `.lora_down.weight` and the like."""
        return self.prefix + (layer if self.dotted else layer.replace(".", "_"))


QKV: Final = r"to_q|to_k|to_v|to_out\.0"
JOINT: Final = rf"attn\.({QKV}|add_[qkv]_proj|to_add_out)"
_BLOCK: Final = r"(down_blocks\.\d+|up_blocks\.\d+|mid_block)"
UNET: Final = re.compile(
    rf"{_BLOCK}\.attentions\.\d+\.(proj_in|proj_out"
    rf"|transformer_blocks\.\d+\.(attn[12]\.({QKV})|ff\.net\.(0\.proj|2)))"
    rf"|{_BLOCK}\.resnets\.\d+\.(conv1|conv2|conv_shortcut|time_emb_proj)"
    r"|down_blocks\.\d+\.downsamplers\.0\.conv|up_blocks\.\d+\.upsamplers\.0\.conv"
    r"|conv_in|conv_out|time_embedding\.linear_[12]"
)
CLIP: Final = re.compile(r"text_model\.encoder\.layers\.\d+\.(mlp\.fc[12]|self_attn\.(q|k|v|out)_proj)")
