"""Pictures: reproducible, independent of the batch, marked, and not drawn twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from portrait_lora import provenance
from portrait_lora.errors import ConfigError
from portrait_lora.families.sd15 import SD15
from portrait_lora.generation import sample
from portrait_lora.generation.contact_sheet import contact_sheet
from portrait_lora.generation.drawing import open_pipeline
from portrait_lora.generation.sample import generate
from portrait_lora.records import Adapter, Portrait, Shot
from tests.recipes import sampler as make_sampler

SAMPLER = make_sampler(3, 3.0)


def _pixels(portraits: list[Portrait]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(p.path)).astype(int) for p in portraits])


def test_same_seed_same_bytes_and_any_batch_size(
    tiny_sd15: SD15, adapter: Adapter, shots: list[Shot], tmp_path: Path
) -> None:
    a = generate(tiny_sd15, adapter, shots, tmp_path / "a", SAMPLER, batch_size=3)
    b = generate(tiny_sd15, adapter, shots, tmp_path / "b", SAMPLER, batch_size=3)
    c = generate(tiny_sd15, adapter, shots[::-1], tmp_path / "c", SAMPLER, batch_size=1)[::-1]
    assert [p.path.read_bytes() for p in a] == [p.path.read_bytes() for p in b]
    assert np.abs(_pixels(a) - _pixels(c)).max() <= 3, (
        "one grey level of rounding, and the mark that answers to it"
    )
    assert np.abs(_pixels(a)[0] - _pixels(a)[1]).max() > 5
    assert [p.shot for p in a] == shots


def test_the_bare_base_answers_the_empty_prompt_on_request(
    tiny_sd15: SD15, adapter: Adapter, shots: list[Shot], tmp_path: Path
) -> None:
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(1, 4, 8, 8, generator=generator).expand(2, -1, -1, -1)
    time = torch.tensor([500, 500])

    def answer(name: str, adapter: Adapter | None) -> torch.Tensor:
        pipe = open_pipeline(tiny_sd15, adapter, replace(SAMPLER, unconditional=name))
        width = pipe.unet.config.cross_attention_dim
        states = torch.ones(2, 5, width)
        with torch.no_grad():
            return pipe.unet(noisy, time, encoder_hidden_states=states).sample

    bare, both, half = answer("adapter", None), answer("adapter", adapter), answer("base", adapter)
    assert torch.allclose(half[0], bare[0], atol=1e-5)
    assert torch.allclose(half[1], both[1], atol=1e-5)
    assert (both[0] - bare[0]).abs().max() > 1e-3
    assert torch.allclose(answer("adapter", adapter), both)  # nothing is left behind

    from_base = replace(SAMPLER, unconditional="base")
    unguided = generate(tiny_sd15, adapter, shots[:1], tmp_path / "base", from_base)[0]
    usual = generate(tiny_sd15, adapter, shots[:1], tmp_path / "usual", SAMPLER)[0]
    recipe = provenance.read_record(unguided.path)
    assert recipe is not None and recipe["unconditional"] == "base"
    assert "unconditional" not in (provenance.read_record(usual.path) or {})
    assert np.abs(_pixels([unguided]) - _pixels([usual])).max() > 1


def test_a_family_that_asks_twice_refuses_the_bare_base(
    tiny_sd15: SD15, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_sd15, "guides_in_one_batch", False, raising=False)
    with pytest.raises(ConfigError, match=r"generate\.unconditional"):
        open_pipeline(tiny_sd15, adapter, replace(SAMPLER, unconditional="base"))


def test_the_adapter_and_its_scale_show(
    tiny_sd15: SD15, adapter: Adapter, shots: list[Shot], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Other recipes have other marks.
    monkeypatch.setattr("portrait_lora.generation.save.marked", lambda picture, record: picture)

    def draw(name: str, who: Adapter | None, scale: float) -> np.ndarray:
        return _pixels(
            generate(tiny_sd15, who, shots[:1], tmp_path / name, replace(SAMPLER, adapter_scale=scale))
        )

    base, none, full = draw("base", None, 1.0), draw("none", adapter, 0.0), draw("full", adapter, 1.0)
    assert np.abs(base - none).max() <= 1
    assert np.abs(base - full).max() > 2


def test_each_picture_records_how_it_was_generated(
    tiny_sd15: SD15, adapter: Adapter, shots: list[Shot], tmp_path: Path
) -> None:
    portrait = generate(tiny_sd15, adapter, shots[:1], tmp_path, SAMPLER)[0]
    assert provenance.source_type(portrait.path) == "trainedAlgorithmicMedia"
    assert (
        b"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
        in portrait.path.read_bytes()
    )
    assert not provenance.is_studio_picture(portrait.path)
    recipe = provenance.read_record(portrait.path)
    assert recipe["prompt"] == shots[0].prompt and recipe["seed"] == shots[0].seed
    assert recipe["adapter_sha256"] == portrait.adapter_digest is not None
    sidecar = json.loads(portrait.path.with_suffix(".json").read_text())
    assert sidecar["recipe"] == recipe
    assert Image.open(portrait.path).size == shots[0].size_px


def test_only_what_is_missing_or_changed_is_drawn(
    tiny_sd15: SD15, adapter: Adapter, shots: list[Shot], tmp_path: Path
) -> None:
    first = generate(tiny_sd15, adapter, shots, tmp_path, SAMPLER)
    stamps = [p.path.stat().st_mtime_ns for p in first]
    first[1].path.write_bytes(b"damaged")
    again = generate(tiny_sd15, adapter, shots, tmp_path, SAMPLER)
    after = [p.path.stat().st_mtime_ns for p in again]
    assert [a == b for a, b in zip(stamps, after, strict=True)] == [True, False, True]
    assert _pixels(again).shape == (3, 64, 64, 3)
    generate(tiny_sd15, adapter, shots, tmp_path, replace(SAMPLER, adapter_scale=0.5))
    assert all(p.path.stat().st_mtime_ns != b for p, b in zip(again, after, strict=True))
    last = first[0].path.stat().st_mtime_ns
    generate(tiny_sd15, adapter, shots, tmp_path, replace(SAMPLER, adapter_scale=0.5), force=True)
    assert first[0].path.stat().st_mtime_ns != last


def test_sizes_may_differ_within_a_call(tiny_sd15: SD15, shots: list[Shot], tmp_path: Path) -> None:
    from dataclasses import replace

    mixed = [replace(s, size_px=size) for s, size in zip(shots, ((64, 64), (48, 80), (64, 64)), strict=True)]
    portraits = generate(tiny_sd15, None, mixed, tmp_path, SAMPLER)
    assert [Image.open(p.path).size for p in portraits] == [(64, 64), (48, 80), (64, 64)]
    assert [p.adapter_digest for p in portraits] == [None] * 3


def test_contact_sheet_is_a_page_that_holds_the_pictures(tmp_path: Path, shots: list[Shot]) -> None:
    colours = ((200, 40, 40), (40, 160, 60), (50, 60, 190))
    portraits: list[Portrait] = []
    for shot, colour in zip(shots, colours, strict=True):
        path = tmp_path / f"{shot.name}.png"
        Image.new("RGB", (64, 64), colour).save(path)
        portraits.append(Portrait(path, shot, 3, 3.0, 1.0, None))
    sheet = contact_sheet(portraits, tmp_path / "sheet.jpg", title="Headshots")
    page = np.asarray(Image.open(sheet)).astype(int)
    assert page.shape[1] == 2 * 56 + 3 * 256 + 2 * 28  # enlarged to 256 px, even gutters
    for i, colour in enumerate(colours):
        assert np.abs(page[56 + 58 + 128, 56 + i * 284 + 128] - colour).max() < 6
    assert provenance.source_type(sheet) == "trainedAlgorithmicMedia"
    assert (
        contact_sheet(portraits, tmp_path / "again.jpg", title="Headshots").read_bytes() == sheet.read_bytes()
    )
    renamed = [
        replace(p, path=p.path.rename(p.path.with_name(f"other-{i}.png"))) for i, p in enumerate(portraits)
    ]
    other = contact_sheet(renamed, tmp_path / "other.jpg", title="Headshots")
    assert other.read_bytes() != sheet.read_bytes(), "the names of the files stand on it"


def test_a_batch_moves_its_line_by_parts_that_add_up() -> None:
    for steps, called in ((4, 4), (4, 9), (4, 1), (1, 0)):  # samplers of second order call more often
        parts: list[float] = []

        def advance(n: float = 1, *, parts: list[float] = parts, **fields: float | str) -> None:
            parts.append(n)

        batch = sample.BatchProgress(advance, 3, steps)
        for _ in range(called):
            batch.step()
        assert sum(parts) < 3
        batch.finish()
        assert sum(parts) == pytest.approx(3) and min(parts) > 0
