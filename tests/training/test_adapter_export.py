"""What is exported is what was trained: diffusers loads it without our code, at the right strength."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from tiny_models import make_crops

from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.families.adapter_file import lora_layers, read_adapter, read_header
from portrait_lora.families.family import PromptCondition
from portrait_lora.families.sd15 import SD15
from portrait_lora.records import TrainResult
from portrait_lora.training import adapter as lora
from tests.recipes import train_with


@pytest.fixture(scope="module")
def trained(tiny_sd15: SD15, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """rank 4, alpha 2: a loader that forgets the scale applies double strength."""
    folder = tmp_path_factory.mktemp("run")
    return train_with(
        tiny_sd15, make_crops(folder / "crops"), folder / "run", rank=4, alpha=2.0,
        targets="attention_and_conv", learning_rate=5e-2, batch_size=2, steps=4, seed=3,
    )  # fmt: skip


def _inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(1, 4, 8, 8, generator=generator),
        torch.tensor([500]),
        torch.randn(1, 32, 32, generator=generator),
    )


def _plain_pipeline(folder: Path) -> StableDiffusionPipeline:
    return StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, requires_safety_checker=False)


@pytest.mark.parametrize("layout", ["diffusers", "kohya"])
def test_diffusers_alone_gives_the_trained_model(
    trained: TrainResult, tiny_sd15: SD15, tiny_folder: Path, tmp_path: Path, layout: str
) -> None:
    source = trained.checkpoints[-1]
    path = tmp_path / "adapter.safetensors"
    if layout == "diffusers":
        assert lora.export_diffusers(source, path).step == 4
    else:
        lora.export_kohya(source, path)
    noisy, level, embeds = _inputs()
    raw = {
        k.removeprefix("param/"): v
        for k, v in load_file(source.path.parent / "optimizer.safetensors").items()
    }
    tiny_sd15.load("none")
    tiny_sd15.load("denoiser")
    parameters = lora.add_adapter(
        tiny_sd15.denoiser, rank=4, alpha=2.0, target_modules=tiny_sd15.lora_layers.everything, seed=0
    )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(raw[name])
        trained_answer = tiny_sd15.predict(noisy, level, PromptCondition(embeds), [])
        pipe = _plain_pipeline(tiny_folder)
        bare = pipe.unet(noisy, level, embeds).sample
        pipe.load_lora_weights(path.parent, weight_name=path.name)
        loaded = pipe.unet(noisy, level, embeds).sample
    injected = sum(bool(getattr(m, "lora_A", None)) for m in pipe.unet.modules())
    convs = [m for n, m in pipe.unet.named_modules() if n.endswith("conv1") and getattr(m, "lora_A", None)]
    assert injected == len(parameters) // 2 > 20
    assert convs
    torch.testing.assert_close(loaded, trained_answer, atol=1e-4, rtol=1e-4)
    assert (loaded - bare).abs().max() > 0.01


def test_our_pipeline_loads_exchanges_and_removes_adapters(trained: TrainResult, tiny_sd15: SD15) -> None:
    noisy, level, embeds = _inputs()
    with torch.no_grad():
        bare = tiny_sd15.pipeline(None).unet(noisy, level, embeds).sample
        once = tiny_sd15.pipeline(trained.checkpoints[-1]).unet(noisy, level, embeds).sample
        twice = tiny_sd15.pipeline(trained.checkpoints[-1]).unet(noisy, level, embeds).sample
        again = tiny_sd15.pipeline(None).unet(noisy, level, embeds).sample
    assert torch.equal(once, twice) and not torch.allclose(once, bare)
    assert torch.equal(bare, again)


def test_kohya_keys_and_shapes(trained: TrainResult, tmp_path: Path) -> None:
    state = load_file(lora.export_kohya(trained.checkpoints[-1], tmp_path / "comfy.safetensors"))
    name = "lora_unet_down_blocks_0_resnets_0_conv1"
    assert state[f"{name}.lora_down.weight"].shape == (4, 32, 3, 3)
    assert state[f"{name}.lora_up.weight"].shape == (32, 4, 1, 1)
    assert state[f"{name}.alpha"].item() == 2.0
    assert len(state) == 3 * lora_layers(trained.checkpoints[-1].path)
    assert any(
        k.startswith("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0.")
        for k in state
    )


def test_the_header_states_what_it_must_and_leaks_nothing(trained: TrainResult) -> None:
    adapter = trained.checkpoints[-1]
    meta = read_header(adapter.path)["__metadata__"]
    assert meta["modelspec.architecture"] == "stable-diffusion-v1/lora"
    assert meta["modelspec.trigger_phrase"] == "ohwx"
    assert meta["modelspec.prediction_type"] == "v"
    assert meta["ss_network_dim"] == "4"
    text = str(meta)
    assert "headshot" not in text and "photo0" not in text and "/" not in meta["portrait_lora.base"]
    assert not any("tag_frequency" in k or "dataset_dirs" in k for k in meta)
    assert read_adapter(adapter.path) == adapter
    assert (adapter.rank, adapter.alpha, adapter.step) == (4, 2.0, 4)


def test_a_cut_file_and_a_foreign_file_are_distinguished(trained: TrainResult, tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(trained.checkpoints[-1].path.read_bytes()[:-5])
    with pytest.raises(ArtifactError, match="cut short"):
        read_adapter(cut)
    with pytest.raises(ArtifactError, match="not an adapter of this program"):
        read_adapter(trained.checkpoints[-1].path.parent / "optimizer.safetensors")
    with pytest.raises(InputError, match="no such"):
        read_adapter(tmp_path / "none.safetensors")


def test_the_same_seed_gives_the_same_bytes(trained: TrainResult, tiny_sd15: SD15, tmp_path: Path) -> None:
    again = train_with(
        tiny_sd15, make_crops(tmp_path / "crops"), tmp_path / "run", rank=4, alpha=2.0,
        targets="attention_and_conv", learning_rate=5e-2, batch_size=2, steps=4, seed=3,
    )  # fmt: skip
    assert again.checkpoints[-1].path.read_bytes() == trained.checkpoints[-1].path.read_bytes()
