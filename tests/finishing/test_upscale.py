"""Upscaling: tiles without seams, factors, licences, the detail pass, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from portrait_lora.errors import ConfigError, InputError
from portrait_lora.finishing import tiles, upscale
from portrait_lora.finishing.canvas import Canvas
from portrait_lora.finishing.esrgan import Compact, read_upscaler
from portrait_lora.finishing.look import planned
from portrait_lora.finishing.resample import lanczos
from portrait_lora.finishing.steps.upscale import Upscale, UpscaleSettings
from portrait_lora.records import RGBImage
from tests.finishing.made_up import NoTools, canvas


def _repeated(scale: int) -> tiles.OfTile:
    return lambda part: part.repeat(scale, 0).repeat(scale, 1)


class _Net:
    """Repeats pixels."""

    def __init__(self, scale: int):
        self.scale, self.margin_px = scale, 2

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        return _repeated(self.scale)(rgb)


def _random_net(path: Path, scale: int = 4) -> Path:
    torch.manual_seed(2)
    net = Compact(8, 3, scale)
    for p in net.parameters():
        nn.init.normal_(p, std=0.1)
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, str(path))
    return path


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 40), (64, 64), (97, 33), (200, 17)])
@pytest.mark.parametrize("tile", [8, 32, 50])
def test_tiles_cover_everything_once(height: int, width: int, tile: int) -> None:
    picture = np.random.default_rng(0).uniform(0, 1, (height, width, 3)).astype(np.float32)
    out = tiles.enlarged(picture, 3, _repeated(3), tile=tile, margin=2)
    assert np.allclose(out, _repeated(3)(picture), atol=1e-6)


def test_the_result_does_not_depend_on_the_tiles(tmp_path: Path) -> None:
    net = read_upscaler(_random_net(tmp_path / "m.safetensors"))
    picture = canvas(150, 4).rgb_HW3
    whole = net(picture)
    for tile in (32, 47, 64, 100):
        out = tiles.enlarged(picture, 4, net, tile=tile, margin=net.margin_px)
        assert np.abs(out - whole).max() < 2e-6
    seamed = tiles.enlarged(picture, 4, net, tile=32, margin=0)
    assert np.abs(seamed - whole).max() > 1e-3  # the margin is what it takes


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("factor", [2, 4, 6])
def test_every_factor_of_every_scale(factor: int, scale: int) -> None:
    picture = canvas(40).rgb_HW3
    if scale > factor and scale % factor:
        with pytest.raises(InputError, match="another scale"):
            upscale.by_network(picture, factor, _Net(scale), 32)
        return
    out = upscale.by_network(picture, factor, _Net(scale), 32)
    assert out.shape == (40 * factor, 40 * factor, 3)
    assert np.allclose(out.reshape(40, factor, 40, factor, 3).mean(axis=(1, 3)), picture, atol=0.03)


def _upscaled(before: Canvas, tools: NoTools | None = None, **values: object) -> Canvas:
    return Upscale().apply(before, UpscaleSettings.model_validate(values), tools or NoTools())


def test_photographs_are_enlarged_by_lanczos_unless_a_model_is_named() -> None:
    before = canvas(40)
    after = _upscaled(before, factor=2)
    assert np.array_equal(after.rgb_HW3, np.clip(lanczos(before.rgb_HW3, (80, 80)), 0, 1))
    with pytest.raises(InputError, match="knows only the synthetic studio"):
        _upscaled(before, model="studio")


def test_a_model_beside_the_look_is_used(tmp_path: Path) -> None:
    net = read_upscaler(_random_net(tmp_path / "m.safetensors"))
    before = canvas(40)
    after = _upscaled(before, NoTools(tmp_path), model="m.safetensors", licence="MIT")
    assert np.allclose(after.rgb_HW3, net(before.rgb_HW3), atol=2e-6)
    neutral = Upscale().neutral(before, UpscaleSettings(), NoTools())
    assert neutral is not None
    assert neutral.size_px == (160, 160)


def test_alpha_is_enlarged_with_the_picture(tmp_path: Path) -> None:
    _random_net(tmp_path / "m.safetensors")
    alpha = np.zeros((40, 40), np.uint8)
    alpha[:, 20:] = 255
    before = Canvas.of(np.full((40, 40, 3), 120, np.uint8), alpha)
    after = _upscaled(before, NoTools(tmp_path), model="m.safetensors")
    assert after.alpha_HW is not None
    assert after.alpha_HW.shape == (160, 160)
    assert 0 <= after.alpha_HW.min() < 0.01 < 0.99 < after.alpha_HW.max() <= 1
    assert after.alpha_HW[80, 79] == pytest.approx(1 - after.alpha_HW[80, 80], abs=0.02)


def test_more_than_sixty_megapixels_are_refused() -> None:
    before = Canvas(np.zeros((1600, 1700, 3), np.float32))
    with pytest.raises(InputError, match=r"10200 x 9600 px; needed 60 megapixels"):
        _upscaled(before, factor=6)


@pytest.mark.parametrize(("wanted", "side"), [(64, 80), (81, 160), (200, 240), (900, 240)])
def test_a_wanted_side_takes_the_smallest_factor(wanted: int, side: int) -> None:
    before = canvas(40)
    settings = UpscaleSettings(factor=6, reach_px=wanted)
    assert Upscale().apply(before, settings, NoTools()).size_px == (side, side)
    neutral = Upscale().neutral(before, settings, NoTools())
    assert neutral is not None
    assert neutral.size_px == (side, side)


def test_a_picture_that_is_large_enough_stays() -> None:
    before = canvas(80)
    assert Upscale().apply(before, UpscaleSettings(reach_px=80), NoTools()) is before


class _Commercial(NoTools):
    commercial = True


def test_commercial_use_needs_a_known_licence(tmp_path: Path) -> None:
    path = _random_net(tmp_path / "m.safetensors")
    before, tools = canvas(20), _Commercial(tmp_path)
    with pytest.raises(InputError, match="not known to allow it: got no licence"):
        _upscaled(before, tools, model="m.safetensors")
    with pytest.raises(InputError, match=r"got CC-BY-NC-4\.0"):
        _upscaled(before, tools, model="m.safetensors", licence="CC-BY-NC-4.0")
    assert _upscaled(before, tools, model="m.safetensors", licence="MIT").size_px == (80, 80)
    path.with_suffix(".json").write_text(json.dumps({"licence": "Apache-2.0"}))
    assert _upscaled(before, tools, model="m.safetensors").size_px == (80, 80)
    with pytest.raises(InputError, match="different licences"):
        _upscaled(before, tools, model="m.safetensors", licence="MIT")
    path.with_suffix(".json").write_text(json.dumps({"licence": 3}))
    with pytest.raises(InputError, match="names no licence"):
        _upscaled(before, tools, model="m.safetensors")


@pytest.mark.parametrize("values", [{"factor": 3}, {"factor": 4, "tile": 4}, {"modle": "lanczos"}])
def test_wrong_settings_are_errors(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="wrong setting of upscale"):
        planned([{"upscale": values}], "test")


class _Redraw:
    """Adds light and stripes of one pixel."""

    side_px = 32

    def __init__(self, light: int, stripes: int):
        self.light, self.stripes = light, stripes
        self.seeds: list[int] = []

    def __call__(self, rgb: RGBImage, strength: float, seed: int) -> RGBImage:
        self.seeds.append(seed)
        out = rgb.astype(int) + self.light
        out[::2] += self.stripes
        out[1::2] -= self.stripes
        return np.clip(out, 0, 255).astype(np.uint8)


def _grey() -> np.ndarray:
    return np.full((70, 50, 3), 128 / 255, np.float32)


def test_the_detail_pass_takes_structure_and_no_tone() -> None:
    assert np.allclose(upscale.redrawn(_grey(), _Redraw(40, 0), 0.3, 5), _grey(), atol=1e-5)
    textured = canvas(70, 3).rgb_HW3
    assert np.allclose(upscale.redrawn(textured, _Redraw(0, 0), 0.3, 5), textured, atol=3 / 255)
    striped = _Redraw(0, 10)
    after = upscale.redrawn(_grey(), striped, 0.3, 5)
    assert after[20:50].std() > 0.02
    assert float(after.mean()) == pytest.approx(128 / 255, abs=2e-3)
    assert len(set(striped.seeds)) == len(striped.seeds) >= 6


def test_the_detail_pass_needs_a_model_of_the_person() -> None:
    with pytest.raises(InputError, match="no model of the person"):
        _upscaled(canvas(40), detail=0.2)
    with pytest.raises(InputError, match="too small for the detail pass"):
        upscale.redrawn(_grey()[:20], _Redraw(0, 0), 0.2, 1)


def test_the_detail_pass_follows_the_network() -> None:
    class WithRedraw(NoTools):
        redraw = _Redraw(0, 10)

    plain, drawn = _upscaled(canvas(20)), _upscaled(canvas(20), WithRedraw(), detail=0.2)
    assert drawn.size_px == plain.size_px
    assert 0.005 < float(np.abs(drawn.rgb_HW3 - plain.rgb_HW3).mean()) < 0.1
