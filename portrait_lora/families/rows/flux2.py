"""FLUX.2 klein and dev.  Torch-free; the computation is in `families.flux2`."""

from __future__ import annotations

import re
from typing import Final

from portrait_lora.families.hub_base import FLUX_NC, FREE, on_hub
from portrait_lora.families.row import Cost, FamilyRow, TextReader
from portrait_lora.families.spelling import JOINT, Spelling

_LAYERS: Final = re.compile(
    rf"transformer_blocks\.\d+\.({JOINT}|ff(_context)?\.linear_(in|out))"
    r"|single_transformer_blocks\.\d+\.attn\.(to_qkv_mlp_proj|to_out)"
)

ROW = FamilyRow(
    name="flux2",
    implementation="portrait_lora.families.flux2:Flux2",
    pipelines=("Flux2Pipeline", "Flux2KleinPipeline"),
    bases=(
        on_hub(
            "flux2-klein-4b",
            "flux2",
            "black-forest-labs/FLUX.2-klein-base-4B",
            generate_repo="black-forest-labs/FLUX.2-klein-4B",
            licence="Apache-2.0",
            commercial="yes",
            terms=FREE,
            download_gb=32.0,
            parameters_b=3.9,
            encoders_b=4.02,
            steps=4,
            guidance_scale=1.0,
            preference=2,
        ),
        on_hub(
            "flux2-klein-4b-base",
            "flux2",
            "black-forest-labs/FLUX.2-klein-base-4B",
            licence="Apache-2.0",
            commercial="yes",
            terms=FREE,
            download_gb=16.0,
            parameters_b=3.9,
            encoders_b=4.02,
            steps=28,
            guidance_scale=4.0,
        ),
        on_hub(
            "flux2-klein-9b",
            "flux2",
            "black-forest-labs/FLUX.2-klein-base-9B",
            generate_repo="black-forest-labs/FLUX.2-klein-9B",
            licence="flux-non-commercial",
            commercial="no",
            terms=FLUX_NC,
            gated=True,
            download_gb=70.0,
            parameters_b=9.1,
            encoders_b=8.19,
            steps=4,
            guidance_scale=1.0,
            architecture="Flux.2-klein-9b",
        ),
        on_hub(
            "flux2-klein-9b-base",
            "flux2",
            "black-forest-labs/FLUX.2-klein-base-9B",
            licence="flux-non-commercial",
            commercial="no",
            terms=FLUX_NC,
            gated=True,
            download_gb=35.0,
            parameters_b=9.1,
            encoders_b=8.19,
            steps=28,
            guidance_scale=4.0,
            architecture="Flux.2-klein-9b",
        ),
        on_hub(
            "flux2-dev",
            "flux2",
            "black-forest-labs/FLUX.2-dev",
            licence="flux-non-commercial",
            commercial="no",
            terms=FLUX_NC,
            gated=True,
            download_gb=112.0,
            parameters_b=32.2,
            encoders_b=23.3,
            steps=28,
            guidance_scale=4.0,
            architecture="Flux.2-dev",
        ),
    ),
    cost=Cost(3.9, 1024, 34.8, 10.2, 0.8, 0.177, 0.889, 0.187),
    decoding_gb=1.7,
    text=TextReader(512, "sentences"),
    references=8,
    architecture="Flux.2-klein-4b",
    kohya_version="flux2",
    comfy={"transformer": Spelling("lora_transformer_", False, _LAYERS)},
)
