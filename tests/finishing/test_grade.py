"""Grade: no change by default, what every setting does, and bounds that hold."""

from __future__ import annotations

import numpy as np
import pytest

from portrait_lora.finishing import colour
from portrait_lora.finishing.canvas import Canvas
from portrait_lora.finishing.steps.grade import Grade, GradeSettings
from tests.finishing.made_up import NoTools, canvas


def _graded(before: Canvas, **values: object) -> np.ndarray:
    return Grade().apply(before, GradeSettings.model_validate(values), NoTools()).rgb_HW3


def _flat(red: float, green: float, blue: float) -> Canvas:
    return Canvas(np.full((24, 24, 3), (red, green, blue), np.float32))


def test_nothing_wanted_is_nothing_changed() -> None:
    before = canvas()
    assert np.array_equal(_graded(before), before.rgb_HW3)


def test_a_stop_doubles_the_light() -> None:
    before = _flat(0.3, 0.3, 0.3)
    after = _graded(before, exposure=1.0)
    assert np.allclose(colour.to_linear(after), 2 * colour.to_linear(before.rgb_HW3), rtol=1e-4)
    assert _graded(_flat(0.97, 0.97, 0.97), exposure=2.0).max() < 1.0  # rolls off instead of clipping


def test_a_low_temperature_is_warm_and_keeps_luminance() -> None:
    warm, cool = (_graded(_flat(0.5, 0.5, 0.5), temperature=t)[0, 0] for t in (5000, 9000))
    assert warm[0] > warm[1] > warm[2]
    assert cool[0] < cool[1] < cool[2]
    before = float(colour.to_linear(np.array([0.5]))[0])
    assert float(colour.to_linear(warm) @ colour.LUMINANCE) == pytest.approx(before, rel=0.01)


def test_contrast_turns_about_middle_grey() -> None:
    grey = float(colour.to_coded(np.array([0.18]))[0])
    assert _graded(_flat(grey, grey, grey), contrast=0.8)[0, 0, 0] == pytest.approx(grey, abs=1e-3)
    assert _graded(_flat(0.2, 0.2, 0.2), contrast=0.8)[0, 0, 0] < 0.2
    assert _graded(_flat(0.8, 0.8, 0.8), contrast=0.8)[0, 0, 0] > 0.8


def test_no_banding_from_a_steep_curve() -> None:
    ramp = np.repeat(np.linspace(0, 1, 4096, dtype=np.float32)[None, :, None], 16, axis=0).repeat(3, axis=2)
    after = _graded(Canvas(ramp), contrast=1.0, curve=[[0.3, 0.1], [0.7, 0.9]])[0, :, 0]
    assert (np.diff(after) >= -1e-6).all()
    assert len(np.unique(after)) > 3000


def test_monochrome_is_grey_by_its_weights() -> None:
    red, blue = (
        _graded(_flat(*rgb), monochrome=[1, 0, 0])[0, 0] for rgb in ((0.8, 0.1, 0.1), (0.1, 0.1, 0.8))
    )
    assert np.allclose(red, 0.8, atol=1e-3)
    assert np.allclose(blue, 0.1, atol=1e-3)


def test_saturation_keeps_lightness() -> None:
    before = _flat(0.7, 0.4, 0.3)
    lab, less = colour.to_oklab(before.rgb_HW3)[0, 0], colour.to_oklab(_graded(before, saturation=0.5))[0, 0]
    assert less[0] == pytest.approx(lab[0], abs=1e-3)
    assert np.allclose(less[1:], lab[1:] / 2, atol=2e-3)


def test_vibrance_spares_skin() -> None:
    def gain(one: Canvas) -> float:
        pair = (one.rgb_HW3, _graded(one, vibrance=0.6))
        before, after = (np.hypot(*colour.to_oklab(v)[0, 0, 1:]) for v in pair)
        return float(after / before)

    assert gain(_flat(0.50, 0.58, 0.47)) > gain(_flat(0.72, 0.55, 0.47)) > 1.0


def test_split_toning_colours_its_own_end() -> None:
    dark, light = (_graded(_flat(v, v, v), shadows="#0040ff", toning=0.5)[0, 0] for v in (0.1, 0.9))
    assert dark[2] - dark[0] > 0.02
    assert abs(light[2] - light[0]) < 0.005


def test_a_vignette_darkens_corners_only() -> None:
    after = _graded(_flat(0.5, 0.5, 0.5), vignette=1.0)
    assert after[12, 12, 0] == pytest.approx(0.5, abs=0.01)
    assert after[0, 0, 0] < 0.25


def test_halation_glows_warm_around_light() -> None:
    rgb = np.full((64, 64, 3), 0.2, np.float32)
    rgb[:, :32] = 1.0
    after = _graded(Canvas(rgb), halation=1.0)
    assert after[32, 33, 0] - after[32, 33, 2] > 0.015
    assert np.allclose(after[:, 60:], 0.2, atol=2e-3)


def test_grain_keeps_the_mean_and_repeats() -> None:
    before = _flat(0.5, 0.5, 0.5)
    first, again = _graded(before, grain=0.5), _graded(before, grain=0.5)
    assert np.array_equal(first, again)
    assert first.std() > 0.01
    assert abs(float(first.mean()) - 0.5) < 0.02


@pytest.mark.parametrize(
    "values",
    [
        {"curve": [[0.5, 0.2], [0.4, 0.9]]},
        {"curve": [[0.1, 0.9], [0.6, 0.2]]},
        {"monochrome": [0, 0, 0]},
        {"shadows": "blue"},
        {"exposure": float("nan")},
        {"contrst": 0.2},
    ],
)
def test_wrong_settings_are_errors(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"curve|weights|colour|finite|Extra"):
        GradeSettings.model_validate(values)


def test_oklab_is_undone() -> None:
    values = np.random.default_rng(0).uniform(0, 1, (50, 3)).astype(np.float32)
    assert np.allclose(colour.from_oklab(colour.to_oklab(values)), values, atol=2e-4)
