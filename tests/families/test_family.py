"""What the families share: conditions, schedules, packing, precision, and folders that cannot be used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import Flux2KleinPipeline, FluxPipeline
from tiny_families import FAMILIES, make_tiny

from portrait_lora.errors import InputError
from portrait_lora.families import open_family, packing
from portrait_lora.families.adapter_file import metadata
from portrait_lora.families.catalog import bases, resolve_base
from portrait_lora.families.family import Family, FlowSchedule, PromptCondition
from portrait_lora.records import Adapter, FamilyName
from portrait_lora.tasks.verify import base as verifying
from portrait_lora.tasks.verify.learning import levels, noise
from tests.test_help import run

Tiny = Callable[[FamilyName], Family]


def test_conditions_are_batched_with_padding_only_where_a_mask_marks_it() -> None:
    short = PromptCondition(torch.ones(1, 2, 3), torch.ones(1, 2, dtype=torch.bool), torch.ones(1, 5))
    long = PromptCondition(torch.ones(2, 4, 3), torch.ones(2, 4, dtype=torch.bool), torch.ones(2, 5))
    both = PromptCondition.batch([short, long])
    assert both.embeds_BLD.shape == (3, 4, 3) and both.pooled_BD is not None and both.mask_BL is not None
    assert both.mask_BL.tolist() == [[True, True, False, False], [True] * 4, [True] * 4]
    assert both.embeds_BLD[0, 2:].abs().sum() == 0 and both.pooled_BD.shape == (3, 5)
    with pytest.raises(ValueError, match="need a mask"):
        PromptCondition.batch([replace(short, mask_BL=None), replace(long, mask_BL=None)])


def test_the_shift_is_that_of_the_samplers(tiny: Tiny) -> None:
    """Beside the schedulers themselves: fixed, and growing with the picture."""
    assert tiny("sd35").schedule == FlowSchedule(3.0, None, 2)
    schedule = tiny("flux1").schedule
    assert isinstance(schedule, FlowSchedule)
    scheduler = FluxPipeline.from_pretrained(tiny("flux1").base.source).scheduler
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    for side in (32, 64, 128):
        mu = calculate_shift((side // 2) ** 2, 256, 4096, 0.5, 1.15)
        scheduler.set_timesteps(sigmas=[0.5], mu=mu)
        s = schedule.shift_for(side, side)
        assert float(scheduler.sigmas[0]) == pytest.approx(s * 0.5 / (1 + (s - 1) * 0.5), rel=1e-5)
    larger = tiny("flux2").schedule
    assert isinstance(larger, FlowSchedule)
    assert larger.shift_for(128, 128) > larger.shift_for(64, 64) > 1.0


def test_packing_is_that_of_diffusers_and_goes_back() -> None:
    latents = noise((2, 4, 6, 10))
    packed = packing.pack(latents)
    assert torch.equal(packed, FluxPipeline._pack_latents(latents, 2, 4, 6, 10))
    assert torch.equal(packing.patchify(latents), Flux2KleinPipeline._patchify_latents(latents))
    assert torch.equal(packing.unpack(packed, 6, 10), latents)
    places = FluxPipeline._prepare_latent_image_ids(2, 3, 5, "cpu", torch.float32)
    assert torch.equal(packing.positions(3, 5, torch.device("cpu")), places)


def test_large_bases_are_held_in_half_precision_on_a_gpu() -> None:
    named = {base.name: base for base in bases()}
    held = {
        (name, device): open_family(named[name], device).weights
        for name in ("embedded", "sd15", "sdxl", "z-image")
        for device in ("cpu", "cuda")
    }
    assert {k for k, v in held.items() if v == "bfloat16"} == {("sdxl", "cuda"), ("z-image", "cuda")}
    assert open_family(named["z-image"], "cuda", "nf4").weights == "nf4"


def test_every_row_of_the_catalogue_opens_as_its_family() -> None:
    assert {base.family for base in bases()} == set(FAMILIES)
    for base in bases():
        assert open_family(base).base is base


def test_quantised_weights_need_a_gpu(tiny: Tiny) -> None:
    family = tiny("flux1")
    family.weights = "nf4"
    try:
        with pytest.raises(InputError, match="nf4 weights need a CUDA device"):
            family.load("denoiser")
    finally:
        family.weights = "float32"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="bitsandbytes quantises on a GPU")
@pytest.mark.parametrize("weights", ["nf4", "int8"])
def test_a_quantised_denoiser_answers_nearly_the_same(tiny: Tiny, weights: str) -> None:
    family = open_family(tiny("flux1").base, "cuda")
    family.load("encoders")
    condition = family.encode_prompts(["a woman"])
    answers: list[torch.Tensor] = []
    for held in ("float32", weights):
        family.weights = held  # type: ignore[assignment]
        family.load("none")
        family.load("denoiser")
        noisy, level = noise((1, 4, 8, 8)).cuda(), levels(family, 0.5).cuda()
        with torch.no_grad():
            answers.append(family.predict(noisy, level, condition, []))
    kinds = {type(m).__name__ for m in family.denoiser.modules()}
    assert kinds & {"Linear4bit", "Linear8bitLt"}
    assert 0 < (answers[0] - answers[1]).norm() < 0.5 * answers[0].norm()


def test_a_folder_that_lacks_a_part_or_has_only_pickles_is_refused(tmp_path: Path) -> None:
    whole = make_tiny("z_image", tmp_path / "whole")
    opened = open_family(resolve_base(whole))
    lacking = Path(shutil.copytree(whole, tmp_path / "lacking"))
    shutil.rmtree(lacking / "transformer")
    with pytest.raises(InputError, match="no transformer"):
        resolve_base(lacking)
    for part, needed in (("transformer", "denoiser"), ("vae", "encoders"), ("text_encoder", "encoders")):
        pickled = Path(shutil.copytree(whole, tmp_path / f"pickled_{part}"))
        for file in (pickled / part).glob("*.safetensors"):
            torch.save({}, file.with_suffix(".bin"))
            file.unlink()
        with pytest.raises(InputError, match="run code"):
            resolve_base(pickled)
        # and should one come past the catalogue, the loaders themselves refuse it
        family = type(opened)(replace(opened.base, folder=pickled))  # type: ignore[call-arg]
        with pytest.raises(InputError, match="not on this machine"):
            family.load(needed)  # type: ignore[arg-type]


def test_sdxl_without_an_index_is_not_taken_for_sd15(tmp_path: Path) -> None:
    folder = make_tiny("sdxl", tmp_path / "base")
    (folder / "model_index.json").unlink()
    with pytest.raises(InputError, match="does not hold a base of this family"):
        open_family(resolve_base(folder))


@pytest.mark.parametrize(
    ("family", "base", "architecture"),
    [("sdxl", "sdxl", "stable-diffusion-xl-v1-base"), ("flux2", "flux2-klein-9b", "Flux.2-klein-9b"),
     ("z_image", "folder", "Z-Image")],
)  # fmt: skip
def test_headers_name_the_architecture(family: FamilyName, base: str, architecture: str) -> None:
    adapter = Adapter(Path("a"), family, base, "", 4, 4.0, (), "ohwx", "", "", 1)
    header = metadata(adapter, resolution_px=1024, prediction_type="velocity", licence="x")
    assert header["modelspec.architecture"] == f"{architecture}/lora"
    assert "modelspec.prediction_type" not in header


def test_the_command_for_users_with_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_tiny("sdxl", tmp_path / "base")
    options = ["--device", "cpu", "--size", "64", "--steps", "8", "--rate", "2e-2"]
    assert run("verify-base", folder, *options, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in summary["figures"]}
    assert (summary["family"], summary["weights"], summary["device"]) == ("sdxl", "float32", "cpu")
    assert rows["predict: relative error"]["met"] is summary["met"] is True
    assert rows["layers that went in"]["value"] == 1.0
    assert run("verify-base", tmp_path / "nothing") == 2


def test_a_figure_that_misses_its_target_is_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_tiny("sd15", tmp_path / "base")
    monkeypatch.setattr(verifying, "_TOLERANCE", dict.fromkeys(verifying._TOLERANCE, -1.0))
    assert run("verify-base", folder, "--device", "cpu", "--size", "64", "--steps", "2") == 1
    output = capsys.readouterr().out
    assert "sd15, float32 on cpu" in output and "MISSED" in output
