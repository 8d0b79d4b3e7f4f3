"""A LoRA file goes into a pipeline whole, or it is refused by name."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from portrait_lora.errors import ArtifactError, InputError, PortraitError
from portrait_lora.families.adapter_file import read_header
from portrait_lora.families.lora_loading import complete_layers, load_lora
from portrait_lora.families.reload import layers_taken
from portrait_lora.families.sd15 import SD15
from portrait_lora.generation.drawing import StyleAdapter, from_text, open_pipeline
from portrait_lora.records import Shot
from portrait_lora.tasks.inspect import in_words, inspect_file
from portrait_lora.training import adapter as lora
from tests.recipes import sampler as make_sampler

SHOT = Shot("headshot_1", "ohwx woman", "", (64, 64), 5)


@pytest.fixture(scope="module")
def state(tiny_sd15: SD15) -> dict[str, Tensor]:
    """An adapter of every attention of the tiny base."""
    tiny_sd15.load("none")
    tiny_sd15.load("denoiser")
    added = lora.add_adapter(
        tiny_sd15.denoiser, rank=2, alpha=2.0, target_modules=tiny_sd15.lora_layers.attention, seed=0
    )
    for parameter in added.values():
        parameter.data += 0.1
    weights = lora.diffusers_state(tiny_sd15.denoiser, "unet")
    tiny_sd15.load("none")
    return weights


def renamed(state: dict[str, Tensor], old: str, new: str, *, every: int = 1) -> dict[str, Tensor]:
    return {k.replace(old, new) if i // 2 % every == 0 else k: v for i, (k, v) in enumerate(state.items())}


def spoilt(state: dict[str, Tensor], number: float) -> dict[str, Tensor]:
    key = next(iter(state))
    return state | {key: torch.full_like(state[key], number)}


def halved(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for i, (k, v) in enumerate(state.items()) if i != 1}


FOREIGN: dict[str, tuple[Any, str]] = {
    "another tool's numbering": (lambda s: renamed(s, ".weight", ".default_0.weight"), "no LoRA layers"),
    "half numbered": (lambda s: renamed(s, ".weight", ".default_0.weight", every=2), "of no LoRA layer"),
    "half of another network": (
        lambda s: renamed(s, "attentions.0", "attentions.7", every=2),
        "not every layer",
    ),
    "of another part": (lambda s: renamed(s, "unet.", "transformer.", every=2), "not every layer"),
    "an A without its B": (halved, "half a layer"),
    "other sizes": (lambda s: {k: v[..., :1].contiguous() for k, v in s.items()}, "cannot be put"),
    "NaN": (lambda s: spoilt(s, float("nan")), "not finite"),
    "infinite": (lambda s: spoilt(s, float("inf")), "not finite"),
    "empty": (lambda s: {"x": torch.zeros(1)}, "no LoRA layers"),
}


@pytest.mark.parametrize(("role", "kind"), [*(("style", k) for k in FOREIGN), ("accelerator", "NaN")])
def test_foreign_adapters_are_refused_by_name(
    state: dict[str, Tensor], tiny_sd15: SD15, tmp_path: Path, kind: str, role: str
) -> None:
    change, message = FOREIGN[kind]
    path = tmp_path / "foreign.safetensors"
    save_file(change(state), path)
    with pytest.raises(
        InputError, match=rf"foreign\.safetensors: the {role} adapter does not fit.*{message}"
    ):
        open_pipeline(tiny_sd15, None, make_sampler(2, 1.0, **{role: StyleAdapter(path, 0.6)}))  # type: ignore[arg-type]


def test_whole_files_of_both_layouts_go_in(state: dict[str, Tensor], tiny_sd15: SD15, tmp_path: Path) -> None:
    layers = len(state) // 2
    half = {k: v.half() for k, v in state.items()}
    for number, file in enumerate((state, lora.kohya_state(state, 2.0, "sd15"), half)):
        path = tmp_path / f"{number}.safetensors"
        save_file(file, path)
        assert load_lora(tiny_sd15.pipeline(None), path, "style") == layers


def test_an_export_is_loaded_again_into_networks_without_weights(
    state: dict[str, Tensor], tiny_sd15: SD15, tmp_path: Path
) -> None:
    """The text encoder's layers too; a layer of another name, or of another size, is noticed."""
    path, layer = tmp_path / "x.safetensors", "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"
    text = {f"{layer}.lora_A.weight": torch.ones(2, 32), f"{layer}.lora_B.weight": torch.ones(32, 2)}
    save_file(state | text, path)
    assert layers_taken(tiny_sd15.base, path) == len(state) // 2 + 1
    save_file(renamed(state, "attentions.0", "attentions.7", every=2), path)
    with pytest.raises(ArtifactError, match="not every layer"):
        layers_taken(tiny_sd15.base, path)
    save_file(state | {k: torch.ones(2, 2) for k in text}, path)
    with pytest.raises(ArtifactError, match="cannot be put"):
        layers_taken(tiny_sd15.base, path)


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git-lfs pointer"),
        (b"\n<!DOCTYPE html><html><title>Sign in</title>", "web page"),
        (b"PK\x03\x04" + b"\0" * 60, "pickles"),
        (b"\x80\x02}q\x00X\x04\x00\x00\x00", "pickle"),
        (b'{"error":"Repository not found"}', "server's error"),
    ],
)
def test_files_of_another_kind_are_named(tmp_path: Path, first: bytes, message: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(first)
    with pytest.raises(InputError, match=message):
        read_header(path)


def test_a_header_as_long_as_a_pickles_first_bytes_is_no_pickle(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {}}).encode().ljust(0x280)
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    assert path.read_bytes().startswith(b"\x80\x02") and not read_header(path)


@pytest.mark.parametrize("about", [["a"], {"a": 1}, "a", {"a": {"b": "c"}}])
def test_metadata_that_is_no_table_of_words_is_refused(tmp_path: Path, about: object) -> None:
    header = json.dumps({"__metadata__": about}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ArtifactError, match="metadata"):
        read_header(path)


def test_layers_are_counted_in_every_layout() -> None:
    path = Path("x")
    assert complete_layers(path, ["a.lora_A.weight", "a.lora_B.weight", "a.alpha"]) == 1
    assert complete_layers(path, ["a.lora_linear_layer.down.weight", "a.lora_linear_layer.up.weight"]) == 1
    assert complete_layers(path, ["a.qkv_lora1.down.weight", "a.qkv_lora1.up.weight"]) == 1
    assert complete_layers(path, ["a.to_q_lora.down.weight", "a.to_q_lora.up.weight"]) == 1
    assert complete_layers(path, ["a.lokr_w1", "a.lokr_w2_a", "a.lokr_w2_b", "a.alpha", "b.hada_w1_a"]) == 2


def test_a_picture_of_no_numbers_is_an_error_that_names_the_shot(
    tiny_sd15: SD15, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = open_pipeline(tiny_sd15, None, make_sampler(2, 1.0))
    assert np.asarray(from_text(pipe, [SHOT], make_sampler(2, 1.0))[0]).any()
    decode = pipe.vae.decode

    def broken(number: float) -> Any:
        return lambda z, **more: (torch.full_like(decode(z, **more)[0], number),)

    for number, message in ((float("nan"), "not finite"), (-9.0, "nothing but black")):
        monkeypatch.setattr(pipe.vae, "decode", broken(number))
        with pytest.raises(
            PortraitError, match=rf"headshot_1, seed 5: the picture came out black.*{message}"
        ):
            from_text(pipe, [SHOT], make_sampler(2, 1.0))


def test_inspect_says_what_is_wrong_with_a_foreign_adapter(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file(spoilt(state, float("nan")), path)
    summary = inspect_file(path)
    assert summary["layers"] == len(state) // 2 and summary["not_finite"] == [next(iter(state))]
    assert "not finite" in "\n".join(in_words(summary))
    save_file(renamed(state, ".weight", ".default_0.weight"), path)
    assert "no LoRA layers in this file" in "\n".join(in_words(inspect_file(path)))
