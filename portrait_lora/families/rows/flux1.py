"""FLUX.1.  Torch-free; the computation is in `families.flux1`."""

from __future__ import annotations

import re
from typing import Final

from portrait_lora.families.hub_base import FLUX_NC, FREE, on_hub
from portrait_lora.families.row import Cost, FamilyRow, TextReader
from portrait_lora.families.spelling import JOINT, Spelling

_LAYERS: Final = re.compile(
    rf"transformer_blocks\.\d+\.({JOINT}|ff(_context)?\.net\.(0\.proj|2))"
    r"|single_transformer_blocks\.\d+\.(attn\.to_[qkv]|proj_mlp|proj_out)"
)

ROW = FamilyRow(
    name="flux1",
    implementation="portrait_lora.families.flux1:Flux1",
    pipelines=("FluxPipeline",),
    bases=(
        on_hub(
            "flux1-dev",
            "flux1",
            "black-forest-labs/FLUX.1-dev",
            licence="flux-1-dev-non-commercial",
            commercial="no",
            terms=FLUX_NC,
            gated=True,
            download_gb=33.7,
            parameters_b=11.9,
            encoders_b=4.89,
            steps=28,
            guidance_scale=2.5,
        ),
        on_hub(
            "flux1-schnell",
            "flux1",
            "black-forest-labs/FLUX.1-schnell",
            licence="Apache-2.0",
            commercial="yes",
            terms=f"{FREE} It is distilled: training on it directly costs quality.",
            download_gb=33.7,
            parameters_b=11.9,
            encoders_b=4.89,
            steps=4,
            guidance_scale=1.0,
            unverified=("gated", "training on distilled weights"),
            architecture="flux-1-schnell",
        ),
    ),
    cost=Cost(11.9, 1024, 74.4, 23.3, 1.6, 0.062),
    decoding_gb=1.7,
    text=TextReader(512, "sentences"),
    architecture="flux-1-dev",
    kohya_version="flux1",
    comfy={"transformer": Spelling("lora_transformer_", False, _LAYERS)},
    style_encoder=("CLIPVisionModelWithProjection", "CLIPImageProcessor"),
)
