"""Stable Diffusion XL.  Torch-free; the computation is in `families.sdxl`."""

from __future__ import annotations

from portrait_lora.families import spelling
from portrait_lora.families.hub_base import OPENRAIL, on_hub
from portrait_lora.families.row import CLIP, CheckpointFile, Cost, FamilyRow
from portrait_lora.families.spelling import Spelling

ROW = FamilyRow(
    name="sdxl",
    implementation="portrait_lora.families.sdxl:SDXL",
    pipelines=("StableDiffusionXLPipeline",),
    bases=(
        on_hub(
            "sdxl",
            "sdxl",
            "stabilityai/stable-diffusion-xl-base-1.0",
            licence="openrail++",
            commercial="conditional",
            terms=OPENRAIL,
            download_gb=13.9,
            parameters_b=2.6,
            encoders_b=0.82,
            steps=30,
            guidance_scale=6.0,
            preference=3,
        ),
    ),
    cost=Cost(2.6, 1024, 6.76, 5.6, 0.5, 0.059),
    decoding_gb=1.7,
    text=CLIP,
    architecture="stable-diffusion-xl-v1-base",
    kohya_version="sdxl_base_v1-0",
    float32_up_to_b=1.5,
    text_encoders_b=0.82,
    comfy={
        "unet": Spelling("lora_unet_", False, spelling.UNET),
        "text_encoder": Spelling("lora_te1_", False, spelling.CLIP),
        "text_encoder_2": Spelling("lora_te2_", False, spelling.CLIP),
    },
    a1111_version="SDXL",
    style_encoder=("CLIPVisionModelWithProjection", "CLIPImageProcessor"),
    checkpoint=CheckpointFile(
        "SDXL",
        (
            "conditioner.embedders.0.transformer.text_model.embeddings.position_embedding.weight",
            "conditioner.embedders.1.model.positional_embedding",
        ),
        "sdxl",
    ),
)
