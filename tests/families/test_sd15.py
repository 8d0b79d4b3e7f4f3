"""The contract of a family, held by Stable Diffusion 1.x on a tiny random base."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_models import make_tiny_sd

from portrait_lora.errors import InputError
from portrait_lora.families import open_family
from portrait_lora.families.catalog import resolve_base
from portrait_lora.families.family import Family, Geometry, PromptCondition
from portrait_lora.families.sd15 import SD15
from portrait_lora.records import Adapter

GEOMETRY = Geometry((64, 64), (0, 0), (64, 64))
PROMPT = "frontal headshot of ohwx woman, smiling"


def test_it_is_a_family(tiny_folder: Path) -> None:
    family = open_family(resolve_base(tiny_folder))
    family.load("denoiser")
    assert isinstance(family, Family)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_predict_is_what_the_pipeline_computes_first(tmp_path: Path, kind: str) -> None:
    family = SD15(resolve_base(make_tiny_sd(tmp_path, prediction_type=kind)))
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    pipe = family.pipeline(None)
    calls: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    inner = pipe.unet.forward

    def spy(sample: torch.Tensor, timestep: torch.Tensor, **arguments: object) -> object:
        answer = inner(sample, timestep, **arguments)
        calls.append((sample, timestep, answer[0]))
        return answer

    pipe.unet.forward = spy
    pipe(PROMPT, latents=noise.clone(), num_inference_steps=3, guidance_scale=1.0, height=64, width=64)
    family.load("encoders")
    condition = family.encode_prompts([PROMPT])
    family.load("denoiser")
    noisy, level, expected = calls[0]
    with torch.no_grad():
        answer = family.predict(noisy, level.reshape(1), condition, [GEOMETRY])
    torch.testing.assert_close(noisy, noise * pipe.scheduler.init_noise_sigma)
    torch.testing.assert_close(answer, expected)
    assert family.schedule.prediction_type == kind
    torch.testing.assert_close(family.schedule.alphas_cumprod_T, pipe.scheduler.alphas_cumprod)


def test_encodings_have_the_stated_shapes_and_scale(tiny_sd15: SD15) -> None:
    tiny_sd15.load("encoders")
    assert tiny_sd15.encode_prompts(["", PROMPT]).embeds_BLD.shape == (2, 32, 32)
    moments = tiny_sd15.encode_pixels(torch.zeros(1, 3, 96, 64))
    assert moments.mean_BCHW.shape == moments.std_BCHW.shape == (1, 4, 12, 8)
    assert (moments.std_BCHW > 0).all()
    torch.testing.assert_close(tiny_sd15.to_model_space(torch.ones(1)), torch.tensor([1.7]))


def test_encoders_are_freed_before_the_denoiser(tiny_sd15: SD15) -> None:
    tiny_sd15.load("encoders")
    with pytest.raises(RuntimeError, match="denoiser"):
        _ = tiny_sd15.denoiser
    tiny_sd15.load("denoiser")
    with pytest.raises(RuntimeError, match="encoders"):
        tiny_sd15.encode_prompts([PROMPT])
    assert not any(p.requires_grad for p in tiny_sd15.denoiser.parameters())


def test_non_square_predicts_its_own_shape(tiny_sd15: SD15) -> None:
    tiny_sd15.load("denoiser")
    noisy = torch.randn(2, 4, 12, 6)
    with torch.no_grad():
        answer = tiny_sd15.predict(
            noisy, torch.tensor([5, 900]), PromptCondition(torch.zeros(2, 32, 32)), [GEOMETRY] * 2
        )
    assert answer.shape == noisy.shape


def test_an_adapter_of_another_family_is_refused(tiny_sd15: SD15, tmp_path: Path) -> None:
    adapter = Adapter(tmp_path / "a.safetensors", "sd15", "b", "d", 4, 4.0, ("to_q",), "ohwx", "", "", 1)
    with pytest.raises(InputError, match="another family"):
        tiny_sd15.pipeline(replace(adapter, family="sdxl"))
    with pytest.raises(InputError, match="no such adapter"):
        tiny_sd15.pipeline(adapter)
