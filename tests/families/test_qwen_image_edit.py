"""Qwen-Image-Edit draws beside photos what diffusers' own pipeline draws, and without any in its own words.

The networks are random and tiny: this shows that the pieces fit together, not that a face is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as edit_plus
from PIL import Image
from tiny_families import heedful, make_tiny
from torch import Tensor

from portrait_lora import provenance
from portrait_lora.errors import ConfigError, InputError
from portrait_lora.families import open_family
from portrait_lora.families.catalog import resolve_base
from portrait_lora.families.family import PromptCondition
from portrait_lora.families.one_by_one import each
from portrait_lora.generation import drawing, in_context, remake, sample
from portrait_lora.records import Adapter, Shot
from portrait_lora.tasks.verify.learning import add_lora, write_adapter
from portrait_lora.tasks.verify.reference import plain_pipeline
from tests.recipes import sampler as make_sampler

SAMPLER = make_sampler(2, 1.0)
SHOTS = [Shot(f"{i}-shot", f"headshot {i} of a man", "blurred", (96, 64), 40 + i) for i in range(2)]
SHAPES = ((96, 96), (144, 90), (64, 80))


@pytest.fixture(autouse=True, scope="module")
def small() -> Iterator[None]:
    """Photos are shown in 96 × 96 px, so that a step takes no second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edit_plus, "VAE_IMAGE_SIZE", 96 * 96)
        patch.setattr(edit_plus, "CONDITION_IMAGE_SIZE", 96 * 96)
        yield


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("edit") / "base"
    return open_family(resolve_base(heedful(make_tiny("qwen_image_edit", folder))))


@pytest.fixture(scope="module")
def opened(family: Any) -> Any:
    return plain_pipeline(family.base.source)


@pytest.fixture
def plain(opened: Any) -> Iterator[Any]:
    """diffusers' own pipeline, without an adapter before and after."""
    yield opened
    opened.unload_lora_weights()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(3)
    paths = [folder / f"{i}.png" for i in range(len(SHAPES))]
    for path, (width, height) in zip(paths, SHAPES, strict=True):
        coarse = random.integers(0, 2, (4, 4, 3), dtype=np.uint8) * 255
        Image.fromarray(coarse).resize((width, height), Image.Resampling.NEAREST).save(path)
    return paths


@pytest.fixture(scope="module")
def adapter(family: Any, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    """One of random weights, far from doing nothing."""
    family.load("denoiser")
    for parameter in add_lora(family, family.lora_layers.attention):
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(7))
    written = write_adapter(family, tmp_path_factory.mktemp("adapter") / "adapter.safetensors")
    family.load("none")
    return written


def pictures(paths: Sequence[Path]) -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in paths]


def draw(pipe: Any, shots: Sequence[Shot], sampler: drawing.Sampler, **more: Any) -> np.ndarray:
    """What `from_text` draws, before it is rounded to 8 bits: (B, H, W, C) in [0, 1]."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "_pictures", lambda _pipe, drawn, _shots: drawn)
        drawn: Any = drawing.from_text(pipe, shots, sampler, **more)
    return drawn


def unlike(one: PromptCondition, other: PromptCondition) -> float:
    """Relative distance of two prompts; 1 where they differ in length."""
    a, b = one.embeds_BLD, other.embeds_BLD
    return float((a - b).norm() / b.norm()) if a.shape == b.shape else 1.0


def test_a_prompt_is_read_beside_the_photos_which_stand_in_rows_and_columns(
    family: Any, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the text encoder itself, from all that the processor says; diffusers alone leaves it out."""
    monkeypatch.setattr(edit_plus, "CONDITION_IMAGE_SIZE", 384 * 384)
    family.load("encoders")
    shown, pipe = pictures(photos[:2]), family._encoders
    own = family.encode_prompts_beside([SHOTS[0].prompt], shown)
    marks = [f"Picture {i}: <|vision_start|><|image_pad|><|vision_end|>" for i in (1, 2)]
    text = pipe.prompt_template_encode.format("".join(marks) + SHOTS[0].prompt)
    resized: list[Image.Image] = []
    for one in shown:
        width = (384 * 384 * one.width / one.height) ** 0.5
        size = (round(width / 32) * 32, round(width * one.height / one.width / 32) * 32)
        resized.append(one.resize(size, Image.Resampling.LANCZOS))
    read = pipe.processor(text=[text], images=resized, return_tensors="pt")
    assert read["mm_token_type_ids"].sum() == read["image_grid_thw"].prod(dim=1).sum() // 4 > 300
    with torch.no_grad():
        states = pipe.text_encoder(**read, output_hidden_states=True).hidden_states[-1][:, 64:]
        in_a_line, _ = diffusers.QwenImageEditPlusPipeline._get_qwen_prompt_embeds(
            pipe, [SHOTS[0].prompt], resized, torch.device("cpu")
        )
    torch.testing.assert_close(own.embeds_BLD, states, atol=1e-5, rtol=1e-4)
    assert own.mask_BL is not None and own.mask_BL.all() and own.references == ()
    assert unlike(PromptCondition(in_a_line), own) > 1e-4
    for others in (shown[::-1], shown[:1], [shown[0], pictures(photos[2:])[0]], []):
        assert unlike(family.encode_prompts_beside([SHOTS[0].prompt], others), own) > 1e-3
    both = family.encode_prompts_beside([SHOTS[0].prompt, "a man"], shown)
    torch.testing.assert_close(both.embeds_BLD[:1], own.embeds_BLD)
    assert both.mask_BL is not None and (~both.mask_BL).sum() == len(SHOTS[0].prompt) - len("a man")
    assert unlike(family.encode_prompts(["a man"]), family.encode_prompts_beside(["a man"], [])) == 0.0


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_pictures_beside_photos_are_those_of_diffusers_own_pipeline(
    family: Any, plain: Any, photos: list[Path], adapter: Adapter, scale: float
) -> None:
    """With and without an adapter and guidance; every picture by itself, as the pipeline wants it."""

    def theirs(shown: Sequence[Path]) -> np.ndarray:
        guided: dict[str, Any] = {"negative_prompt": "blurred"} if scale > 1 else {}
        drawn = [
            plain(
                image=pictures(shown), prompt=shot.prompt, true_cfg_scale=scale, width=96, height=64,
                num_inference_steps=2, generator=torch.Generator().manual_seed(shot.seed), output_type="np",
                **guided,
            ).images
            for shot in SHOTS
        ]  # fmt: skip
        return np.concatenate(drawn)

    sampler = replace(SAMPLER, guidance_scale=scale, references=tuple(photos[:2]))
    for one in (None, adapter):
        plain.unload_lora_weights()
        if one is not None:
            plain.load_lora_weights(str(one.path.parent), weight_name=one.path.name, adapter_name="likeness")
        ours = draw(drawing.open_pipeline(family, one, sampler), SHOTS, sampler)
        assert np.abs(ours - theirs(photos[:2])).max() < 1e-5
        assert np.abs(ours - theirs(photos[1::-1])).max() > 1e-3
        if one is None:
            bare = ours
        else:
            assert np.abs(ours - bare).max() > 1e-3


def test_without_photos_qwen_image_draws_from_the_same_words(family: Any, plain: Any) -> None:
    """Two pictures in one batch, with guidance; an empty negative prompt is a space."""
    shots = [SHOTS[0], replace(SHOTS[1], negative_prompt="", prompt="a man")]
    sampler = replace(SAMPLER, guidance_scale=3.0)
    ours = draw(drawing.open_pipeline(family, None, sampler), shots, sampler)
    parts = {name: plain.components[name] for name in ("scheduler", "vae", "text_encoder", "tokenizer")}
    unseen = diffusers.QwenImagePipeline(**parts, transformer=plain.transformer)  # type: ignore[arg-type]
    unseen.set_progress_bar_config(disable=True)
    family.load("encoders")
    drawn: list[np.ndarray] = []
    for shot in shots:
        embeds, negative = (
            family.encode_prompts([text]).embeds_BLD for text in (shot.prompt, shot.negative_prompt or " ")
        )
        answer: Any = unseen(
            prompt_embeds=embeds, negative_prompt_embeds=negative, true_cfg_scale=3.0, width=96, height=64,
            num_inference_steps=2, generator=torch.Generator().manual_seed(shot.seed), output_type="np",
        )  # fmt: skip
        drawn.append(answer.images)
    assert np.abs(ours - np.concatenate(drawn)).max() < 1e-5


@torch.no_grad()
def straight(plain: Any, shot: Shot, photos: Sequence[Path], shown: int) -> np.ndarray:
    """One picture by straight lines from noise to 0; the photos are there during so many of two steps.

    Without them neither their places nor the words that were read beside them.
    """
    noise = torch.randn((1, 1, 4, 8, 12), generator=torch.Generator().manual_seed(shot.seed))
    here = plain._pack_latents(noise, 1, 4, 8, 12)
    resized: list[Image.Image] = []
    behind: list[Tensor] = []
    places: list[tuple[int, int, int]] = []
    for one in pictures(photos):
        width, height = edit_plus.calculate_dimensions(96 * 96, one.width / one.height)
        resized.append(one.resize((width, height), Image.Resampling.LANCZOS))
        width, height = edit_plus.calculate_dimensions(96 * 96, one.width / one.height)
        cut = np.asarray(one.resize((width, height), Image.Resampling.LANCZOS), dtype=np.float32)
        raw = plain.vae.encode(torch.from_numpy(cut / 127.5 - 1).permute(2, 0, 1)[None, :, None])
        mean, std = (
            torch.tensor(plain.vae.config[f"latents_{what}"]).view(1, -1, 1, 1, 1) for what in ("mean", "std")
        )
        latents = (raw.latent_dist.mode() - mean) / std
        behind.append(plain._pack_latents(latents, 1, 4, height // 8, width // 8))
        places.append((1, height // 16, width // 16))
    seen, _ = plain.encode_prompt([shot.prompt], image=resized, device=torch.device("cpu"))
    unseen, _ = plain.encode_prompt([shot.prompt], image=None, device=torch.device("cpu"))
    schedule = diffusers.FlowMatchEulerDiscreteScheduler.from_config(plain.scheduler.config)
    line = [
        schedule.config[k] for k in ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
    ]
    schedule.set_timesteps(sigmas=np.linspace(1.0, 0.5, 2), mu=edit_plus.calculate_shift(24, *line))
    for step in range(2):
        level, after = schedule.sigmas[step], schedule.sigmas[step + 1]
        beside = step < shown
        velocity = plain.transformer(
            hidden_states=torch.cat([here, *behind], 1) if beside else here,
            timestep=level.reshape(1),
            encoder_hidden_states=seen if beside else unseen,
            encoder_hidden_states_mask=None,
            img_shapes=[[(1, 4, 6), *(places if beside else [])]],
            return_dict=False,
        )[0][:, :24]
        here = here + (after - level) * velocity
    latents = plain._unpack_latents(here, 64, 96, 8)
    drawn = plain.vae.decode(latents * std + mean).sample[0, :, 0]
    return (drawn / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).numpy()


def test_photos_taken_away_early_are_gone_from_the_words_too(
    family: Any, plain: Any, photos: list[Path]
) -> None:
    """Also in the second picture of a batch, which begins with them again; with guidance the rest as well."""
    whole = replace(SAMPLER, references=tuple(photos[:2]))
    early = replace(whole, references_until=0.5)
    pipe, steps = drawing.open_pipeline(family, None, whole), list[int]()
    ours = draw(pipe, SHOTS, early, on_step=lambda: steps.append(1))
    for one, shot in zip(ours, SHOTS, strict=True):
        wanted, always = (straight(plain, shot, photos[:2], count) for count in (1, 2))
        assert np.abs(one - wanted).max() < 1e-5
        assert np.abs(one - always).max() > 1e-3
    assert len(steps) == 2 * SAMPLER.steps
    again = draw(pipe, SHOTS, whole)  # nothing is left of it
    assert np.abs(again[1] - straight(plain, SHOTS[1], photos[:2], 2)).max() < 1e-5
    guided = draw(pipe, SHOTS[:1], replace(early, guidance_scale=4.0))
    assert np.abs(guided - ours[:1]).max() > 1e-3


def test_a_photo_is_prepared_as_the_pipeline_does(
    family: Any, plain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """About 1024 × 1024 px, smaller ones made larger: what the pipeline hands to the VAE, to the bit."""

    class Prepared(Exception):
        pass

    def stop(images: list[Tensor], *_: object, **__: object) -> None:
        raise Prepared(images)

    random = np.random.default_rng(0)
    monkeypatch.setattr(edit_plus, "VAE_IMAGE_SIZE", 1024 * 1024)
    monkeypatch.setattr(plain, "prepare_latents", stop)
    sizes = ((64, 64), (70, 100), (1300, 1001), (1024, 1024))
    shown = [Image.fromarray(random.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes]
    with pytest.raises(Prepared) as stopped:
        plain(image=shown, prompt="a", height=64, width=64, num_inference_steps=1, true_cfg_scale=1.0)
    for one, theirs in zip(shown, stopped.value.args[0], strict=True):
        assert torch.equal(family.shown_pixels(one), theirs.squeeze(2))
    assert tuple(family.shown_pixels(shown[0]).shape[-2:]) == (1024, 1024)


def test_a_record_makes_the_picture_again_and_what_cannot_be_is_refused(
    family: Any, photos: list[Path], adapter: Adapter, tmp_path: Path
) -> None:
    shown = {SHOTS[0].name: photos[:2], SHOTS[1].name: photos[2:]}
    drawn = sample.generate(family, adapter, SHOTS, tmp_path, SAMPLER, references=shown)
    known: dict[str, Path] = {in_context.recorded(in_context.digests_of([p]))[0]: p for p in photos}
    find: Callable[[str], Path | None] = known.get
    for portrait in drawn:
        record = provenance.read_record(portrait.path)
        assert [known[one] for one in in_context.recorded(record)] == shown[portrait.shot.name]
        again = remake.remake(family, record, adapter, find)
        assert remake.compare(Image.open(portrait.path), again, record).same
    with pytest.raises(ConfigError, match="at most 3"):
        drawing.open_pipeline(family, None, replace(SAMPLER, references=tuple(photos * 2)))
    pipe, picture = family.pipeline(None), Image.new("RGB", (96, 64))
    with pytest.raises(InputError, match="no image-to-image"):
        drawing.from_picture(pipe, picture, SHOTS[0], SAMPLER, 0.3)
    with pytest.raises(InputError, match="no inpainting"):
        drawing.inside(pipe, picture, Image.new("L", (96, 64), 255), SHOTS[0], SAMPLER, 0.3)


def test_one_value_serves_every_prompt_and_a_list_each_its_own() -> None:
    assert each(None, 2) == [None, None] and each("a", 3) == ["a"] * 3
    assert each(("a", "b"), 2) == ["a", "b"]
