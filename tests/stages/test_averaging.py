"""The average of checkpoints is that of what they change, not of their factors."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from portrait_lora.errors import InputError
from portrait_lora.evaluation.checkpoint_choice import CheckpointScore
from portrait_lora.families.adapter_file import read_adapter
from portrait_lora.records import Adapter
from portrait_lora.stages import averaging
from portrait_lora.training.adapter import adapter_bytes

LINEAR, CONV = "unet.attn.to_q", "unet.conv"


def lora(seed: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {
        f"{LINEAR}.lora_A.weight": torch.randn(4, 6, generator=draw),
        f"{LINEAR}.lora_B.weight": torch.randn(5, 4, generator=draw),
        f"{CONV}.lora_A.weight": torch.randn(4, 3, 3, 3, generator=draw),
        f"{CONV}.lora_B.weight": torch.randn(5, 4, 1, 1, generator=draw),
    }


def change(state: dict[str, torch.Tensor], layer: str) -> torch.Tensor:
    down, up = state[f"{layer}.lora_A.weight"], state[f"{layer}.lora_B.weight"]
    return up.flatten(1) @ down.flatten(1)


@pytest.mark.parametrize("layer", [LINEAR, CONV])
def test_it_is_the_mean_of_the_products(layer: str):
    states = [lora(seed) for seed in range(3)]
    mean = averaging.mean_of_products(states)
    wanted = torch.stack([change(state, layer) for state in states]).mean(0)
    torch.testing.assert_close(change(mean, layer), wanted, atol=1e-5, rtol=1e-5)
    factors = {key: torch.stack([s[key] for s in states]).mean(0) for key in states[0]}
    assert not torch.allclose(change(factors, layer), wanted, atol=0.1)
    assert mean[f"{layer}.lora_A.weight"].shape[0] == 12


def test_what_has_no_product_is_refused():
    dora = lora(0) | {f"{LINEAR}.lora_magnitude_vector": torch.ones(5)}
    with pytest.raises(InputError, match="magnitude"):
        averaging.mean_of_products([dora, dora])
    fewer = {key: value for key, value in lora(1).items() if LINEAR in key}
    with pytest.raises(InputError, match="cannot be averaged"):
        averaging.mean_of_products([lora(0), fewer])


BASE: Any = SimpleNamespace(resolution_px=64, licence="Apache-2.0")


class Journey:
    """As much of a context as averaging asks for, with three checkpoints on disk."""

    def __init__(self, place: Path) -> None:
        self.config = SimpleNamespace(select=SimpleNamespace(copy_limit=0.15))
        self.run_folder = place
        self.base = BASE
        self.family = SimpleNamespace(schedule=SimpleNamespace(prediction_type="v_prediction"))
        self.adapters = [self.written(place / f"{step}.safetensors", step) for step in (100, 200, 300)]

    def written(self, path: Path, step: int) -> Adapter:
        adapter = Adapter(path, "sd15", "tiny", "d", 4, 4.0, ("to_q",), "ohwx", "s", "c", step)
        path.write_bytes(adapter_bytes(lora(step), adapter, BASE, "v_prediction"))
        return adapter


class Probes:
    """Gives the average a fixed score."""

    def __init__(self, mean: float, copy_score: float = 0.0) -> None:
        self.row = CheckpointScore(300, mean, 1.0, 2, (mean, mean), copy_score, 0.9)

    def score(self, adapter: Adapter, name: str) -> CheckpointScore:
        assert name == averaging.FOLDER and adapter.path.is_file()
        return self.row


def table(*means: float) -> list[CheckpointScore]:
    return [
        CheckpointScore(100 * i, m, 1.0, 2, (m - 0.05 * i, m + 0.05 * i), 0.0, 0.9)
        for i, m in enumerate(means, 1)
    ]


@pytest.mark.parametrize(("mean", "copied", "kept"), [(0.6, 0.0, True), (0.4, 0.0, False), (0.6, 0.5, False)])
def test_it_is_kept_only_where_its_probes_are_better(tmp_path: Path, mean: float, copied: float, kept: bool):
    ctx: Any = Journey(tmp_path)
    probes: Any = Probes(mean, copied)
    chosen, summary = averaging.better_average(ctx, probes, table(0.1, 0.49, 0.5), ctx.adapters[1])
    assert summary.steps == (200, 300) and summary.kept is kept
    assert (chosen.path.parent.name == averaging.FOLDER) is kept
    averaged = read_adapter(tmp_path / averaging.FOLDER / "adapter.safetensors")
    assert (averaged.rank, averaged.alpha, averaged.step) == (8, 8.0, 300)
    wanted = (change(lora(200), LINEAR) + change(lora(300), LINEAR)) / 2
    torch.testing.assert_close(change(load_file(averaged.path), LINEAR), wanted, atol=1e-5, rtol=1e-5)


def test_one_good_checkpoint_is_no_average(tmp_path: Path):
    ctx: Any = Journey(tmp_path)
    chosen, summary = averaging.better_average(ctx, Probes(0.9), table(0.1, 0.2, 0.9), ctx.adapters[2])  # type: ignore[arg-type]
    assert chosen is ctx.adapters[2] and summary.json_value() == {"steps": [300], "kept": False}
