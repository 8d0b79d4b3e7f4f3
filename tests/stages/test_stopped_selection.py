"""A selection that was stopped between the adapter files and their record goes on without a second copy."""

from __future__ import annotations

from pathlib import Path

from portrait_lora.families.adapter_file import read_adapter
from portrait_lora.stages import successor
from portrait_lora.stages.context import ADAPTER, ADAPTER_COMFY
from portrait_lora.training import adapter as lora
from tests.tasks.made_up import make_likeness


def test_only_files_that_no_checkpoint_explains_get_another_name(tmp_path: Path) -> None:
    mine, other = (
        read_adapter(make_likeness(tmp_path / name, seed=seed) / "adapters/main" / ADAPTER)
        for seed, name in enumerate(("anna", "bea"))
    )
    folder = tmp_path / "run"
    folder.mkdir()
    lora.export_diffusers(mine, folder / ADAPTER)
    lora.export_kohya(mine, folder / ADAPTER_COMFY)
    successor.keep_foreign(folder, [other, mine])
    assert sorted(p.name for p in folder.iterdir()) == [ADAPTER, ADAPTER_COMFY]
    successor.keep_foreign(folder, [other])
    assert sorted(p.name for p in folder.iterdir()) == [f"{ADAPTER}.kept-1", f"{ADAPTER_COMFY}.kept-1"]
