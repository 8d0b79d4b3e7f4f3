"""What only one family has, and the contract does not look for."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_families import CHANNELS
from torch import Tensor

from portrait_lora.errors import InputError
from portrait_lora.families import layout
from portrait_lora.families.catalog import resolve_base
from portrait_lora.families.diffusers_family import DiffusersFamily
from portrait_lora.families.family import FlowSchedule, Geometry, PromptCondition
from portrait_lora.families.krea2 import Krea2
from portrait_lora.records import FamilyName
from portrait_lora.stages.together import why_alone
from portrait_lora.tasks.verify.learning import levels, noise
from portrait_lora.tasks.verify.reference import plain_pipeline
from portrait_lora.training.memory import use_checkpointing
from portrait_lora.training.stacked import Stack
from portrait_lora.training.streaming import of_family
from tests.recipes import recipe

Tiny = Callable[[FamilyName], DiffusersFamily]
SIZE = Geometry((64, 64), (0, 0), (64, 64))
PROMPTS = ["ohwx woman", "frontal headshot of ohwx woman"]


def answered(family: DiffusersFamily, condition: PromptCondition) -> Tensor:
    with torch.no_grad():
        return family.predict(noise((2, CHANNELS, 8, 8)), levels(family, 0.3, 0.8), condition, [SIZE] * 2)


def test_the_distilled_krea_has_one_shift_for_all_sizes(tiny: Tiny, tmp_path: Path) -> None:
    family = tiny("krea2")
    assert isinstance(family.schedule, FlowSchedule) and family.schedule.token_shift is not None
    pipe = plain_pipeline(family.base.source)
    pipe.register_to_config(is_distilled=True)
    pipe.save_pretrained(tmp_path / "turbo")
    schedule = Krea2(resolve_base(tmp_path / "turbo")).schedule
    assert isinstance(schedule, FlowSchedule)
    assert schedule.shift_for(64, 64) == schedule.shift_for(256, 256) == pytest.approx(math.exp(1.15))


def test_krea_reads_only_what_is_no_padding(tiny: Tiny) -> None:
    """Prompts keep their own length; the padding that diffusers puts between changes nothing."""
    family = tiny("krea2")
    family.load("encoders")
    condition = family.encode_prompts(PROMPTS)
    pipe: Any = family._encoders  # pyright: ignore[reportPrivateUsage]
    states, mask = pipe.encode_prompt(PROMPTS, device="cpu")
    assert condition.mask_BL is not None and condition.embeds_BLD.shape[1] < states.shape[1]
    assert condition.mask_BL.sum(1).tolist() == mask.sum(1).tolist()
    family.load("denoiser")
    padded = PromptCondition(states.flatten(2), mask)
    torch.testing.assert_close(answered(family, condition), answered(family, padded), atol=1e-5, rtol=1e-4)
    family.load("none")


def test_chroma_is_asked_without_padding_also_when_blocks_are_computed_twice(tiny: Tiny) -> None:
    """diffusers' pipeline without its mended mask looks at the padding; its recomputed blocks always do."""
    family = tiny("chroma")
    family.load("encoders")
    condition = family.encode_prompts(PROMPTS)
    assert condition.mask_BL is not None
    assert condition.embeds_BLD.shape[1] == len(PROMPTS[1]) + 3  # a beginning, an end, one of padding
    both = [PromptCondition.batch([family.encode_prompts([prompt])] * 2) for prompt in PROMPTS]
    family.load("denoiser")
    plain = torch.stack([answered(family, one)[i] for i, one in enumerate(both)])
    use_checkpointing(family.denoiser, 1.0)
    seen, level = noise((2, CHANNELS, 8, 8)), levels(family, 0.3, 0.8)
    twice = family.predict(seen.requires_grad_(), level, condition, [SIZE] * 2)
    torch.testing.assert_close(twice, plain, atol=1e-6, rtol=1e-5)
    family.load("none")


@pytest.mark.parametrize("name", ["krea2", "chroma", "ernie_image"])
def test_families_whose_rows_are_not_pictures_train_everybody_alone(tiny: Tiny, name: FamilyName) -> None:
    family: Any = tiny(name)
    with pytest.raises(InputError, match="in one pass"):
        Stack(family, recipe(rank=2, alpha=2.0))
    context: Any = SimpleNamespace(base=family.base)
    assert name in why_alone(context)


def test_norms_that_stay_in_float32_do_so_when_blocks_are_read_from_files(tiny: Tiny) -> None:
    family = tiny("krea2")
    family.load("encoders")
    condition = family.encode_prompts(PROMPTS)
    family.weights = "bfloat16"
    try:
        family.load("denoiser")
        resident = answered(family, condition)
        family.load("none")
        family.streamed = True
        family.load("denoiser")
        of_family(family)
        kinds = {n: p.dtype for n, p in family.denoiser.named_parameters()}
        assert torch.equal(answered(family, condition), resident)
        assert kinds["transformer_blocks.0.norm1.weight"] == torch.float32
        assert kinds["transformer_blocks.0.attn.to_q.weight"] == torch.bfloat16
    finally:
        family.weights, family.streamed = "float32", False
        family.load("none")


def test_sana_guides_against_the_empty_prompt_without_its_instruction(tiny: Tiny) -> None:
    family = tiny("sana")
    family.load("encoders")
    pipe: Any = family._encoders  # pyright: ignore[reportPrivateUsage]
    _, _, states, mask = pipe.encode_prompt(["x"], True, negative_prompt="", device="cpu")
    empty = family.encode_prompts([""])
    assert empty.mask_BL is not None and torch.equal(empty.mask_BL, mask.bool())
    assert torch.equal(empty.embeds_BLD, states)
    family.load("none")


def test_the_writer_of_prompts_of_ernie_is_neither_fetched_nor_opened() -> None:
    index = {
        "_class_name": "ErnieImagePipeline",
        "pe": ["transformers", "Ministral3ForCausalLM"],
        "pe_tokenizer": ["transformers", "TokenizersBackend"],
        "vae": ["diffusers", "AutoencoderKLFlux2"],
    }
    assert set(layout.parse_index(index, where="here").parts) == {"vae"}


def test_krea_without_guidance_asks_its_transformer_once_a_step(tiny: Tiny) -> None:
    """A guidance of 1 is none, also where the makers count from 0."""
    family = tiny("krea2")
    pipe: Any = family.pipeline(None)
    calls: list[int] = []
    hook = pipe.transformer.register_forward_hook(lambda *_: calls.append(1))
    for scale, count in ((1.0, 1), (2.0, 2)):
        pipe("ohwx", height=64, width=64, num_inference_steps=1, guidance_scale=scale, output_type="latent")
        assert len(calls) == count
        calls.clear()
    hook.remove()
    family.load("none")
