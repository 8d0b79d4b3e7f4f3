"""What drawing needs of a card: counted on the weights, and never less than what has to be there at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_families import make_tiny

from portrait_lora.families.base_model import BaseModel
from portrait_lora.families.catalog import bases, resolve_base, table
from portrait_lora.families.footprint import bytes_per_weight, footprint, placement, text_fits
from portrait_lora.stages.tiers import CARDS_GB, generating

REAL = [base for base in bases() if not base.synthetic]


def weights_gb(base: BaseModel) -> tuple[float, float]:
    """Of denoiser and text encoders, in the precision of a GPU."""
    size = bytes_per_weight(base)
    return base.parameters_b * size, (base.encoders_b or 0.0) * size


@pytest.mark.parametrize("base", REAL, ids=lambda b: b.name)
def test_the_counted_weights_are_those_that_are_downloaded(base: BaseModel) -> None:
    """Published in two bytes each, or in four: SDXL and SD 1.5; ERNIE's and SANA's repositories hold more."""
    published = 4 if base.family in ("sd15", "sdxl") else 2
    assert base.encoders_b is not None
    counted = (base.parameters_b + base.encoders_b) * published
    assert 0.85 < counted / (base.download_gb / len({base.repo, base.generate_repo})) < 1.05


@pytest.mark.parametrize("base", REAL, ids=lambda b: b.name)
def test_a_card_holds_what_must_be_there_at_once(base: BaseModel) -> None:
    denoiser, text = weights_gb(base)
    held = {"resident": denoiser + text, "text_offloaded": denoiser, "offloaded": 0.0}
    for card in (*CARDS_GB, 80, 140):
        how = generating(base, card)
        assert held[how] < 0.9 * card, (card, how)
        assert not text_fits(base, card) or text < 0.9 * card
    (row,) = (one for one in table() if one["name"] == base.name)
    assert float(str(row["generate_memory_gb"])) > denoiser + text + 1.5


def test_the_largest_that_were_too_small_are_not_any_more() -> None:
    """Qwen-Image with its text encoder is larger than the 48 GB it was to be drawn with as a whole."""
    named = {base.name: base for base in bases()}
    assert [placement(named["qwen-image"], gb) for gb in (24, 48, 64, 80)] == [
        "offloaded", "offloaded", "text_offloaded", "resident",
    ]  # fmt: skip
    assert [placement(named["krea2"], gb) for gb in (24, 36, 48)] == [
        "offloaded", "text_offloaded", "resident",
    ]  # fmt: skip
    klein = named["flux2-klein-4b"]
    assert [placement(klein, gb) for gb in (None, 8, 12, 24)] == [
        "resident", "offloaded", "text_offloaded", "resident",
    ]  # fmt: skip


def test_larger_pictures_and_whole_precision_need_more() -> None:
    sd15 = next(base for base in bases() if base.name == "sd15")
    small, large = footprint(sd15), footprint(replace(sd15, resolution_px=1024))
    assert small is not None and large is not None
    assert large.resident_gb - small.resident_gb == pytest.approx(3 * 0.9)
    assert small.resident_gb > 4 * 0.98  # four bytes a weight
    assert footprint(replace(sd15, encoders_b=None)) is None
    assert placement(replace(sd15, encoders_b=None), 1.0) == "resident"


def test_the_text_encoders_of_a_folder_are_counted(tmp_path: Path) -> None:
    base = resolve_base(make_tiny("sdxl", tmp_path / "base"))
    parts = [tmp_path / "base" / f"text_encoder{n}" / "model.safetensors" for n in ("", "_2")]
    assert base.encoders_b == pytest.approx(sum(p.stat().st_size for p in parts) / 4e9, rel=0.2)
