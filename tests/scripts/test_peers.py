"""The straight-line trainers that ours is compared with: every layer of their files goes into the base."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from portrait_lora.families.lora_loading import load_lora
from scripts.bench import straight
from scripts.bench.peers import Cell, rows_of
from tests.tiny_models import make_crops, tiny_folder  # noqa: F401 - fixtures


@pytest.mark.parametrize("peer", ["diffusers", "kohya"])
def test_a_file_that_anybody_loads(peer: straight.Peer, tiny_folder: Path, tmp_path: Path) -> None:  # noqa: F811
    crops = [(c.path, c.caption) for c in make_crops(tmp_path / "crops")]
    straight.train(peer, tiny_folder, crops, 2, 3, tmp_path / "out")
    layers = load_file(tmp_path / "out" / straight.FILE)
    ups = [t for name, t in layers.items() if "lora_B" in name or ".up." in name]
    assert ups and all(float(t.abs().max()) > 0 for t in ups)
    pipe = StableDiffusionPipeline.from_pretrained(tiny_folder, safety_checker=None)
    assert load_lora(pipe, tmp_path / "out" / straight.FILE, "peer") == len(ups)
    straight.train(peer, tiny_folder, crops, 2, 3, tmp_path / "again")
    again = load_file(tmp_path / "again" / straight.FILE)
    assert all(torch.equal(layers[n], again[n]) for n in layers)


def test_differences_are_paired_and_noise_is_between_trainings() -> None:
    cells = [
        Cell(seed, trainer, training, dict.fromkeys(("plainly", "guided"), (level, level + 0.1)))
        for seed, trainer, training, level in (
            (1, "ours", 0, 0.5), (1, "ours", 1, 0.7), (1, "kohya", 0, 0.4), (1, "kohya", 1, 0.4),
            (2, "ours", 0, 0.6), (2, "ours", 1, 0.6), (2, "kohya", 0, 0.5), (2, "kohya", 1, 0.5),
        )
    ]  # fmt: skip
    rows = {row.name: row.value for row in rows_of(cells)}
    assert rows["ours, plainly"] == pytest.approx(0.65)
    assert rows["ours minus kohya, plainly"] == pytest.approx(0.15)
    assert rows["kohya, guided: one training beside another"] == pytest.approx(0.0)
    assert rows["ours, guided: one training beside another"] == pytest.approx(0.1)
