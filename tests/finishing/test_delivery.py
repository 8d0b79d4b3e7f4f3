"""From a portrait of 128 px to a delivered picture; and what the embedded upscaler is worth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_lora import manifest, provenance
from portrait_lora.finishing import licences, upscale
from portrait_lora.finishing.esrgan import read_upscaler
from portrait_lora.finishing.resample import lanczos
from portrait_lora.pictures import srgb
from portrait_lora.synthetic import render, sample_people, sample_scenes
from portrait_lora.tasks import finish as finishing


def _render(seed: int, size_px: tuple[int, int]) -> np.ndarray:
    scenes = sample_scenes([seed * 7], view="frontal", head_fraction=0.6)
    image = render(sample_people([seed]), scenes, size_px=size_px, supersample=1).image_BCHW[0]
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def test_a_profile_photo_is_delivered_and_made_again(tmp_path: Path) -> None:
    portrait = tmp_path / "p.png"
    picture = Image.fromarray(_render(897_001, (512, 640))).resize((128, 160), Image.Resampling.BOX)
    picture.save(portrait, pnginfo=provenance.png_info(None))
    (one,) = finishing.finish(portrait, "linkedin", None, tmp_path / "out", []).pictures
    assert one.file is not None, one.refused
    assert [step.step for step in one.steps] == ["upscale", "retouch", "grade", "format"]
    assert one.before_b is not None
    assert one.after_b is not None
    assert one.before_b - one.after_b < 0.05
    with Image.open(one.file) as done:
        assert (done.format, done.size) == ("JPEG", (800, 800))
        assert done.info["icc_profile"] == srgb.profile()
    record = json.loads(Path(one.file).with_suffix(".json").read_text())["recipe"]
    digest = json.loads(upscale.STUDIO.with_suffix(".json").read_text())["sha256"]
    assert record["steps"][0]["files"] == {upscale.STUDIO.name: digest}
    assert finishing.reproduce(Path(one.file), None, portrait, []).same


def test_the_embedded_upscaler_is_the_recorded_one_and_better_than_lanczos() -> None:
    record = json.loads(upscale.STUDIO.with_suffix(".json").read_text())
    assert record["sha256"] == manifest.sha256_file(upscale.STUDIO)
    assert upscale.licence_of(upscale.STUDIO, "") in licences.PERMISSIVE
    net = read_upscaler(upscale.STUDIO)
    assert (net.scale, net.architecture) == (4, "Compact")
    gains: list[float] = []
    for seed in (897_011, 897_012, 897_013):
        truth = _render(seed, (320, 320)) / np.float32(255)
        small = truth.reshape(80, 4, 80, 4, 3).mean(axis=(1, 3), dtype=np.float32)
        errors = [np.mean((one - truth) ** 2) for one in (net(small), lanczos(small, (320, 320)))]
        gains.append(float(10 * np.log10(errors[1] / errors[0])))
    assert np.mean(gains) > 1.0


@pytest.mark.parametrize("threads", [1, 2])
def test_the_network_answers_the_same_by_any_number_of_threads(threads: int) -> None:
    import torch

    small = _render(897_011, (160, 160)) / np.float32(255)
    before = torch.get_num_threads()
    net = read_upscaler(upscale.STUDIO)
    first = net(small)
    try:
        torch.set_num_threads(threads)
        assert np.array_equal(net(small), first)
    finally:
        torch.set_num_threads(before)
