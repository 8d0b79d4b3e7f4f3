"""Stable Diffusion 1.x.  Torch-free; the computation is in `families.sd15`."""

from __future__ import annotations

from typing import Final

from portrait_lora.families import spelling
from portrait_lora.families.base_model import ASSETS, BaseModel
from portrait_lora.families.hub_base import LICENCE, OPENRAIL, on_hub
from portrait_lora.families.row import CLIP, CheckpointFile, Cost, FamilyRow
from portrait_lora.families.spelling import Spelling

EMBEDDED: Final = BaseModel(
    name="embedded",
    family="sd15",
    repo="embedded",
    revision="packaged",
    generate_repo="embedded",
    licence="Apache-2.0",
    commercial="yes",
    gated=False,
    resolution_px=128,
    download_gb=0.0,
    synthetic=True,
    folder=ASSETS / "base",
    terms="Ships with the program under its own licence; it knows only the synthetic studio.",
    parameters_b=0.014,
    steps=20,
    guidance_scale=3.0,
)

ROW = FamilyRow(
    name="sd15",
    implementation="portrait_lora.families.sd15:SD15",
    pipelines=("StableDiffusionPipeline",),
    bases=(
        EMBEDDED,
        on_hub(
            "sd15",
            "sd15",
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
            licence="creativeml-openrail-m",
            commercial="conditional",
            terms=OPENRAIL,
            resolution_px=512,
            download_gb=4.3,
            parameters_b=0.9,
            encoders_b=0.123,
            steps=30,
            guidance_scale=7.0,
            unverified=LICENCE,
            preference=4,
        ),
    ),
    resolution_px=512,
    cost=Cost(0.9, 512, 0.80, 0.8, 0.15, 0.207),
    decoding_gb=0.9,
    text=CLIP,
    architecture="stable-diffusion-v1",
    kohya_version="sd_v1",
    float32_up_to_b=1.5,
    text_encoders_b=0.12,
    comfy={
        "unet": Spelling("lora_unet_", False, spelling.UNET),
        "text_encoder": Spelling("lora_te_", False, spelling.CLIP),
    },
    a1111_version="SD1",
    style_encoder=("CLIPVisionModelWithProjection", "CLIPImageProcessor"),
    checkpoint=CheckpointFile(
        "Stable Diffusion 1.x",
        ("cond_stage_model.transformer.text_model.embeddings.position_embedding.weight",),
        "sd15",
    ),
)
