"""Few steps by distillation: what a preset sets, whom it fits, and its LoRA beside the identity.

The accelerator is a tiny random LoRA in the place of the published ones.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import diffusers
import numpy as np
import pytest
from PIL import Image

from portrait_lora import provenance
from portrait_lora.config import GenerateConfig
from portrait_lora.errors import ConfigError, InputError
from portrait_lora.families import open_family
from portrait_lora.families.catalog import resolve_base
from portrait_lora.families.sd15 import SD15
from portrait_lora.generation import presets, remake
from portrait_lora.generation.drawing import Sampler, StyleAdapter, open_pipeline
from portrait_lora.generation.lint import ignored_negative
from portrait_lora.generation.sample import generate
from portrait_lora.generation.schedulers import SCHEDULERS
from portrait_lora.likeness import open_likeness
from portrait_lora.records import Adapter, Shot
from portrait_lora.stages.context import Context
from portrait_lora.stages.sampling import later, sampler_of
from tests.recipes import sampler as make_sampler
from tests.recipes import train_with
from tests.tiny_families import make_tiny
from tests.tiny_models import make_crops


@pytest.fixture(scope="module")
def accelerator(tiny_sd15: SD15, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("accelerator")
    result = train_with(
        tiny_sd15, make_crops(folder / "crops"), folder / "run", rank=2, alpha=2.0,
        targets="attention", learning_rate=5e-2, batch_size=2, steps=2, seed=3,
    )  # fmt: skip
    return result.checkpoints[-1].path


def _config(accelerator: Path, **more: object) -> GenerateConfig:
    return GenerateConfig.model_validate({"preset": "hyper-sd15-4", "accelerator": str(accelerator), **more})


def test_a_preset_decides_scheduler_steps_guidance_and_lora(
    tiny_sd15: SD15, adapter: Adapter, shots: list[Shot], tmp_path: Path, accelerator: Path
) -> None:
    sampler = sampler_of(_config(accelerator))
    assert (sampler.steps, sampler.guidance_scale, sampler.scheduler) == (4, 1.0, "ddim")
    pipe = open_pipeline(tiny_sd15, adapter, sampler)
    assert isinstance(pipe.scheduler, diffusers.DDIMScheduler)
    assert pipe.scheduler.config["timestep_spacing"] == "trailing"
    assert set(pipe.get_active_adapters()) == {"likeness", "accelerator"}

    def draw(name: str, own: Sampler) -> Path:
        return generate(tiny_sd15, adapter, shots[:2], tmp_path / name, own, batch_size=2)[1].path

    accelerated, none = draw("made", sampler), draw("none", replace(sampler, accelerator=None))
    weak = draw("weak", sampler_of(_config(accelerator, accelerator_scale=0.2)))
    far = [
        float(np.abs(np.asarray(Image.open(p), float) - np.asarray(Image.open(none), float)).mean())
        for p in (weak, accelerated)
    ]
    assert 0 < far[0] < far[1]
    recipe = provenance.read_record(accelerated)
    assert recipe["preset"] == "hyper-sd15-4" and recipe["num_inference_steps"] == 4
    assert recipe["scheduler_arguments"] == {"timestep_spacing": "trailing"}
    again = remake.remake(tiny_sd15, recipe, adapter, lambda digest: accelerator)
    assert remake.compare(Image.open(accelerated), again, recipe).same
    with pytest.raises(InputError, match="accelerator=FILE"):
        remake.remake(tiny_sd15, recipe, adapter, lambda digest: None)


def test_the_lcm_scheduler_can_be_had_by_name(tiny_sd15: SD15, accelerator: Path) -> None:
    sampler = sampler_of(_config(accelerator, preset="lcm-sd15"))
    assert isinstance(open_pipeline(tiny_sd15, None, sampler).scheduler, diffusers.LCMScheduler)


def test_the_family_s_own_scheduler_set_otherwise(tmp_path: Path, shots: list[Shot]) -> None:
    preset = presets.preset("lightning-qwen-8")
    family = open_family(resolve_base(make_tiny("qwen_image", tmp_path / "base")))
    own = make_sampler(2, preset.guidance_scale)
    quick = replace(own, preset=preset.name, scheduler_arguments=preset.arguments)
    config = open_pipeline(family, None, quick).scheduler.config
    assert config["base_shift"] == config["max_shift"] == pytest.approx(np.log(3))
    assert open_pipeline(family, None, own).scheduler.config["max_shift"] == 0.9
    paths = [
        generate(family, None, shots[:1], tmp_path / n, s)[0].path for n, s in (("a", own), ("b", quick))
    ]
    assert paths[0].read_bytes() != paths[1].read_bytes()
    recipe = provenance.read_record(paths[1])
    assert remake.compare(
        Image.open(paths[1]), remake.remake(family, recipe, None, lambda d: None), recipe
    ).same


def test_unknown_and_unfitting_presets_are_refused(
    tiny_sd15: SD15, adapter: Adapter, accelerator: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'lcm-sdxl'"):
        sampler_of(_config(accelerator, preset="lcm-sdx"))
    with pytest.raises(ConfigError, match="Known: lcm-sd15"):
        presets.preset("quick")
    with pytest.raises(ConfigError, match=r"another family.*needed lcm-sd15, hyper-sd15-4, hyper-sd15-8"):
        open_pipeline(tiny_sd15, adapter, sampler_of(_config(accelerator, preset="lcm-sdxl")))
    with pytest.raises(ConfigError, match="no preset for this family"):
        presets.fitting("lcm-sdxl", "z_image")
    with pytest.raises(ConfigError, match="without a preset"):
        sampler_of(GenerateConfig(accelerator=str(accelerator)))
    with pytest.raises(InputError, match=r"hf download ByteDance/Hyper-SD Hyper-SD15-4steps-lora"):
        sampler_of(GenerateConfig(preset="hyper-sd15-4"))
    (tmp_path / "a.bin").write_bytes(b"x")
    with pytest.raises(InputError, match="pickled"):
        sampler_of(_config(tmp_path / "a.bin"))
    (tmp_path / "a.safetensors").write_bytes(b"x" * 16)
    broken = StyleAdapter(tmp_path / "a.safetensors", 0.6)
    with pytest.raises(InputError, match="accelerator adapter does not fit"):
        open_pipeline(tiny_sd15, adapter, replace(make_sampler(2, 1.0), accelerator=broken))


def test_a_misfit_is_reported_before_anything_is_computed(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "likeness.yaml").write_text("base: embedded\n")
    ctx = Context(open_likeness(tmp_path, ["generate.preset=lcm-sdxl"]))
    with pytest.raises(ConfigError, match="another family"):
        _ = ctx.base
    assert Context(open_likeness(tmp_path, ["generate.preset=lcm-sd15"])).base.family == "sd15"


def test_the_table_is_sound() -> None:
    for name, preset in presets.PRESETS.items():
        assert name == preset.name and preset.family.removesuffix("_image") in name
        assert preset.accelerator.endswith(".safetensors") and preset.accelerator.count("/") == 2
        assert not preset.scheduler or preset.scheduler in SCHEDULERS
        assert preset.steps <= 16 and (preset.guidance_scale == 1 or preset.family == "flux1")


def test_what_is_not_set_leaves_digests_as_they_were(accelerator: Path) -> None:
    assert later(GenerateConfig(reframe=True)) == {}
    assert later(_config(accelerator)).keys() == {"preset", "accelerator"}
    drawn = GenerateConfig(weights="bfloat16", identity_late_scale=1.5)
    assert later(drawn) == {"weights": "bfloat16", "identity_late_scale": 1.5}


def test_an_ignored_negative_prompt_is_reported() -> None:
    remark = ignored_negative("hats", 1.0, "sdxl")
    assert remark is not None and "'hats'" in remark.problem and "guidance above 1" in remark.instead
    assert ignored_negative("hats", 3.5, "flux1") is not None
    assert ignored_negative("hats", 5.0, "sdxl") is None and ignored_negative("", 1.0, "sdxl") is None
