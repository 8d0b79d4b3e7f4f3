"""Stable Diffusion 3.5.  Torch-free; the computation is in `families.sd35`."""

from __future__ import annotations

import re
from typing import Final

from portrait_lora.families.hub_base import LICENCE, STABILITY, on_hub
from portrait_lora.families.row import Cost, FamilyRow, TextReader
from portrait_lora.families.spelling import JOINT, QKV, Spelling

_LAYERS: Final = re.compile(
    rf"transformer_blocks\.\d+\.({JOINT}|attn2\.({QKV})|ff(_context)?\.net\.(0\.proj|2))"
)

ROW = FamilyRow(
    name="sd35",
    implementation="portrait_lora.families.sd35:SD35",
    pipelines=("StableDiffusion3Pipeline",),
    bases=(
        on_hub(
            "sd35-medium",
            "sd35",
            "stabilityai/stable-diffusion-3.5-medium",
            licence="stabilityai-ai-community",
            commercial="conditional",
            terms=STABILITY,
            gated=True,
            download_gb=16.0,
            parameters_b=2.5,
            encoders_b=5.58,
            steps=28,
            guidance_scale=4.5,
            unverified=LICENCE,
            architecture="stable-diffusion-3-5-medium",
        ),
        on_hub(
            "sd35-large",
            "sd35",
            "stabilityai/stable-diffusion-3.5-large",
            licence="stabilityai-ai-community",
            commercial="conditional",
            terms=STABILITY,
            gated=True,
            download_gb=27.0,
            parameters_b=8.1,
            encoders_b=5.58,
            steps=28,
            guidance_scale=4.5,
            unverified=LICENCE,
            architecture="stable-diffusion-3-5-large",
        ),
    ),
    cost=Cost(2.5, 1024, 20.0, 7.6, 0.6, 0.099),
    decoding_gb=1.7,
    text=TextReader(256, "sentences"),
    architecture="stable-diffusion-3",
    kohya_version="sd3",
    comfy={"transformer": Spelling("lora_transformer_", False, _LAYERS)},
    style_encoder=("SiglipVisionModel", "SiglipImageProcessor"),
)
