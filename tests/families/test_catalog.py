"""The table of base models: names, folders, and errors that help."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from portrait_lora.errors import InputError
from portrait_lora.families.catalog import BASES, resolve_base
from portrait_lora.families.sd15 import SD15


def test_a_typo_names_the_nearest_base() -> None:
    with pytest.raises(InputError, match="Did you mean 'sd15'") as caught:
        resolve_base("sd1.5")
    assert caught.value.exit_code == 2


def test_names_are_unique_and_one_base_is_synthetic() -> None:
    assert len({b.name for b in BASES}) == len(BASES)
    assert [b.name for b in BASES if b.synthetic] == ["embedded"]


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
    with pytest.raises(InputError, match="hf download stable-diffusion-v1-5/"):
        family.load("denoiser")


def test_the_table_needs_no_torch() -> None:
    code = (
        "import sys; from portrait_lora.families import adapter_file, catalog\nprint('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
