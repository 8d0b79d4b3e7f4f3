"""Qwen-Image-Edit since 2509.  Torch-free; the computation is in `families.qwen_image_edit`."""

from __future__ import annotations

from portrait_lora.families.hub_base import FREE, LICENCE, on_hub
from portrait_lora.families.row import Cost, FamilyRow, TextReader
from portrait_lora.families.rows import qwen_image

ROW = FamilyRow(
    name="qwen_image_edit",
    implementation="portrait_lora.families.qwen_image_edit:QwenImageEdit",
    pipelines=("QwenImageEditPlusPipeline",),
    bases=(
        on_hub(
            "qwen-image-edit",
            "qwen_image_edit",
            "Qwen/Qwen-Image-Edit-2511",
            licence="Apache-2.0",
            commercial="yes",
            terms=FREE,
            download_gb=57.7,
            parameters_b=20.4,
            encoders_b=8.29,
            steps=40,
            guidance_scale=4.0,
            unverified=LICENCE,
        ),
    ),
    # A photo has as many tokens as a picture of 1024 px, and about 196 more among those of the prompt.
    cost=Cost(20.4, 1024, 70.6, 31.0, 2.2, 0.035, 1.016, 0.186),
    decoding_gb=3.7,
    text=TextReader(1024, "sentences"),
    references=3,
    references_in_text=True,
    architecture="Qwen-Image-Edit",
    kohya_version="qwen_image_edit",
    comfy=qwen_image.ROW.comfy,
    unguided={"true_cfg_scale": 1.0},
)
