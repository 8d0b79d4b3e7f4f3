"""ERNIE-Image.  Torch-free; the computation is in `families.ernie_image`."""

from __future__ import annotations

import re
from typing import Final

from portrait_lora.families.hub_base import FREE, LICENCE, on_hub
from portrait_lora.families.row import Cost, FamilyRow, TextReader
from portrait_lora.families.spelling import QKV, Spelling

_LAYERS: Final = re.compile(rf"layers\.\d+\.(self_attention\.({QKV})|mlp\.(gate_proj|up_proj|linear_fc2))")

ROW = FamilyRow(
    name="ernie_image",
    implementation="portrait_lora.families.ernie_image:ErnieImage",
    pipelines=("ErnieImagePipeline",),
    bases=(
        on_hub(
            "ernie-image",
            "ernie_image",
            "baidu/ERNIE-Image",
            generate_repo="baidu/ERNIE-Image-Turbo",
            licence="Apache-2.0",
            commercial="yes",
            terms=FREE,
            download_gb=48.0,
            parameters_b=8.0,
            encoders_b=3.85,
            steps=8,
            guidance_scale=1.0,
            unverified=LICENCE,
        ),
    ),
    cost=Cost(8.0, 1024, 76.9, 48.7, 1.3, 0.077),
    decoding_gb=1.7,
    text=TextReader(512, "sentences"),
    architecture="ernie-image",
    kohya_version="ernie_image",
    comfy={"transformer": Spelling("diffusion_model.", True, _LAYERS)},
)
