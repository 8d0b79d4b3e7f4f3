"""How the denoiser is held while it draws: a setting of the drawing, recorded, and nobody else's doing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from portrait_lora import provenance
from portrait_lora.errors import InputError
from portrait_lora.families import diffusers_family, open_family
from portrait_lora.families.catalog import bases
from portrait_lora.families.footprint import footprint
from portrait_lora.families.placing import placement_of
from portrait_lora.families.sd15 import SD15
from portrait_lora.generation import drawing, edits, remake
from portrait_lora.generation.sample import generate
from portrait_lora.generation.together import open_together
from portrait_lora.records import Adapter, Shot
from tests.recipes import sampler as make_sampler

SAMPLER = make_sampler(2, 2.0)
HALF = replace(SAMPLER, weights="bfloat16")


@pytest.fixture
def family(tiny_sd15: SD15) -> Iterator[SD15]:
    """The same base, opened anew."""
    opened = SD15(tiny_sd15.base)
    yield opened
    opened.load("none")


def _pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), dtype=float)


def _dtype(pipe: Any) -> torch.dtype:
    return next(pipe.unet.parameters()).dtype


def test_how_a_training_held_the_base_does_not_decide_what_is_drawn(
    family: SD15, adapter: Adapter, shots: list[Shot], tmp_path: Path
) -> None:
    before = generate(family, adapter, shots[:1], tmp_path / "before", SAMPLER)[0].path
    family.load("none")
    family.weights = "bfloat16"
    family.load("denoiser")
    assert next(family.denoiser.parameters()).dtype == torch.bfloat16
    family.load("none")
    after = generate(family, adapter, shots[:1], tmp_path / "after", SAMPLER)[0].path
    assert before.read_bytes() == after.read_bytes()


def test_the_weights_of_a_drawing_are_recorded_and_reproduced(
    family: SD15, adapter: Adapter, shots: list[Shot], tmp_path: Path
) -> None:
    usual, half = (
        generate(family, adapter, shots[:1], tmp_path / name, sampler)[0].path
        for name, sampler in (("usual", SAMPLER), ("half", HALF))
    )
    off = np.abs(_pixels(half) - _pixels(usual))
    assert off.max() > 0 and off.mean() < 8
    records = [provenance.read_record(path) for path in (usual, half)]
    assert "weights" not in records[0] and records[1]["weights"] == "bfloat16"
    assert edits.sampler_of(records[1]).weights == "bfloat16" and edits.sampler_of(records[0]).weights is None
    for path, record in zip((half, usual), records[::-1], strict=True):  # each opens the pipeline anew
        again = remake.remake(family, record, adapter, lambda _: None)
        assert remake.compare(Image.open(path), again, record).same
    kept = half.stat().st_mtime_ns
    generate(family, adapter, shots[:1], half.parent, HALF)
    assert half.stat().st_mtime_ns == kept
    generate(family, adapter, shots[:1], half.parent, SAMPLER)  # not what was asked for any more
    assert half.read_bytes() == usual.read_bytes()


def test_one_pipeline_is_kept_as_long_as_its_weights_are_wanted(family: SD15, adapter: Adapter) -> None:
    first = drawing.open_pipeline(family, None, HALF)
    assert _dtype(first) == torch.bfloat16
    assert drawing.open_pipeline(family, adapter, HALF).unet is first.unet
    assert _dtype(drawing.open_pipeline(family, None, SAMPLER)) == torch.float32
    pipe, _ = open_together(family, [adapter], HALF)
    assert _dtype(pipe) == torch.bfloat16


def test_a_family_that_was_opened_in_half_precision_draws_in_it(tiny_sd15: SD15) -> None:
    half = SD15(tiny_sd15.base, "cpu", "bfloat16")
    assert _dtype(half.pipeline(None)) == torch.bfloat16


def test_other_weights_are_placed_by_their_own_size(family: SD15, monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[str] = []

    def placed(pipe: Any, device: torch.device, where: str) -> Any:
        places.append(where)
        return pipe

    monkeypatch.setattr(diffusers_family, "placed", placed)
    family.room_gb = 1.0  # of which the libraries need all
    for weights in (None, "bfloat16"):
        family.pipeline(None, weights)
    family.streamed, family.room_gb = True, 24.0
    family.pipeline(None)
    assert places == ["resident", "offloaded", "offloaded"]


def test_what_cannot_be_is_refused(family: SD15) -> None:
    with pytest.raises(InputError, match=r"generate\.weights: int8 weights need a CUDA device"):
        family.pipeline(None, "int8")
    flux = next(base for base in bases() if base.name == "flux1-dev")
    large = open_family(flux)
    large.room_gb = 8.0  # type: ignore[attr-defined]
    with pytest.raises(
        InputError, match=r"flux1-dev does not fit this GPU in int8: got 8 GB; needed 1\d GB.*weights=nf4"
    ):
        large.pipeline(None, "int8")
    large.room_gb = 6.0  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"in nf4: got 6 GB; needed 10 GB\. Set generate\.weights=auto"):
        large.pipeline(None, "nf4")
    ways = [placement_of(flux, room, held) for room in (24, 72, 80) for held in ("bfloat16", "float32")]
    assert ways == ["offloaded", "offloaded", "resident", "text_offloaded", "resident", "resident"]
    held = [footprint(flux, weights) for weights in (None, "bfloat16", "int8", "nf4")]
    least = [one.text_offloaded_gb for one in held if one is not None]
    assert least[0] == least[1] > least[2] > least[3]
    assert least[1] - least[3] == pytest.approx(1.4 * flux.parameters_b)
