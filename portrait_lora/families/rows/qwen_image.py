"""Qwen-Image.  Torch-free; the computation is in `families.qwen_image`."""

from __future__ import annotations

import re
from typing import Final

from portrait_lora.families.hub_base import FREE, LICENCE, on_hub
from portrait_lora.families.row import Cost, FamilyRow, TextReader
from portrait_lora.families.spelling import JOINT, Spelling

_LAYERS: Final = re.compile(rf"transformer_blocks\.\d+\.({JOINT}|(img|txt)_mlp\.net\.(0\.proj|2))")

ROW = FamilyRow(
    name="qwen_image",
    implementation="portrait_lora.families.qwen_image:QwenImage",
    pipelines=("QwenImagePipeline",),
    bases=(
        on_hub(
            "qwen-image",
            "qwen_image",
            "Qwen/Qwen-Image",
            licence="Apache-2.0",
            commercial="yes",
            terms=f"{FREE} Qwen-Image-2.1 is another model under a research licence: not this row.",
            download_gb=57.7,
            parameters_b=20.4,
            encoders_b=8.29,
            steps=30,
            guidance_scale=4.0,
            unverified=LICENCE,
        ),
    ),
    cost=Cost(20.4, 1024, 70.6, 31.0, 2.2, 0.035),
    decoding_gb=3.7,
    text=TextReader(1024, "sentences"),
    architecture="Qwen-Image",
    kohya_version="qwen_image",
    comfy={"transformer": Spelling("diffusion_model.", True, _LAYERS)},
    unguided={"true_cfg_scale": 1.0},
)
