"""What only one family has, and the contract does not look for."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
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
from portrait_lora.generation import drawing
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


def test_hidream_answers_alike_in_every_mode_and_its_experts_pass_gradients(tiny: Tiny) -> None:
    """diffusers gives patches in training mode, and experts without gradients in the other."""
    family = tiny("hidream")
    family.load("encoders")
    condition = family.encode_prompts(PROMPTS)
    family.load("denoiser")
    eyes = family.denoiser.double_stream_blocks[0].block  # type: ignore[union-attr,index]
    answers: list[Tensor] = []
    try:
        for mode in (True, False):
            family.denoiser.train(mode)
            answers.append(answered(family, condition))
            for layer in (eyes.attn1.to_q, eyes.ff_i.experts[1].w2):  # before the experts, and in one
                layer.weight.requires_grad_(True)
            seen = family.predict(noise((2, CHANNELS, 8, 8)), levels(family, 0.3, 0.8), condition, [SIZE] * 2)
            answers.append(seen.detach())
            assert not any(m.training for m in family.denoiser.modules() if type(m).__name__ == "MoEGate")
            for layer in (eyes.attn1.to_q, eyes.ff_i.experts[1].w2):
                (gradient,) = torch.autograd.grad(seen.square().mean(), layer.weight, retain_graph=True)
                assert gradient.abs().sum() > 0
    finally:
        family.load("none")
    assert all(torch.equal(answers[0], other) for other in answers[1:])


def test_every_block_of_hidream_reads_its_own_layer_of_llama(tiny: Tiny) -> None:
    family = tiny("hidream")
    family.load("encoders")
    condition = family.encode_prompts(PROMPTS)
    family.load("denoiser")
    plain, widths = answered(family, condition), [32, 16, 16]
    assert condition.embeds_BLD.shape == (2, 128, sum(widths))
    for part, states in enumerate(condition.embeds_BLD.split(widths, dim=2)):
        torch.manual_seed(part)
        changed = [*condition.embeds_BLD.split(widths, dim=2)]
        changed[part] = torch.randn_like(states)
        other = PromptCondition(torch.cat(changed, dim=2), pooled_BD=condition.pooled_BD)
        assert (answered(family, other) - plain).abs().max() > 1e-5, part
    family.load("none")


def test_hidream_refuses_what_its_transformer_has_no_room_for(tiny: Tiny) -> None:
    """64 places of 16 px are a square of 128 px; only squares may be larger."""
    family = tiny("hidream")
    family.load("encoders")
    with pytest.raises(InputError, match="160 x 128 px") as caught:
        family.encode_pixels(torch.zeros(1, 3, 128, 160))
    assert "16,384 pixels" in str(caught.value)
    family.encode_pixels(torch.zeros(1, 3, 144, 144))
    pipe: Any = family.pipeline(None)
    with pytest.raises(InputError, match="160 x 128 px"):
        pipe("ohwx", width=160, height=128, num_inference_steps=1)
    assert pipe.default_sample_size == 128  # as diffusers has it
    family.load("none")


def test_a_folder_of_hidream_without_llama_is_incomplete(tiny: Tiny, tmp_path: Path) -> None:
    """What lies beside it on the hub has to lie in it on the disk."""
    source = Path(tiny("hidream").base.source)
    away = shutil.ignore_patterns("text_encoder_4", "tokenizer_4", "source")
    folder = shutil.copytree(source, tmp_path / "copy", ignore=away)
    with pytest.raises(InputError, match=r"incomplete.*text_encoder_4"):
        resolve_base(folder)


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


@pytest.mark.parametrize("name", ["krea2", "chroma", "ernie_image", "qwen_image21"])
def test_families_whose_rows_are_not_pictures_train_everybody_alone(tiny: Tiny, name: FamilyName) -> None:
    family: Any = tiny(name)
    with pytest.raises(InputError, match="in one pass"):
        Stack(family, recipe(rank=2, alpha=2.0))
    context: Any = SimpleNamespace(base=family.base)
    assert name in why_alone(context)


@pytest.mark.parametrize(
    ("name", "kept"),
    [("krea2", "transformer_blocks.0.norm1.weight"), ("qwen_image21", "time_text_embed.time_proj.freqs")],
)
def test_what_stays_in_float32_does_so_when_blocks_are_read_from_files(
    tiny: Tiny, name: FamilyName, kept: str
) -> None:
    """Norms, and what is computed instead of read."""
    family = tiny(name)
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
        net = family.denoiser
        kinds = {n: p.dtype for n, p in [*net.named_parameters(), *net.named_buffers()]}
        assert torch.equal(answered(family, condition), resident)
        assert kinds[kept] == torch.float32
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


@pytest.fixture
def qwen21(tiny: Tiny) -> Iterator[DiffusersFamily]:
    family = tiny("qwen_image21")
    yield family
    family.load("none")


def test_qwen_image_21_reads_the_last_layer_before_its_norm_behind_the_instruction(
    qwen21: DiffusersFamily,
) -> None:
    """Every prompt alone, in the words of its makers' template, layer by layer."""
    qwen21.load("encoders")
    condition = qwen21.encode_prompts(PROMPTS)
    pipe: Any = qwen21._encoders  # pyright: ignore[reportPrivateUsage]
    words, seen = pipe.processor.tokenizer, list[Tensor]()
    language = pipe.text_encoder.model.language_model
    hook = language.layers[-1].register_forward_hook(lambda *a: seen.append(a[2]))
    system = "<|im_start|>system\nComprehend and analyze the provided prompt.<|im_end|>\n"
    assert condition.mask_BL is not None
    for row, mask, prompt in zip(condition.embeds_BLD, condition.mask_BL, PROMPTS, strict=True):
        turn = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
        with torch.no_grad():
            language(input_ids=words(system + turn, return_tensors="pt").input_ids)
        expected = seen[-1][0, len(words(system).input_ids) :]
        assert len(expected) == len(words(turn).input_ids) == int(mask.sum())
        torch.testing.assert_close(row[mask], expected, atol=1e-5, rtol=1e-4)
    hook.remove()


def test_qwen_image_21_sees_photos_without_gaps(qwen21: DiffusersFamily) -> None:
    qwen21.load("encoders")
    vae: Any = qwen21._vae  # pyright: ignore[reportPrivateUsage]
    photo = noise((1, 3, 64, 64)).clamp(-1, 1)
    latents = {
        alpha: vae.encode(torch.cat([photo, torch.full((1, 1, 64, 64), alpha)], 1)[:, :, None])
        for alpha in (1.0, -1.0)
    }
    own = qwen21.encode_pixels(photo).mean_BCHW
    torch.testing.assert_close(own, latents[1.0].latent_dist.mean[:, :, 0])
    assert (own - latents[-1.0].latent_dist.mean[:, :, 0]).abs().max() > 1e-3


def sharpened(net: Any) -> None:
    """So sharp an attention that it matters where a token stands."""
    for block in net.transformer_blocks:
        block.attn.norm_q.weight.data *= 30
        block.attn.norm_k.weight.data *= 30


def test_the_answer_of_qwen_image_21_is_the_same_beside_a_longer_prompt(qwen21: DiffusersFamily) -> None:
    qwen21.load("encoders")
    both = qwen21.encode_prompts(PROMPTS)
    twice = [PromptCondition.batch([qwen21.encode_prompts([prompt])] * 2) for prompt in PROMPTS]
    qwen21.load("denoiser")
    sharpened(qwen21.denoiser)
    alone = torch.stack([answered(qwen21, one)[i] for i, one in enumerate(twice)])
    torch.testing.assert_close(answered(qwen21, both), alone, atol=2e-5, rtol=1e-4)


def test_a_picture_of_qwen_image_21_is_the_same_beside_a_longer_prompt(qwen21: DiffusersFamily) -> None:
    """diffusers' own is not: there the padding moves the picture."""
    ours: Any = qwen21.pipeline(None)
    plain = plain_pipeline(qwen21.base.source)
    sharpened(ours.transformer)
    sharpened(plain.transformer)

    def drawn(pipe: Any, prompts: list[str], scale: str, output: str) -> Any:
        sources = [torch.Generator().manual_seed(i) for i in range(len(prompts))]
        negative = {"negative_prompt": [" "] * len(prompts), scale: 3.0}
        size = {"height": 64, "width": 96, "num_inference_steps": 2, "output_type": output}
        return pipe(prompt=prompts, generator=sources, **negative, **size).images

    both = drawn(ours, PROMPTS, "guidance_scale", "np")
    alone = drawn(ours, PROMPTS[:1], "guidance_scale", "np")
    assert both.shape == (2, 64, 96, 3) and np.array_equal(both[:1], alone)
    theirs = drawn(plain, PROMPTS[:1], "true_cfg_scale", "np")
    np.testing.assert_allclose(alone, 1 - theirs[..., 3:] * (1 - theirs[..., :3]), atol=1e-5)
    assert np.abs(drawn(plain, PROMPTS, "true_cfg_scale", "np")[:1] - theirs).max() > 1e-4
    assert [p.mode for p in drawn(ours, PROMPTS, "guidance_scale", "pil")] == ["RGB", "RGB"]
    with pytest.raises(InputError, match="no image-to-image"):
        drawing._kindred(ours, diffusers.AutoPipelineForImage2Image, "image-to-image")


def test_distilled_weights_of_qwen_image_21_keep_their_levels_at_their_number_of_steps(
    qwen21: DiffusersFamily,
) -> None:
    pipe: Any = qwen21.pipeline(None)
    seen: list[float] = []

    def drawn(steps: int) -> list[float]:
        seen.clear()
        pipe("ohwx", height=64, width=64, num_inference_steps=steps, output_type="latent")
        return list(seen)

    set_timesteps = pipe.scheduler.set_timesteps

    @wraps(set_timesteps)  # its signature is looked at
    def watched(*args: Any, **more: Any) -> None:
        seen.extend(more["sigmas"])
        set_timesteps(*args, **more)

    pipe.scheduler.set_timesteps = watched
    try:
        assert drawn(2) == [1.0, 0.5]
        pipe.register_to_config(sample_sigmas=[1.0, 0.9, 0.6])
        assert (drawn(3), drawn(2)) == ([1.0, 0.9, 0.6], [1.0, 0.5])
    finally:
        pipe.register_to_config(sample_sigmas=None)
        pipe.scheduler.set_timesteps = set_timesteps
