"""Captions stay with their pictures; damaged entries are computed anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import make_crops

from portrait_lora.errors import ArtifactError
from portrait_lora.families.sd15 import SD15
from portrait_lora.training import cache


def test_pairs_hold_whatever_the_order(tiny_sd15: SD15, tmp_path: Path) -> None:
    crops = make_crops(tmp_path / "crops", ((64, 64), (64, 64), (48, 80)))
    first = cache.encode(tiny_sd15, crops, tmp_path / "cache").samples
    turned = cache.encode(tiny_sd15, crops[::-1], tmp_path / "cache").samples
    for a, b in zip(first, turned[::-1], strict=True):
        assert (a.key, a.caption) == (b.key, b.caption)
        assert torch.equal(a.mean_CHW, b.mean_CHW) and torch.equal(
            a.condition.embeds_BLD, b.condition.embeds_BLD
        )
    assert first[2].mean_CHW.shape == (4, 10, 6)
    assert not torch.equal(first[0].condition.embeds_BLD, first[1].condition.embeds_BLD)
    tiny_sd15.load("encoders")
    for crop, sample in zip(crops, first, strict=True):
        torch.testing.assert_close(
            tiny_sd15.encode_prompts([crop.caption]).embeds_BLD, sample.condition.embeds_BLD
        )


def test_nothing_is_encoded_twice(tiny_sd15: SD15, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crops = make_crops(tmp_path / "crops")
    cache.encode(tiny_sd15, crops, tmp_path / "cache")
    calls: list[str] = []
    monkeypatch.setattr(tiny_sd15, "load", calls.append)
    cache.encode(tiny_sd15, crops, tmp_path / "cache")
    assert calls == []


def test_an_edited_caption_or_crop_is_encoded_anew(tiny_sd15: SD15, tmp_path: Path) -> None:
    crops = make_crops(tmp_path / "crops")
    before = cache.encode(tiny_sd15, crops, tmp_path / "cache").samples
    crops[0] = replace(crops[0], caption="profile close-up of ohwx woman")
    Image.new("RGB", (64, 64), (200, 30, 30)).save(crops[1].path)
    after = cache.encode(tiny_sd15, crops, tmp_path / "cache").samples
    assert not torch.equal(before[0].condition.embeds_BLD, after[0].condition.embeds_BLD)
    assert torch.equal(before[0].mean_CHW, after[0].mean_CHW)
    assert not torch.equal(before[1].mean_CHW, after[1].mean_CHW)


def test_a_damaged_entry_is_named_and_replaced(
    tiny_sd15: SD15, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    crops = make_crops(tmp_path / "crops")
    before = cache.encode(tiny_sd15, crops, tmp_path / "cache").samples
    entry = next((tmp_path / "cache").glob("latents-*"))
    entry.write_bytes(entry.read_bytes()[:40])
    after = cache.encode(tiny_sd15, crops, tmp_path / "cache").samples
    assert entry.name in caplog.text
    assert all(torch.equal(a.mean_CHW, b.mean_CHW) for a, b in zip(before, after, strict=True))


def test_a_crop_of_the_wrong_size_is_an_error(tiny_sd15: SD15, tmp_path: Path) -> None:
    crops = make_crops(tmp_path / "crops")
    with pytest.raises(ArtifactError, match="another size"):
        cache.encode(tiny_sd15, [replace(crops[0], bucket=(64, 80))], tmp_path / "cache")


def test_a_picture_of_floats_with_nan_is_an_error(tiny_sd15: SD15, tmp_path: Path) -> None:
    crop = make_crops(tmp_path / "crops")[0]
    picture = np.full((64, 64), 0.5, dtype=np.float32)
    picture[10:20, 10:20] = np.nan
    Image.fromarray(picture).save(tmp_path / "nan.tiff")
    with pytest.raises(ArtifactError, match=r"nan\.tiff: .*8 bits per channel.*got F"):
        cache.encode(tiny_sd15, [replace(crop, path=tmp_path / "nan.tiff")], tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("latents-*"))
