"""A LoRA on the text encoders: it learns, is saved where loaders look for it, and resumes to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_families import make_tiny
from tiny_models import make_crops

from portrait_lora.errors import InputError
from portrait_lora.families import open_family
from portrait_lora.families.adapter_file import lora_layers
from portrait_lora.families.catalog import resolve_base
from portrait_lora.families.family import Family
from portrait_lora.families.parts import injected
from portrait_lora.families.sd15 import SD15
from portrait_lora.records import Adapter, TrainResult
from portrait_lora.tasks.verify.reference import plain_pipeline
from portrait_lora.training import adapter as lora
from tests.recipes import train_with

PROMPT = "frontal headshot of ohwx woman, smiling"


def run(family: Family, folder: Path, name: str, **changes: object) -> TrainResult:
    settings = {
        "rank": 2, "alpha": 1.0, "targets": "attention", "learning_rate": 2e-2, "batch_size": 2,
        "steps": 4, "checkpoint_steps": (2,), "seed": 5, "caption_dropout": 0.2, "text_encoder": 0.5,
        "cache_dir": folder / "cache",
    }  # fmt: skip
    return train_with(family, make_crops(folder / "crops"), folder / name, **(settings | changes))


def embeds(pipe: Any) -> torch.Tensor:
    with torch.no_grad():
        return pipe.encode_prompt(
            [PROMPT], device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
        )[0]


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_diffusers_reads_prompts_as_they_were_trained(name: str, tmp_path: Path) -> None:
    family = open_family(resolve_base(make_tiny(name, tmp_path / "base")))  # type: ignore[arg-type]
    adapter = run(family, tmp_path, "run").checkpoints[-1]
    with torch.no_grad():
        trained = family.encode_prompts([PROMPT])  # the encoders as training left them
    encoders = {n: injected(m) for n, m in family.text_encoders().items()}
    assert len(encoders) == (2 if name == "sdxl" else 1) and min(encoders.values()) >= 8
    plain = plain_pipeline(family.base.source)
    bare = embeds(plain)
    torch.testing.assert_close(
        embeds(family.pipeline(adapter)), trained.embeds_BLD, atol=1e-5, rtol=1e-4
    )  # which raises when not every layer of the file went in
    lora.export_diffusers(adapter, tmp_path / "diffusers.safetensors")
    lora.export_kohya(adapter, tmp_path / "kohya.safetensors")
    for layout in ("diffusers", "kohya"):
        plain.unload_lora_weights()
        plain.load_lora_weights(str(tmp_path), weight_name=f"{layout}.safetensors", adapter_name="likeness")
        for part, count in encoders.items():
            assert injected(getattr(plain, part)) == count
        assert sum(encoders.values()) + injected(plain.unet) == lora_layers(adapter.path)
        torch.testing.assert_close(embeds(plain), trained.embeds_BLD, atol=1e-5, rtol=1e-4)
    assert (bare - trained.embeds_BLD).abs().max() > 1e-3
    keys = load_file(tmp_path / "kohya.safetensors")
    short = ("te1", "te2") if name == "sdxl" else ("te",)
    for encoder in short:
        layer = f"lora_{encoder}_text_model_encoder_layers_0_self_attn_q_proj"
        assert keys[f"{layer}.lora_down.weight"].shape[0] == 2 and keys[f"{layer}.alpha"] == 1.0


def test_a_killed_run_goes_on_to_the_same_bytes(tiny_sd15: SD15, tmp_path: Path) -> None:
    straight = run(tiny_sd15, tmp_path, "straight")

    def die(adapter: Adapter) -> None:
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run(tiny_sd15, tmp_path, "cut", on_checkpoint=die)
    resumed = run(tiny_sd15, tmp_path, "cut")
    assert resumed.resumed_from == 2
    for name in ("adapter.safetensors", "optimizer.safetensors", "state.json"):
        both = [r.checkpoints[-1].path.with_name(name).read_bytes() for r in (straight, resumed)]
        assert both[0] == both[1]
    with pytest.raises(InputError, match=r"text_encoder 0\.5 became 0\.0"):
        run(tiny_sd15, tmp_path, "cut", text_encoder=0.0)


def test_its_rate_is_the_share_and_the_base_is_left_alone(tiny_sd15: SD15, tmp_path: Path) -> None:
    """Adam's first step moves every weight by its rate, whatever the gradient's size."""
    result = run(tiny_sd15, tmp_path, "one", steps=1, checkpoint_steps=(), warmup_steps=0, weight_decay=0.0)
    moved = load_file(result.checkpoints[-1].path.with_name("optimizer.safetensors"))
    for prefix, rate in (("text_encoder.", 1e-2), ("down_blocks", 2e-2)):
        ups = [t for n, t in moved.items() if n.startswith(f"param/{prefix}") and ".lora_B." in n]
        assert float(torch.cat([t.flatten() for t in ups]).abs().max()) == pytest.approx(rate, rel=1e-3)
    encoder = tiny_sd15.text_encoders()["text_encoder"]
    assert all(".lora_" in n for n, p in encoder.named_parameters() if p.requires_grad)
    tiny_sd15.load("encoders")  # for whoever comes next: without the adapter
    assert injected(tiny_sd15.text_encoders()["text_encoder"]) == 0
    assert not tiny_sd15.encode_prompts([PROMPT]).embeds_BLD.requires_grad


@pytest.mark.parametrize(
    ("change", "message"),
    [({"text_encoder": 1.5}, "text_encoder: .*got 1.5"), ({"optimizer": "prodigy"}, "one learning rate")],
)
def test_what_cannot_work_is_refused(
    tiny_sd15: SD15, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run(tiny_sd15, tmp_path, "run", **change)


def test_language_models_are_not_trained_along(tmp_path: Path) -> None:
    family = open_family(resolve_base(make_tiny("z_image", tmp_path / "base")))
    with pytest.raises(InputError, match=r"training\.text_encoder"):
        run(family, tmp_path, "run")
