"""Colours of the person alone: known mixes are taken apart, opaque pixels stay to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from portrait_lora.finishing import colour
from portrait_lora.finishing.foreground import foreground, layers
from portrait_lora.finishing.steps.cutout import Cutout, CutoutSettings
from portrait_lora.records import FloatArray
from tests.finishing import studio


def mix(width: int = 160, height: int = 120) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """A soft disc of a warm gradient on a cool one, in linear light: picture, alpha, both layers."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    away = np.hypot(x - width / 2, y - height / 2)
    alpha = np.clip((0.35 * height - away) / 14 + 0.5, 0, 1).astype(np.float32)
    ramp = (x / width)[..., None]
    front = (np.array([0.7, 0.35, 0.2]) * (0.7 + 0.3 * ramp)).astype(np.float32)
    behind = (np.array([0.05, 0.2, 0.5]) * (1.0 - 0.4 * ramp)).astype(np.float32)
    return front * alpha[..., None] + behind * (1 - alpha[..., None]), alpha, front, behind


def test_a_known_mix_is_taken_apart() -> None:
    picture, alpha, front, behind = mix()
    got_front, got_behind = layers(picture, alpha)
    edge = (alpha > 0.05) & (alpha < 0.95)
    assert np.abs(got_front - front)[edge].mean() < 0.004  # the mix itself: 0.13
    assert np.abs(got_behind - behind)[edge].mean() < 0.003
    again = got_front * alpha[..., None] + got_behind * (1 - alpha[..., None])
    assert np.abs(again - picture)[edge].mean() < 0.001


def test_opaque_pixels_stay_to_the_bit() -> None:
    picture, alpha, _, _ = mix()
    coded = colour.to_coded(picture)
    result = foreground(coded, alpha)
    assert np.array_equal(result[alpha == 1], coded[alpha == 1])
    assert foreground(coded, np.ones_like(alpha)) is coded


def test_a_large_picture_is_estimated_at_a_bounded_size() -> None:
    picture, alpha, front, _ = mix(1920, 320)
    got = colour.to_linear(foreground(colour.to_coded(picture), alpha))
    edge = (alpha > 0.05) & (alpha < 0.95)
    assert np.abs(got - front)[edge].mean() < 0.03


@pytest.mark.parametrize("seed", [3, 5])
def test_a_swap_has_less_halo_than_with_the_old_colours(seed: int) -> None:
    one = studio.sitter(seed, "white gradient backdrop")
    truth = colour.to_linear(one.alone.astype(np.float32) / 255)
    edge = (one.alpha > 0.05) & (one.alpha < 0.95)

    def error(keep: bool) -> float:
        """On black: what is left of the old white shows most."""
        cut = Cutout().apply(one.canvas, CutoutSettings(keep_colours=keep), studio.tools())
        assert cut.alpha_HW is not None
        shown = colour.to_linear(cut.rgb_HW3) * cut.alpha_HW[..., None]
        off = colour.to_coded(shown) - colour.to_coded(truth * one.alpha[..., None])
        return float(np.abs(off)[edge].mean())

    assert error(False) < 0.7 * error(True)
