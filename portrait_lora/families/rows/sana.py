"""SANA.  Torch-free; the computation is in `families.sana`."""

from __future__ import annotations

from portrait_lora.families.hub_base import LICENCE, on_hub
from portrait_lora.families.row import Cost, FamilyRow, TextReader

ROW = FamilyRow(
    name="sana",
    implementation="portrait_lora.families.sana:Sana",
    pipelines=("SanaPipeline",),
    bases=(
        on_hub(
            "sana-1.6b",
            "sana",
            "Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers",
            licence="NVIDIA License (NSCL v2-custom)",
            commercial="no",
            terms="Taken for non-commercial here until somebody has read its licence; "
            "Gemma's terms bind as well.",
            download_gb=9.7,
            parameters_b=1.6,
            encoders_b=2.61,
            steps=20,
            guidance_scale=4.5,
            unverified=LICENCE,
        ),
    ),
    cost=Cost(1.6, 1024, 3.0, 4.5, 0.1, 0.126),
    decoding_gb=2.1,
    text=TextReader(300, "sentences"),
    architecture="sana",
    kohya_version="sana",
    comfy={},
    unguided={"guidance_scale": 1.0, "use_resolution_binning": False},
)
