"""The key light of a face: known directions and lamps come back, with confidence where it is due."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from portrait_lora.finishing import colour, light
from tests.finishing import studio


@pytest.mark.parametrize("flip", [False, True])
def test_the_side_is_that_of_the_lamp(flip: bool) -> None:
    one = studio.sitter(3, lighting="rembrandt lighting", rig_flip=flip)
    tools = studio.tools()
    face, rgb = tools.face(one.canvas), one.canvas.rgb_HW3
    by_pack = light.measure(rgb, face, tools.parts(one.canvas))
    assert by_pack.source == "face pack"
    assert float(np.dot(by_pack.direction, one.light)) > np.cos(np.radians(15))
    by_shading = light.measure(rgb, replace(face, light_direction=None), None)
    assert by_shading.source == "shading"
    assert by_shading.direction[0] * one.light[0] > 0 and by_shading.direction[1] > 0
    assert by_shading.direction_confidence < by_pack.direction_confidence
    assert np.linalg.norm(by_shading.direction) == pytest.approx(1)


def test_warm_light_reads_warmer_than_cool_light() -> None:
    """Two rigs, five people each: evening sun and a north window."""

    def kelvin(rig: str) -> float:
        kelvins = []
        for seed in (3, 5, 8, 13, 21):
            one = studio.sitter(seed, lighting=rig, expression="neutral")
            kelvins.append(light.measure(one.canvas.rgb_HW3, studio.tools().face(one.canvas), None).kelvin)
        return float(np.mean(kelvins))

    assert kelvin("golden hour lighting") + 500 < kelvin("window light")


def test_a_face_without_eyes_to_see_has_no_temperature() -> None:
    one = studio.sitter(3)
    face = replace(studio.tools().face(one.canvas), landmarks_px=None, light_direction=None)
    black = light.measure(np.zeros_like(one.canvas.rgb_HW3), face, None)
    assert (black.kelvin, black.kelvin_confidence) == (colour.D65_KELVIN, 0.0)
    assert black.direction_confidence == 0.0


@pytest.mark.parametrize("kelvin", [4500.0, 6504.0, 9000.0])
def test_white_under_daylight_has_its_temperature(kelvin: float) -> None:
    white = colour.adaptation(colour.D65_KELVIN, kelvin) @ np.full(3, 0.4, np.float32)
    assert light.kelvin_of(white) == pytest.approx(kelvin, rel=0.02)


def test_temperatures_are_bounded() -> None:
    assert light.kelvin_of(np.array([1.0, 0.1, 0.0])) == light.WARMEST_K
    assert light.kelvin_of(np.array([0.1, 0.3, 1.0])) == light.COOLEST_K


def test_a_slope_comes_back() -> None:
    grey = colour.to_coded(0.2 * light.ramp((300, 200), 0.7, -0.3))[..., None].repeat(3, 2)
    assert light.slope(grey) == pytest.approx((0.7, -0.3), abs=0.02)
    spoiled = grey.copy()
    spoiled[:, :100] = 0.9
    weight = np.ones((200, 300))
    weight[:, :110] = 0
    assert light.slope(spoiled, weight) == pytest.approx((0.7, -0.3), abs=0.05)
    assert light.slope(spoiled)[0] < 0
