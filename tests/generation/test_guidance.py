"""Guidance in two terms: today's result where they are equal, and each setting where it should show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from portrait_lora import provenance
from portrait_lora.errors import ConfigError
from portrait_lora.families.sd15 import SD15
from portrait_lora.generation import edits, guidance, remake
from portrait_lora.generation.drawing import open_pipeline
from portrait_lora.generation.guidance import Identity, head_weights, in_two_terms
from portrait_lora.generation.sample import generate
from portrait_lora.records import Adapter, Shot
from tests.recipes import sampler as make_sampler

SAMPLER = make_sampler(3, 3.0, unconditional="base")


def _picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def _guided(family: SD15, adapter: Adapter | None, shots: list[Shot], identity: Identity, time: int = 500):
    """(empty prompts, prompts): what the denoiser answers to one doubled batch."""
    noisy = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)).expand(
        2 * len(shots), -1, -1, -1
    )
    pipe = open_pipeline(family, adapter, SAMPLER if adapter else replace(SAMPLER, unconditional="adapter"))
    states = (
        torch.arange(2 * len(shots))
        .float()[:, None, None]
        .expand(-1, 5, pipe.unet.config.cross_attention_dim)
    )

    def ask() -> torch.Tensor:
        return pipe.unet(noisy, torch.tensor(time), encoder_hidden_states=states, return_dict=False)[0]

    with torch.no_grad():
        if adapter is None:
            return ask().chunk(2)
        with in_two_terms(pipe.unet, identity, SAMPLER.guidance_scale, shots, 1000):
            prediction = ask()
        assert "forward" not in vars(pipe.unet)
        return prediction.chunk(2)


def test_the_two_terms_are_those_of_the_sum(tiny_sd15: SD15, adapter: Adapter, shots: list[Shot]) -> None:
    empty, bare = _guided(tiny_sd15, None, shots, Identity())
    same, full = _guided(tiny_sd15, adapter, shots, Identity())
    assert torch.allclose(same, empty, atol=1e-5) and (full - bare).abs().max() > 1e-3
    for scale in (1.5, 3.0, 6.0):
        nothing, mixed = _guided(tiny_sd15, adapter, shots, Identity(scale))
        assert torch.allclose(nothing, empty, atol=1e-5)
        assert torch.allclose(mixed, bare + scale / 3 * (full - bare), atol=1e-4)


def test_merged_weights_answer_as_the_adapters_do(
    tiny_sd15: SD15, adapter: Adapter, shots: list[Shot], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[bool] = []
    merged = guidance._merged
    monkeypatch.setattr(guidance, "_merged", lambda layer: (counted.append(True), merged(layer))[1])
    quick = _guided(tiny_sd15, adapter, shots, Identity(1.5))
    assert counted
    monkeypatch.setattr(guidance, "MOST_MERGED", 0)
    counted.clear()
    usual = _guided(tiny_sd15, adapter, shots, Identity(1.5))
    assert not counted
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(quick, usual, strict=True))


def test_only_plain_sums_in_float32_are_merged() -> None:
    from peft import LoraConfig, inject_adapter_in_model

    def layer(*, dora: bool = False, half: bool = False) -> torch.nn.Module:
        net = torch.nn.Sequential(torch.nn.Linear(6, 6))
        config = LoraConfig(r=2, target_modules=["0"], use_dora=dora, init_lora_weights=False)
        adapted = inject_adapter_in_model(config, net)[0]
        return adapted.half() if half else adapted

    plain, x = layer(), torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    merged = guidance._merged(plain)
    assert merged is not None
    assert torch.allclose(merged(x), plain(x), atol=1e-6) and not torch.equal(merged(x), plain.base_layer(x))
    assert guidance._merged(layer(dora=True)) is None
    assert guidance._merged(layer(half=True)) is None


def test_before_its_start_the_person_does_not_count(
    tiny_sd15: SD15, adapter: Adapter, shots: list[Shot]
) -> None:
    late = Identity(start=0.4)
    _, bare = _guided(tiny_sd15, None, shots, late, 700)
    assert torch.allclose(_guided(tiny_sd15, adapter, shots, late, 700)[1], bare, atol=1e-5)
    _, full = _guided(tiny_sd15, adapter, shots, Identity(), 500)
    assert torch.equal(_guided(tiny_sd15, adapter, shots, late, 500)[1], full)


def test_late_steps_have_a_strength_of_their_own(
    tiny_sd15: SD15, adapter: Adapter, shots: list[Shot]
) -> None:
    late = Identity(6.0, late=0.7, late_scale=1.5)
    _, bare = _guided(tiny_sd15, None, shots, late, 299)
    _, full = _guided(tiny_sd15, adapter, shots, Identity(), 299)
    assert torch.allclose(
        _guided(tiny_sd15, adapter, shots, late, 299)[1], bare + 0.5 * (full - bare), atol=1e-4
    )
    early = _guided(tiny_sd15, adapter, shots, Identity(6.0), 301)[1]
    assert torch.equal(_guided(tiny_sd15, adapter, shots, late, 301)[1], early)
    # the third question is asked only where the terms differ
    assert torch.equal(
        _guided(tiny_sd15, adapter, shots, Identity(None, late=0.7, late_scale=1.5), 301)[1],
        _guided(tiny_sd15, adapter, shots, Identity(), 301)[1],
    )


def test_the_region_is_the_head_of_the_shot(tiny_sd15: SD15, adapter: Adapter, shots: list[Shot]) -> None:
    head = Identity(region="head")
    _, bare = _guided(tiny_sd15, None, shots, head)
    _, full = _guided(tiny_sd15, adapter, shots, Identity())
    _, mixed = _guided(tiny_sd15, adapter, shots, head)
    assert torch.allclose(mixed[..., 3, 4], full[..., 3, 4], atol=1e-4)
    assert torch.allclose(mixed[..., -1, 0], bare[..., -1, 0], atol=1e-5)
    near, usual, far = (
        head_weights(replace(shots[0], layers=(("shot", words),)), 32, 32)
        for words in ("close-up", "headshot", "waist up")
    )
    assert float(near.sum()) > float(usual.sum()) and float(usual.max()) == 1 and float(usual.min()) == 0
    assert bool((far == 1).all())


@pytest.mark.parametrize("identity", [Identity(3.0), Identity(None, 0.0, "picture")])
def test_equal_terms_are_guidance_as_ever_to_the_byte(
    tiny_sd15: SD15, adapter: Adapter, shots: list[Shot], tmp_path: Path, identity: Identity
) -> None:
    usual = generate(tiny_sd15, adapter, shots[:2], tmp_path / "a", SAMPLER)
    equal = generate(tiny_sd15, adapter, shots[:2], tmp_path / "b", replace(SAMPLER, identity=identity))
    assert [p.path.read_bytes() for p in usual] == [p.path.read_bytes() for p in equal]


def test_pictures_differ_record_it_and_are_reproducible(
    tiny_sd15: SD15, adapter: Adapter, shots: list[Shot], tmp_path: Path
) -> None:
    usual = generate(tiny_sd15, adapter, shots, tmp_path / "usual", SAMPLER)
    for number, identity in enumerate(
        (
            Identity(6.0),
            Identity(start=0.5),
            Identity(None, 0.2, "head"),
            Identity(late=0.4, late_scale=0.0),
        )
    ):
        sampler = replace(SAMPLER, identity=identity)
        path = generate(tiny_sd15, adapter, shots, tmp_path / str(number), sampler)[1].path
        assert np.abs(_picture(path) - _picture(usual[1].path)).max() > 0
        recipe = provenance.read_record(path)
        assert edits.sampler_of(recipe).identity == identity
        again = remake.remake(tiny_sd15, recipe, adapter, lambda _: None)
        assert remake.compare(Image.open(path), again, recipe).same
        assert ("identity_late" in recipe) == (identity.late_scale is not None)
    assert "identity_scale" not in provenance.read_record(usual[0].path)
    bare = generate(tiny_sd15, None, shots[:1], tmp_path / "bare", replace(SAMPLER, identity=Identity(6.0)))[
        0
    ]
    assert "identity_scale" not in provenance.read_record(bare.path)


def test_two_terms_need_the_bare_base(tiny_sd15: SD15, adapter: Adapter) -> None:
    for sampler in (make_sampler(3, 3.0), make_sampler(3, 1.0, unconditional="base")):
        with pytest.raises(ConfigError, match="bare base"):
            open_pipeline(tiny_sd15, adapter, replace(sampler, identity=Identity(2.0)))
