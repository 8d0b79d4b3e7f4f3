"""The table of base models: names, folders, and errors that help."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from portrait_lora.errors import InputError
from portrait_lora.families.catalog import BaseModel, bases, resolve_base, table
from portrait_lora.families.rows import row_of
from portrait_lora.families.sd15 import SD15


def test_a_typo_names_the_nearest_base() -> None:
    with pytest.raises(InputError, match="Did you mean 'sd15'") as caught:
        resolve_base("sd1.5")
    assert caught.value.exit_code == 2


def test_names_are_unique_and_one_base_is_synthetic() -> None:
    assert len({b.name for b in bases()}) == len(bases())
    assert [b.name for b in bases() if b.synthetic] == ["embedded"]


def test_a_folder_is_a_base_with_its_own_resolution_and_digest(tiny_folder: Path, tmp_path: Path) -> None:
    base = resolve_base(tiny_folder)
    assert (base.family, base.resolution_px, base.licence) == ("sd15", 64, "unknown")
    copy = shutil.copytree(tiny_folder, tmp_path / "copy")
    assert resolve_base(copy).digest == base.digest
    config = copy / "scheduler/scheduler_config.json"
    config.write_text(config.read_text().replace("v_prediction", "epsilon"))
    assert resolve_base(copy).digest != base.digest


def test_an_incomplete_folder_names_what_is_missing(tiny_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_folder, tmp_path / "copy")
    shutil.rmtree(copy / "vae")
    with pytest.raises(InputError, match="no vae"):
        resolve_base(copy)


def test_weights_that_are_not_here_are_an_input_error_with_the_command(tmp_path: Path) -> None:
    family = SD15(resolve_base("sd15"))
    with pytest.raises(InputError, match="portrait-lora pull sd15"):
        family.load("denoiser")


@pytest.mark.parametrize("base", bases(), ids=lambda b: b.name)
def test_every_row_has_a_family_a_recipe_and_its_facts(base: BaseModel) -> None:
    from portrait_lora import config

    assert base in row_of(base.family).bases
    settings = config.load(None, [f"base={base.name}"])
    assert settings.base == base.name and (config.configs_dir() / base.recipe).is_file()
    assert settings.generate.num_inference_steps == base.steps
    assert settings.generate.guidance_scale == base.guidance_scale
    assert base.synthetic or {"download_gb", "generate_memory_gb"} <= set(base.unverified)
    assert base.synthetic or (base.encoders_b and base.parameters_b and base.download_gb)
    assert len(base.repos) == (
        0 if base.folder else len({base.repo, base.generate_repo, base.text_repo} - {""})
    )


def test_the_commit_of_a_text_encoder_of_others_belongs_to_the_identity_of_a_base() -> None:
    hidream, sdxl = (next(b for b in bases() if b.name == name) for name in ("hidream-i1", "sdxl"))
    assert replace(hidream, text_revision="0" * 40).digest != hidream.digest
    assert replace(sdxl, text_revision="0" * 40).digest == sdxl.digest


def test_the_rows_that_the_issue_names_are_there() -> None:
    names = {b.name for b in bases()}
    assert names >= {"sd15", "sdxl", "sd35-medium", "sd35-large", "flux1-dev", "flux1-schnell", "z-image"}
    assert names >= {"flux2-klein-4b", "flux2-klein-4b-base", "flux2-klein-9b", "flux2-klein-9b-base"}
    assert names >= {"flux2-dev", "z-image-turbo", "qwen-image"}
    assert [set(row) for row in table()] == [set(table()[0])] * len(bases())


def test_the_error_for_a_single_file_says_how_to_convert_it(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(InputError, match="portrait-lora convert"):
        resolve_base(tmp_path / "model.safetensors")


def test_the_table_needs_no_torch() -> None:
    code = (
        "import sys; from portrait_lora.families import adapter_file, catalog\nprint('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
