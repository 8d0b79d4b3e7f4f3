"""Krea 2.  Torch-free; the computation is in `families.krea2`."""

from __future__ import annotations

import re
from typing import Final

from portrait_lora.families.hub_base import LICENCE, on_hub
from portrait_lora.families.row import Cost, FamilyRow, TextReader
from portrait_lora.families.spelling import QKV, Spelling

_LAYERS: Final = re.compile(
    r"(transformer_blocks|text_fusion\.(layerwise|refiner)_blocks)\.\d+"
    rf"\.(attn\.({QKV}|to_gate)|ff\.(gate|up|down))"
)

ROW = FamilyRow(
    name="krea2",
    implementation="portrait_lora.families.krea2:Krea2",
    pipelines=("Krea2Pipeline",),
    bases=(
        on_hub(
            "krea2",
            "krea2",
            "krea/Krea-2-Raw",
            generate_repo="krea/Krea-2-Turbo",
            licence="krea-2-community",
            commercial="conditional",
            terms="Free, also to sell with, for people and small companies (reports differ on the limit: "
            "1 million dollars of yearly revenue, or 50 people); above, a paid licence.",
            gated=True,
            download_gb=72.0,
            parameters_b=12.8,
            encoders_b=4.44,
            steps=8,
            guidance_scale=1.0,  # its makers count from 0 where everyone counts from 1
            unverified=LICENCE,
        ),
    ),
    cost=Cost(12.8, 1024, 115.6, 40.6, 2.0, 0.093),
    decoding_gb=3.7,
    text=TextReader(512, "sentences"),
    architecture="krea-2",
    kohya_version="krea2",
    comfy={"transformer": Spelling("diffusion_model.", True, _LAYERS)},
    unguided={"guidance_scale": 0.0},  # its makers count from 0 where everyone counts from 1
)
