"""Z-Image.  Torch-free; the computation is in `families.z_image`."""

from __future__ import annotations

import re
from typing import Final

from portrait_lora.families.hub_base import FREE, on_hub
from portrait_lora.families.row import Cost, FamilyRow, TextReader
from portrait_lora.families.spelling import QKV, Spelling

_LAYERS: Final = re.compile(
    rf"(layers|context_refiner|noise_refiner)\.\d+\.(attention\.({QKV})|feed_forward\.w[123])"
)

ROW = FamilyRow(
    name="z_image",
    implementation="portrait_lora.families.z_image:ZImage",
    pipelines=("ZImagePipeline",),
    bases=(
        on_hub(
            "z-image",
            "z_image",
            "Tongyi-MAI/Z-Image",
            licence="Apache-2.0",
            commercial="yes",
            terms=FREE,
            download_gb=20.5,
            parameters_b=6.2,
            encoders_b=4.02,
            steps=28,
            guidance_scale=5.0,  # its makers count from 0 where everyone counts from 1
            preference=1,
        ),
        on_hub(
            "z-image-turbo",
            "z_image",
            "Tongyi-MAI/Z-Image",
            generate_repo="Tongyi-MAI/Z-Image-Turbo",
            licence="Apache-2.0",
            commercial="yes",
            terms=FREE,
            download_gb=41.0,
            parameters_b=6.2,
            encoders_b=4.02,
            steps=9,
            guidance_scale=1.0,
        ),
    ),
    cost=Cost(6.2, 1024, 56.6, 15.0, 1.1, 0.061),
    decoding_gb=1.7,
    text=TextReader(512, "sentences"),
    architecture="Z-Image",
    kohya_version="z_image",
    comfy={"transformer": Spelling("diffusion_model.", True, _LAYERS)},
    unguided={"guidance_scale": 0.0},  # its makers count from 0 where everyone counts from 1
)
