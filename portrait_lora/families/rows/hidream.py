"""HiDream-I1.  Torch-free; the computation is in `families.hidream`."""

from __future__ import annotations

import re
from typing import Final

from portrait_lora.families.hub_base import LICENCE, on_hub
from portrait_lora.families.row import Cost, FamilyRow, TextReader
from portrait_lora.families.spelling import Spelling

_LAYERS: Final = re.compile(
    r"(double|single)_stream_blocks\.\d+\.block"
    r"\.(attn1\.to_(q|k|v|out)(_t)?|(ff_i\.shared_experts|ff_t)\.w[123])"
)

ROW = FamilyRow(
    name="hidream",
    implementation="portrait_lora.families.hidream:HiDream",
    pipelines=("HiDreamImagePipeline",),
    bases=(
        on_hub(
            "hidream-i1",
            "hidream",
            "HiDream-ai/HiDream-I1-Full",
            text_repo="meta-llama/Llama-3.1-8B-Instruct",
            licence="MIT",
            commercial="conditional",
            terms="Its own licence lets it be sold; Llama 3.1, which reads the prompts, has Meta's, which "
            "asks for its name to be shown, and for permission above 700 million users.",
            gated=True,
            download_gb=61.5,
            parameters_b=17.1,
            encoders_b=13.6,
            steps=50,
            guidance_scale=5.0,
            unverified=(*LICENCE, "which parts its repository holds", "scheduler"),
        ),
    ),
    elsewhere=("text_encoder_4", "tokenizer_4"),
    cost=Cost(17.1, 1024, 77.9, 37.5, 2.3, 0.082),
    decoding_gb=1.7,
    text=TextReader(128, "sentences"),
    architecture="hidream-i1",
    kohya_version="hidream_i1",
    comfy={"transformer": Spelling("diffusion_model.", True, _LAYERS)},
)
