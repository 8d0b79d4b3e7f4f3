"""Chroma.  Torch-free; the computation is in `families.chroma`."""

from __future__ import annotations

import re
from typing import Final

from portrait_lora.families.hub_base import FREE, LICENCE, on_hub
from portrait_lora.families.row import Cost, FamilyRow, TextReader
from portrait_lora.families.spelling import JOINT, Spelling

_LAYERS: Final = re.compile(
    rf"transformer_blocks\.\d+\.({JOINT}|ff(_context)?\.net\.(0\.proj|2))"
    r"|single_transformer_blocks\.\d+\.(attn\.to_[qkv]|proj_mlp|proj_out)"
)

ROW = FamilyRow(
    name="chroma",
    implementation="portrait_lora.families.chroma:Chroma",
    pipelines=("ChromaPipeline",),
    bases=(
        on_hub(
            "chroma1-hd",
            "chroma",
            "lodestones/Chroma1-HD",
            licence="Apache-2.0",
            commercial="yes",
            terms=FREE,
            download_gb=27.5,
            parameters_b=8.9,
            encoders_b=4.76,
            steps=40,
            guidance_scale=3.0,
            unverified=LICENCE,
        ),
    ),
    cost=Cost(8.9, 1024, 67.2, 29.6, 1.5, 0.084),
    decoding_gb=1.7,
    text=TextReader(512, "sentences"),
    architecture="chroma",
    kohya_version="chroma",
    comfy={"transformer": Spelling("lora_transformer_", False, _LAYERS)},
)
