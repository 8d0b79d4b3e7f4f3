"""Attention in float32 inside bfloat16 autocast: exact there, absent elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_models import make_crops
from torch.nn.functional import scaled_dot_product_attention

from portrait_lora.families.sd15 import SD15
from portrait_lora.training import batch
from portrait_lora.training.attention import Float32Attention
from portrait_lora.training.recipe import Mixed
from tests.recipes import train_with


def _attend(query: torch.Tensor) -> torch.Tensor:
    return scaled_dot_product_attention(query, query, query)


def test_it_is_exact_inside_autocast() -> None:
    torch.manual_seed(0)
    query = torch.randn(2, 2, 16, 8).bfloat16().requires_grad_()
    exact = _attend(query.detach().double()).bfloat16()
    with torch.autocast("cpu", torch.bfloat16), Float32Attention():
        inside = _attend(query)
    inside.sum().backward()
    assert inside.dtype == torch.bfloat16
    torch.testing.assert_close(inside, exact, rtol=2**-8, atol=1e-6)
    assert query.grad is not None and query.grad.isfinite().all()


@pytest.mark.parametrize("kind", [torch.bool, torch.bfloat16])
def test_masks_are_kept(kind: torch.dtype) -> None:
    query, seen = torch.randn(1, 1, 4, 8).bfloat16(), torch.tensor([[1, 1, 0, 0]]).bool()
    mask = seen if kind == torch.bool else torch.where(seen, 0.0, -1e4).to(kind)
    with torch.autocast("cpu", torch.bfloat16), Float32Attention():
        masked = scaled_dot_product_attention(query, query, query, attn_mask=mask)
        cut = scaled_dot_product_attention(query, query[:, :, :2], query[:, :, :2])
    torch.testing.assert_close(masked, cut, rtol=2**-7, atol=1e-3)


@pytest.mark.parametrize(
    ("precision", "again", "used"), [("bf16", False, True), ("bf16", True, False), ("no", False, False)]
)
def test_training_uses_it_only_where_it_is_quicker_and_never_when_reckoning_again(
    tiny_sd15: SD15,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: Mixed,
    again: bool,
    used: bool,
) -> None:
    entered: list[Callable[[], Float32Attention]] = []

    class Noted(Float32Attention):
        def __enter__(self) -> Float32Attention:
            entered.append(Noted)
            return super().__enter__()  # type: ignore[no-any-return]

    monkeypatch.setattr(batch, "Float32Attention", Noted)
    settings = {
        "rank": 2,
        "alpha": 2.0,
        "targets": "attention",
        "learning_rate": 1e-2,
        "batch_size": 2,
    }
    train_with(
        tiny_sd15, make_crops(tmp_path / "crops"), tmp_path / "out", steps=2, checkpoint_steps=(2,), seed=5,
        cache_dir=tmp_path / "cache", mixed_precision=precision, gradient_checkpointing=again, **settings,
    )  # fmt: skip
    assert bool(entered) is used
