"""`init` proposes what fits the machine and the purpose, and says why."""

from __future__ import annotations

import pytest

from portrait_lora.families.choose import Choice, choose_base


def choice(memory_gb: float | None, *, device: str = "cuda", **more: bool) -> Choice:
    given = {"bf16": True, "commercial": False, "studio_pictures": False} | more
    return choose_base(device=device, memory_gb=memory_gb, **given)


@pytest.mark.parametrize(
    ("memory_gb", "name"), [(140, "z-image"), (21, "flux2-klein-4b"), (15, "sdxl"), (10, "sd15"), (4, "sd15")]
)
def test_the_largest_that_fits(memory_gb: float, name: str) -> None:
    assert choice(memory_gb).base.name == name


def test_the_reason_is_told() -> None:
    assert "no GPU" in choice(None, device="cpu").reasons[0]
    assert "few" in choice(4).reasons[0]
    assert "of 24 GB" in choice(24).reasons[0]


def test_commercial_use_never_gets_a_forbidden_or_gated_base() -> None:
    for memory in (4, 10, 16, 24, 48, 140):
        for commercial in (False, True):
            base = choice(memory, commercial=commercial).base
            assert not base.gated
            assert not commercial or base.commercial != "no"


def test_precision_and_batch_follow_the_card() -> None:
    assert choice(24, bf16=False).mixed_precision == "fp16"
    assert choice(140).mixed_precision == "bf16"
    assert choice(140).batch_size > choice(22).batch_size == 1
    assert choice(None, device="cpu", bf16=False).mixed_precision == "auto"


def test_studio_pictures_get_the_embedded_base() -> None:
    assert choice(140, studio_pictures=True).base.name == "embedded"
