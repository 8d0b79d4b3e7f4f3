"""Every kind of adapter starts as the base, trains, and is saved as a file that diffusers applies exactly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from tiny_models import make_crops

from portrait_lora.errors import InputError
from portrait_lora.families.family import PromptCondition
from portrait_lora.families.sd15 import SD15
from portrait_lora.training import adapter as lora
from tests.recipes import train_with

KINDS: tuple[dict[str, object], ...] = (
    {"rank_stabilised": True},
    {"dora": True},
    {"kind": "loha"},
    {"kind": "lokr"},
    {"blocks": ("mid_block", "up_blocks.1")},
)


def _inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (1, 4, 8, 8), (1, 32, 32)
    noisy, embeds = (torch.randn(shape, generator=generator) for shape in shapes)
    return noisy, torch.tensor([500]), embeds


@pytest.mark.parametrize("options", KINDS, ids=lambda options: "-".join(map(str, options.values())))
def test_the_file_is_the_trained_model(
    options: dict[str, object], tiny_sd15: SD15, tiny_folder: Path, tmp_path: Path
) -> None:
    noisy, level, embeds = _inputs()
    condition = PromptCondition(embeds)
    tiny_sd15.load("none")
    tiny_sd15.load("denoiser")
    with torch.no_grad():
        bare = tiny_sd15.predict(noisy, level, condition, [])
    parameters = lora.add_adapter(
        tiny_sd15.denoiser, rank=4, alpha=2.0, seed=0,
        target_modules=tiny_sd15.lora_layers.attention, **options,  # type: ignore[arg-type]
    )  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        torch.testing.assert_close(tiny_sd15.predict(noisy, level, condition, []), bare, atol=1e-5, rtol=1e-5)
        for parameter in parameters.values():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        trained = tiny_sd15.predict(noisy, level, condition, [])
        assert (trained - bare).abs().max() > 0.01
        state = lora.diffusers_state(tiny_sd15.denoiser, "unet")
        pipe = StableDiffusionPipeline.from_pretrained(
            tiny_folder, safety_checker=None, requires_safety_checker=False
        )
        pipe.load_lora_weights(state)
        torch.testing.assert_close(pipe.unet(noisy, level, embeds).sample, trained, atol=1e-4, rtol=1e-4)
    injected = sum(bool(getattr(m, "lora_A", None)) for m in pipe.unet.modules())
    assert injected == sum(".lora_A." in key for key in state) > 0
    if "blocks" in options:
        assert all(key.startswith(("unet.mid_block.", "unet.up_blocks.1.")) for key in state)


def test_dora_warns_and_its_kohya_layout_is_the_formula_that_comfyui_applies(
    tiny_sd15: SD15, caplog: pytest.LogCaptureFixture
) -> None:
    """W' = dora_scale (W + dW) / |W + dW|, norms per output (Liu et al. 2024, eq. 5)."""
    tiny_sd15.load("none")
    tiny_sd15.load("denoiser")
    lora.add_adapter(
        tiny_sd15.denoiser, rank=4, alpha=2.0, seed=0, dora=True,
        target_modules=tiny_sd15.lora_layers.attention,
    )  # fmt: skip
    assert "diffusers and ComfyUI apply these files; other programs may drop" in caplog.text
    name = next(n for n, m in tiny_sd15.denoiser.named_modules() if hasattr(m, "lora_magnitude_vector"))
    layer = tiny_sd15.denoiser.get_submodule(name)
    with torch.no_grad():
        for parameter in layer.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    file = lora.kohya_state(lora.diffusers_state(tiny_sd15.denoiser, "unet"), alpha=2.0, family="sd15")
    key = f"lora_unet_{name.replace('.', '_')}"
    down, up, scale = (file[f"{key}.{part}"] for part in ("lora_down.weight", "lora_up.weight", "dora_scale"))
    changed = layer.get_base_layer().weight + up @ down * (file[f"{key}.alpha"] / down.shape[0])
    expected = scale * changed / changed.norm(dim=1, keepdim=True)
    x = torch.randn(3, changed.shape[1], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        bias = layer.get_base_layer().bias
        plain = x @ expected.T
        torch.testing.assert_close(layer(x), plain if bias is None else plain + bias)


def test_lokr_and_loha_keep_to_linear_layers(tiny_sd15: SD15, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="linear layers only"):
        train_with(
            tiny_sd15, make_crops(tmp_path / "crops"), tmp_path / "run", rank=2, alpha=2.0, batch_size=1,
            targets="attention_and_conv", learning_rate=1e-3, steps=1, adapter_kind="loha",
        )  # fmt: skip


def test_lokr_trains_through_the_loop_and_back_into_our_pipeline(tiny_sd15: SD15, tmp_path: Path) -> None:
    result = train_with(
        tiny_sd15, make_crops(tmp_path / "crops"), tmp_path / "run", rank=2, alpha=2.0, batch_size=1,
        targets="attention", learning_rate=1e-2, steps=2, adapter_kind="lokr",
    )  # fmt: skip
    adapter = result.checkpoints[-1]
    pipe = tiny_sd15.pipeline(adapter)  # raises when not every layer went in
    assert pipe.get_active_adapters() and adapter.rank == 2
    state = load_file(lora.export_kohya(adapter, tmp_path / "comfy.safetensors"))
    assert any(k.endswith(".lora_up.weight") for k in state)
