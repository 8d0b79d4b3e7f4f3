"""Half precision is used where the processor computes in it, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from portrait_lora.device import DeviceChoice
from scripts import precision


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    precision._processor_has_it.cache_clear()
    yield
    precision._processor_has_it.cache_clear()


@pytest.mark.parametrize(("format", "dtype"), [("bf16", torch.bfloat16), ("no", torch.float32)])
def test_a_processor_casts_only_to_what_it_computes_in(
    monkeypatch: pytest.MonkeyPatch, format: str, dtype: torch.dtype
) -> None:
    chosen = DeviceChoice("cpu", format, "")  # type: ignore[arg-type]
    monkeypatch.setattr(precision.devices, "choose", lambda _: chosen)
    with precision.half("cpu"):
        assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype == dtype
