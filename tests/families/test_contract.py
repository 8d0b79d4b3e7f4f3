"""The contract of docs/architecture.md, held by every family on a tiny random base, without the network."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as edit_plus
from safetensors.torch import save_file
from tiny_families import CHANNELS, FAMILIES
from torch import Tensor, nn

from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.families.adapter_file import lora_layers
from portrait_lora.families.family import Family, FlowSchedule, Geometry, PromptCondition
from portrait_lora.families.parts import injected
from portrait_lora.families.rows import row_of
from portrait_lora.records import FamilyName
from portrait_lora.tasks.verify.learning import (
    Exercise,
    add_lora,
    beside,
    levels,
    noise,
    photos_for,
    write_adapter,
)
from portrait_lora.tasks.verify.reference import observe, plain_pipeline

Tiny = Callable[[FamilyName], Family]
PROMPTS = ["frontal headshot of ohwx woman, smiling", "ohwx woman"]
OWN_STEPS = ("sd35", "flux2")
"""Their pipelines shift three steps in another way than many, or space them in another way."""
WITHOUT_SPREAD = ("sana",)
"""Their VAE gives the same latents for a picture every time."""
WIDE = Geometry((600, 400), (30, 20), (96, 64))

pytestmark = pytest.mark.parametrize("name", FAMILIES)


def wide_noise(family: Family, count: int, seed: int = 0) -> Tensor:
    """For pictures of 96 × 64 px."""
    return noise((count, CHANNELS, 64 // family.latent_px, 96 // family.latent_px), seed)


def opaque(picture_BCHW: Tensor) -> Tensor:
    """RGB as it is; RGBA in [-1, 1] on white, by the equation of compositing."""
    if picture_BCHW.shape[1] == 3:
        return picture_BCHW
    colour, alpha = picture_BCHW[:, :3], (picture_BCHW[:, 3:] + 1) / 2
    return alpha * colour + (1 - alpha) * 1.0


_ENCODED: dict[tuple[str, ...], PromptCondition] = {}


def encoded(family: Family, prompts: list[str]) -> PromptCondition:
    """The condition of these prompts, which is the same whenever they are encoded: once for each base."""
    key = (str(family.base.source), *prompts)
    if key not in _ENCODED:
        family.load("encoders")
        _ENCODED[key] = family.encode_prompts(prompts)
    return _ENCODED[key]


@pytest.fixture
def fresh(tiny: Tiny, name: FamilyName, monkeypatch: pytest.MonkeyPatch) -> Iterator[Family]:
    """The family with nothing loaded, before and after; photos are shown in 96 × 96 px, not 1024."""
    monkeypatch.setattr(edit_plus, "VAE_IMAGE_SIZE", 96 * 96)
    family = tiny(name)
    family.load("none")
    yield family
    family.load("none")


def test_shapes_and_parts_are_as_stated(fresh: Family, name: FamilyName) -> None:
    condition = encoded(fresh, ["", *PROMPTS])
    fresh.load("encoders")
    moments = fresh.encode_pixels(torch.rand(1, 3, 96, 64) * 2 - 1)
    assert condition.embeds_BLD.shape[0] == 3 and torch.isfinite(condition.embeds_BLD).all()
    if condition.mask_BL is not None:
        assert condition.mask_BL.shape == condition.embeds_BLD.shape[:2]
        assert condition.mask_BL.dtype == torch.bool and condition.mask_BL.any(dim=1).all()
    rows, columns = 96 // fresh.latent_px, 64 // fresh.latent_px
    assert moments.mean_BCHW.shape == moments.std_BCHW.shape == (1, CHANNELS, rows, columns)
    assert (moments.std_BCHW == 0).all() if name in WITHOUT_SPREAD else (moments.std_BCHW > 0).all()
    assert fresh.to_model_space(moments.mean_BCHW).shape == moments.mean_BCHW.shape
    with pytest.raises(RuntimeError, match="denoiser"):
        _ = fresh.denoiser
    with pytest.raises(InputError, match=f"multiples of {fresh.multiple_px}"):
        fresh.encode_pixels(torch.zeros(1, 3, 96, 68))
    fresh.load("denoiser")
    assert isinstance(fresh, Family)
    with pytest.raises(RuntimeError, match="encoders"):
        fresh.encode_prompts(PROMPTS)
    assert not any(p.requires_grad for p in fresh.denoiser.parameters())


def test_predict_and_model_space_are_those_of_the_pipeline(fresh: Family, name: FamilyName) -> None:
    start = wide_noise(fresh, 1)
    pipe = plain_pipeline(fresh.base.source)
    photos = photos_for(fresh)
    seen = observe(pipe, PROMPTS[:1], start, row_of(name).unguided, fresh.latent_px, photos)
    fresh.load("encoders")
    condition = beside(fresh, PROMPTS[:1], photos)
    fresh.load("denoiser")
    flow = isinstance(fresh.schedule, FlowSchedule)
    level = seen.timestep.float() / 1000 if flow else seen.timestep
    sizes = Geometry((96, 64), (0, 0), (96, 64))  # what a pipeline says of its own pictures
    with torch.no_grad():
        answer = fresh.predict(seen.noisy, level.reshape(1), condition, [sizes])
    torch.testing.assert_close(answer, seen.answer.float(), atol=2e-5, rtol=1e-4)
    if isinstance(fresh.schedule, FlowSchedule):
        torch.testing.assert_close(seen.noisy, start)
        if name not in OWN_STEPS:
            s, plain = fresh.schedule.shift_for(*start.shape[-2:]), torch.tensor([1.0, 2 / 3, 1 / 3])
            shifted = s * plain / (1 + (s - 1) * plain)
            torch.testing.assert_close(seen.timesteps / 1000, shifted, atol=2e-3, rtol=0.0)
    torch.testing.assert_close(fresh.to_model_space(seen.decoded), seen.drawn, atol=1e-5, rtol=1e-4)
    latents = seen.drawn.float().requires_grad_(True)
    picture = fresh.open_decoder()(latents)
    frames = "temperal_downsample" in pipe.vae.config
    theirs = pipe.vae.decode(seen.decoded.unsqueeze(2) if frames else seen.decoded).sample
    theirs = opaque(theirs.squeeze(2) if frames else theirs)
    torch.testing.assert_close(picture, theirs, atol=1e-4, rtol=1e-3)
    picture.square().sum().backward()
    assert latents.grad is not None and latents.grad.abs().sum() > 0


def test_a_batch_is_its_rows_and_every_input_matters(fresh: Family, name: FamilyName) -> None:
    """Two prompts of different length at two noise levels; then each input changed alone."""
    condition = encoded(fresh, PROMPTS)
    rows = [encoded(fresh, [prompt]) for prompt in PROMPTS]
    fresh.load("denoiser")
    noisy, level = wide_noise(fresh, 2), levels(fresh, 0.3, 0.8)
    with torch.no_grad():
        both = fresh.predict(noisy, level, condition, [WIDE] * 2)
        again = fresh.predict(noisy, level, PromptCondition.batch(rows), [WIDE] * 2)
        single = [fresh.predict(noisy[i : i + 1], level[i : i + 1], rows[i], [WIDE]) for i in (0, 1)]
        changed = {
            "noise": fresh.predict(wide_noise(fresh, 2, seed=1), level, condition, [WIDE] * 2),
            "level": fresh.predict(noisy, level.flip(0), condition, [WIDE] * 2),
            "prompt": fresh.predict(noisy, level, PromptCondition.batch(rows[::-1]), [WIDE] * 2),
        }
    torch.testing.assert_close(both, torch.cat(single), atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(again, both, atol=2e-5, rtol=1e-4)
    assert both.shape == noisy.shape and both.dtype == torch.float32
    assert [what for what, answer in changed.items() if (answer - both).abs().max() < 1e-5] == []


def test_half_precision_answers_nearly_the_same(fresh: Family, name: FamilyName) -> None:
    condition = encoded(fresh, PROMPTS[:1])
    answers: list[Tensor] = []
    try:
        for weights in ("float32", "bfloat16"):
            fresh.weights = weights
            fresh.load("none")
            fresh.load("denoiser")
            with torch.no_grad():
                answers.append(fresh.predict(wide_noise(fresh, 1), levels(fresh, 0.5), condition, [WIDE]))
        assert next(fresh.denoiser.parameters()).dtype == torch.bfloat16
    finally:
        fresh.weights = "float32"
    assert answers[1].dtype == torch.float32
    assert 0 < (answers[0] - answers[1]).norm() < 0.1 * answers[0].norm()


def test_an_adapter_learns_two_pictures_and_is_exported_whole(
    fresh: Family, name: FamilyName, tmp_path: Path
) -> None:
    """Only the adapter has gradients; the loss falls; our pipeline and diffusers alone load every layer."""
    exercise = Exercise(fresh, PROMPTS, (96, 64))
    with torch.no_grad():
        bare = float(exercise.loss())
    parameters = add_lora(fresh, fresh.lora_layers.everything)
    losses = exercise.learn(parameters, steps=12, rate=2e-2)
    assert losses[0] == pytest.approx(bare, rel=1e-4)
    assert losses[-1] < 0.95 * losses[0]
    with torch.no_grad():
        trained = exercise.answer()
    adapter = write_adapter(fresh, tmp_path / "adapter.safetensors")
    count = injected(fresh.denoiser)
    assert count == lora_layers(adapter.path) > 4
    plain = plain_pipeline(fresh.base.source)
    plain.load_lora_weights(str(tmp_path), weight_name="adapter.safetensors", adapter_name="likeness")
    for pipe in (fresh.pipeline(adapter), plain):
        denoiser: Any = getattr(pipe, fresh.denoiser_name)
        assert injected(denoiser) == count
        fresh.denoiser = denoiser
        with torch.no_grad():
            torch.testing.assert_close(exercise.answer(), trained, atol=1e-4, rtol=1e-3)
    fresh.denoiser = getattr(fresh.pipeline(None), fresh.denoiser_name)
    with torch.no_grad():
        assert float(exercise.loss()) == pytest.approx(bare, rel=1e-4)


def test_layers_named_for_adapters_exist_inside_blocks(fresh: Family, name: FamilyName) -> None:
    """Every ending names layers and nothing else, none at the entrance or exit of the denoiser."""
    fresh.load("denoiser")
    modules = dict(fresh.denoiser.named_modules())
    layers = {n for n, m in modules.items() if isinstance(m, nn.Linear | nn.Conv2d)}
    named = fresh.lora_layers
    assert set(named.attention) < set(named.everything)
    for ending in named.everything:
        hit = {n for n in modules if n == ending or n.endswith(f".{ending}")}
        assert hit and hit <= layers, ending
        assert all("." in n.removesuffix(ending) for n in hit), ending
    for block in named.identity_blocks if name != "sdxl" else ():  # the tiny UNet has fewer blocks
        assert any(n.startswith(f"{block}.") for n in layers)


def test_pipelines_speak_one_language(fresh: Family, name: FamilyName) -> None:
    """What `generation` asks, where the signature has it; a guidance of 1 is none, more is seen."""
    pipe: Any = fresh.pipeline(None)
    taken = inspect.signature(pipe.__call__).parameters

    def draw(scale: float) -> Tensor:
        arguments = {
            "prompt": list(PROMPTS),
            "negative_prompt": ["", "blurred"],
            "width": 96,
            "height": 64,
            "num_inference_steps": 2,
            "guidance_scale": scale,
            "generator": [torch.Generator().manual_seed(i) for i in range(2)],
            "output_type": "pt",
        }
        return pipe(**{key: value for key, value in arguments.items() if key in taken}).images

    with torch.no_grad():
        none, some = draw(1.0), draw(4.0)
    assert none.shape == (2, 3, 64, 96)
    assert (none - some).abs().max() > 1e-4


def test_other_families_and_foreign_files_are_refused(
    fresh: Family, name: FamilyName, tmp_path: Path
) -> None:
    other = next(one for one in FAMILIES if one != name)
    with pytest.raises(InputError, match="does not hold a base of this family"):
        type(fresh)(replace(fresh.base, family=other))
    fresh.load("denoiser")
    add_lora(fresh, fresh.lora_layers.attention)
    adapter = write_adapter(fresh, tmp_path / "adapter.safetensors")
    with pytest.raises(InputError, match="another family"):
        fresh.pipeline(replace(adapter, family=other))
    foreign = {f"{fresh.denoiser_name}.no.such.lora_{k}.weight": torch.zeros(4, 4) for k in "AB"}
    save_file(foreign, tmp_path / "foreign.safetensors")
    with pytest.raises(ArtifactError, match=r"foreign\.safetensors"):
        fresh.pipeline(replace(adapter, path=tmp_path / "foreign.safetensors"))
