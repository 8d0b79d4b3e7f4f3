"""Qwen-Image-2.1.  Torch-free; the computation is in `families.qwen_image21`."""

from __future__ import annotations

import re
from typing import Final

from portrait_lora.families.hub_base import LICENCE, on_hub
from portrait_lora.families.row import Cost, FamilyRow, TextReader
from portrait_lora.families.spelling import QKV, Spelling

_LAYERS: Final = re.compile(rf"transformer_blocks\.\d+\.(attn\.({QKV})|img_mlp\.(proj|gate_layer|out))")

ROW = FamilyRow(
    name="qwen_image21",
    implementation="portrait_lora.families.qwen_image21:QwenImage21",
    pipelines=("QwenImage21Pipeline",),
    bases=(
        on_hub(
            "qwen-image-2.1",
            "qwen_image21",
            "Qwen/Qwen-Image-2.1",
            generate_repo="Qwen/Qwen-Image-2.1-Turbo",
            licence="Qwen Research",
            commercial="no",
            terms="For research and evaluation only; to sell with it, a licence has to be asked for.",
            download_gb=65.6,
            parameters_b=7.1,
            encoders_b=8.77,
            steps=8,
            guidance_scale=1.0,
            unverified=LICENCE,
        ),
    ),
    cost=Cost(7.1, 1024, 68.2, 36.8, 1.2, 0.08),
    decoding_gb=7.0,
    text=TextReader(8192, "sentences"),  # nothing is cut; so many positions has the transformer
    architecture="Qwen-Image-2.1",
    kohya_version="qwen_image_21",
    # There the gate and the layer beside it are one matrix, whose halves have names with this beginning only.
    comfy={"transformer": Spelling("transformer.", True, _LAYERS)},
    unguided={"true_cfg_scale": 1.0},
)
