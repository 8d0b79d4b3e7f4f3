"""`init` proposes what fits the machine and the purpose, and says why."""

from __future__ import annotations

import pytest

from portrait_lora.families.catalog import bases
from portrait_lora.families.choose import Choice, choose_base
from portrait_lora.families.footprint import placement
from portrait_lora.stages.usual import memory_range_gb, usual_means


def choice(memory_gb: float | None, *, device: str = "cuda", **more: bool) -> Choice:
    options = {"bf16": True, "commercial": False, "studio_pictures": False} | more
    return choose_base(device=device, memory_gb=memory_gb, plan=usual_means, **options)


@pytest.mark.parametrize(
    ("memory_gb", "name"),
    [
        (140, "z-image"),
        (17, "z-image"),
        (16, "flux2-klein-4b"),
        (12, "flux2-klein-4b"),
        (10, "sdxl"),
        (8, "sd15"),
    ],
)
def test_the_largest_that_fits(memory_gb: float, name: str) -> None:
    assert choice(memory_gb).base.name == name


def test_the_reason_is_stated() -> None:
    assert "no GPU" in choice(None, device="cpu").reasons[0]
    assert "few" in choice(3).reasons[0]
    assert "int8 weights" in choice(17).reasons[0]
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
    for memory_gb in (4, 8, 12, 16, 24, 48, 140):
        chosen = choice(memory_gb)
        means = usual_means(chosen.base, memory_gb, chosen.batch_size)
        assert means.fits and means.micro_batch == chosen.batch_size, memory_gb
    assert choice(None, device="cpu", bf16=False).mixed_precision == "auto"


def test_studio_pictures_get_the_embedded_base() -> None:
    assert choice(140, studio_pictures=True).base.name == "embedded"


def test_a_proposal_can_be_trained_and_drawn_with() -> None:
    """On 12 GB the planner trains Z-Image in int8, but drawing leaves no room for its denoiser."""
    z_image = next(b for b in bases() if b.name == "z-image")
    assert usual_means(z_image, 12).fits and usual_means(z_image, 12).weights == "int8"
    assert placement(z_image, 12) == "offloaded"
    assert placement(choice(12).base, 12) == "text_offloaded"


def test_the_range_of_a_base_is_what_the_planner_needs() -> None:
    for base in bases():
        least, quickest = memory_range_gb(base)
        assert usual_means(base, least + 0.01).fits and not usual_means(base, least - 0.1).fits
        whole = usual_means(base, quickest + 0.01)
        assert whole.fits and not whole.gradient_checkpointing
