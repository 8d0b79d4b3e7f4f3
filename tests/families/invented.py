"""A family that nobody has: its class and its row, all that a new one takes beside the recipe of a base."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any, Final

import diffusers
from safetensors.torch import load_file, save_file

from portrait_lora.families.family import ATTENTION, LoraLayers
from portrait_lora.families.hub_base import FREE, on_hub
from portrait_lora.families.row import CheckpointFile, Cost, FamilyRow, TextReader
from portrait_lora.families.sd15 import SD15
from portrait_lora.families.spelling import QKV, Spelling

NAME: Final = "invented"
TEXT: Final = "invented_text."


class InventedPipeline(diffusers.StableDiffusionPipeline):
    """Stable Diffusion under another name; its one-file checkpoints name the text encoder otherwise."""

    @classmethod
    def from_single_file(cls, path: str, **more: Any) -> Any:
        """The pipeline of such a file."""
        weights = {k.replace(TEXT, "cond_stage_model.", 1): v for k, v in load_file(path).items()}
        with tempfile.TemporaryDirectory() as folder:
            renamed = Path(folder) / "renamed.safetensors"
            save_file(weights, renamed)
            return super().from_single_file(str(renamed), **more)


class Invented(SD15):
    """The `Family` of it: no text encoder is trained along."""

    pipeline_type = InventedPipeline
    lora_layers = LoraLayers(ATTENTION, (*ATTENTION, "ff.net.0.proj", "ff.net.2"))


ROW: Final = FamilyRow(
    name=NAME,
    implementation=f"{__name__}:{Invented.__name__}",
    pipelines=(InventedPipeline.__name__,),
    bases=(
        on_hub(
            "invented-small",
            NAME,
            "maker/invented-small",
            licence="Apache-2.0",
            commercial="yes",
            terms=FREE,
            download_gb=0.1,
            parameters_b=0.05,
            encoders_b=0.01,
            steps=7,
            guidance_scale=2.5,
            architecture="invented-v1-small",
            preference=0,
        ),
    ),
    resolution_px=320,
    cost=Cost(0.05, 1024, 0.1, 0.2, 0.1),
    decoding_gb=0.1,
    text=TextReader(12, "sentences"),
    architecture="invented-v1",
    kohya_version="invented_v1",
    comfy={
        "unet": Spelling(
            "invented.",
            True,
            re.compile(rf".+\.transformer_blocks\.\d+\.(attn[12]\.({QKV})|ff\.net\.(0\.proj|2))"),
        )
    },
    a1111_version="Invented",
    style_encoder=("CLIPVisionModelWithProjection", "CLIPImageProcessor"),
    checkpoint=CheckpointFile(
        "Invented 1",
        (f"{TEXT}transformer.text_model.embeddings.position_embedding.weight",),
        "invented-small",
    ),
)
