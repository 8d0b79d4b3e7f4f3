"""A tiny random Stable Diffusion pipeline, made on the spot: same format as the real thing, no download."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from portrait_lora import vocabulary
from portrait_lora.families.catalog import resolve_base
from portrait_lora.families.sd15 import SD15
from portrait_lora.records import CaptionedCrop

SIZE_PX = 64
LATENT_CHANNELS = 4


def write_tokenizer(folder: Path, length: int = 32) -> CLIPTokenizer:
    """A CLIP tokenizer whose words are single letters merged by nothing: every text has tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789", ",", "-", ".", "'"]
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{c}</w>" for c in letters)]
    words = sorted({p for w in vocabulary.words() for p in w.split("-")})
    merges: list[str] = []
    for word in words:
        left = word[0]
        for i, c in enumerate(word[1:], 1):
            right = c + ("</w>" if i == len(word) - 1 else "")
            if f"{left} {right}" not in merges:
                merges.append(f"{left} {right}")
            left += right
            if left not in tokens:
                tokens.append(left)
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    return CLIPTokenizer(
        vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"), model_max_length=length
    )


def make_tiny_sd(folder: Path, *, prediction_type: str = "v_prediction", seed: int = 0) -> Path:
    """Write a random SD-format pipeline (64 px, 8× VAE, UNet of (32, 64) channels) and return its folder."""
    torch.manual_seed(seed)
    tokenizer = write_tokenizer(folder / "source_tokenizer")
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=32,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )
    vae = AutoencoderKL(
        block_out_channels=(16, 16, 16, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=LATENT_CHANNELS,
        layers_per_block=1,
        norm_num_groups=8,
        scaling_factor=1.7,
        sample_size=SIZE_PX,
    )
    unet = UNet2DConditionModel(
        sample_size=SIZE_PX // 8,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=8,
        norm_num_groups=8,
    )
    scheduler = DDPMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type=prediction_type,
        clip_sample=False,
        steps_offset=1,
    )
    pipe = StableDiffusionPipeline(
        vae, text, tokenizer, unet, scheduler, None, None, requires_safety_checker=False
    )
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder


def make_crops(
    folder: Path, sizes: tuple[tuple[int, int], ...] = ((64, 64), (64, 64)), *, seed: int = 7
) -> list[CaptionedCrop]:
    """Random but smooth pictures of the given (W, H) with captions of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    crops: list[CaptionedCrop] = []
    for i, (w, h) in enumerate(sizes):
        small = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        path = folder / f"crop{i}.png"
        Image.fromarray(small).resize((w, h), Image.Resampling.BICUBIC).save(path)
        expression = vocabulary.EXPRESSIONS[i % len(vocabulary.EXPRESSIONS)]
        crops.append(
            CaptionedCrop(
                path=path,
                source=f"photo{i}.jpg",
                source_sha256=f"{i:064d}",
                crop_xyxy_px=(0, 0, w, h),
                bucket=(w, h),
                caption=f"frontal headshot of ohwx woman, {expression}",
                trigger="ohwx",
            )
        )
    return crops


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny v-prediction base."""
    return make_tiny_sd(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture(scope="session")
def tiny_sd15(tiny_folder: Path) -> SD15:
    """The tiny base behind the family's six methods."""
    return SD15(resolve_base(tiny_folder))
