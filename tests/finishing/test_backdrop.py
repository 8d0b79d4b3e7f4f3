"""The backdrop: the person's pixels stay, the light is the face's, what contradicts it is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from portrait_lora.errors import InputError
from portrait_lora.finishing import backdrop, colour, light
from portrait_lora.finishing.canvas import Canvas
from portrait_lora.finishing.steps.backdrop import Backdrop, BackdropSettings, noise_of
from portrait_lora.finishing.steps.cutout import Cutout, CutoutSettings
from tests.finishing import studio

KINDS = ("plain", "gradient", "paper", "plaster", "cloud", "bokeh")


def cut(**fixed: object) -> Canvas:
    """A sitter lit from one side, cut out."""
    one = studio.sitter(3, **({"lighting": "rembrandt lighting", "rig_flip": False} | fixed))
    return Cutout().apply(one.canvas, CutoutSettings(), studio.tools())


def behind(canvas: Canvas, folder: Path = Path(), seed: int = 0, **values: object) -> Canvas:
    return Backdrop().apply(canvas, BackdropSettings.model_validate(values), studio.tools(folder, seed))


def slope_behind(canvas: Canvas, result: Canvas) -> tuple[float, float]:
    """Of the backdrop alone, well away from the person."""
    assert canvas.alpha_HW is not None
    return light.slope(result.rgb_HW3, canvas.alpha_HW == 0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_person_stays_to_the_bit_and_seeds_decide(kind: str) -> None:
    canvas = cut()
    assert canvas.alpha_HW is not None
    first, again = behind(canvas, kind=kind), behind(canvas, kind=kind)
    assert first.alpha_HW is None and first.rgb_HW3.dtype == np.float32
    opaque, clear = canvas.alpha_HW >= 0.999, canvas.alpha_HW == 0
    assert np.array_equal(first.rgb_HW3[opaque], canvas.rgb_HW3[opaque])
    assert first.rgb_HW3.tobytes() == again.rgb_HW3.tobytes()
    other = behind(canvas, seed=1, kind=kind)
    assert not np.array_equal(first.rgb_HW3[clear], other.rgb_HW3[clear])


@pytest.mark.parametrize("kind", ["plain", "gradient", "paper", "cloud"])
@pytest.mark.parametrize("flip", [False, True])
def test_the_backdrop_is_lit_from_the_side_of_the_face(kind: str, flip: bool) -> None:
    canvas = cut(rig_flip=flip)
    right, up = slope_behind(canvas, behind(canvas, kind=kind, shadow=0.0))
    towards = studio.sitter(3, lighting="rembrandt lighting", rig_flip=flip).light
    assert right * towards[0] > 0 and up > 0
    flat, _ = slope_behind(canvas, behind(canvas, kind="plain", light=0.0, shadow=0.0))
    assert abs(flat) < 0.05


def test_a_shadow_falls_away_from_the_lamp() -> None:
    canvas = cut(rig_flip=False)  # the lamp is on the left
    plain = {"kind": "plain", "light": 0.0, "grade": 0.0}
    without, shadowed = (colour.luma(behind(canvas, shadow=s, **plain).rgb_HW3) for s in (0.0, 0.6))
    loss = without - shadowed
    left, right = loss[60:120, :40].mean(), loss[60:120, -40:].mean()
    assert max(left, right) > 0.005
    towards = studio.sitter(3, lighting="rembrandt lighting", rig_flip=False).light
    assert (right > left) == (towards[0] < 0)


def test_warm_light_makes_the_backdrop_warm() -> None:
    canvas = cut(lighting="golden hour lighting")
    plain = {"kind": "plain", "colour": "#808080", "light": 0.0, "shadow": 0.0, "grade": 0.0}
    red, _, blue = behind(canvas, warmth=1.0, **plain).rgb_HW3[2, 2]
    assert red > blue + 0.01
    red, _, blue = behind(canvas, warmth=0.0, **plain).rgb_HW3[2, 2]
    assert red == pytest.approx(blue, abs=0.006)  # dither


def test_a_smooth_backdrop_has_the_noise_of_the_picture() -> None:
    one = studio.sitter(3)
    noisy = np.random.default_rng(0).normal(0, 4, one.picture.shape[:2])[..., None] + one.picture
    canvas = Canvas.of(np.clip(noisy, 0, 255).astype(np.uint8))
    result = behind(canvas, kind="plain", light=0.0, shadow=0.0)
    corner = colour.luma(result.rgb_HW3)[:40, :40]
    assert 0.008 < float(corner.std()) < 0.022  # 4 / 255 = 0.0157
    assert noise_of(np.zeros((40, 40), np.float32), np.zeros((40, 40), bool)) == 0.0


def test_only_a_backdrop_with_deeper_blacks_is_lifted() -> None:
    from dataclasses import replace

    canvas = cut()
    assert canvas.alpha_HW is not None
    faded = replace(canvas, rgb_HW3=np.asarray(0.2 + 0.8 * canvas.rgb_HW3, np.float32))
    clear = canvas.alpha_HW == 0
    plain = {"kind": "plain", "light": 0.0, "shadow": 0.0, "warmth": 0.0}

    def lift(tone: str) -> float:
        matched, bare = (behind(faded, colour=tone, grade=g, **plain) for g in (1.0, 0.0))
        return float((matched.rgb_HW3 - bare.rgb_HW3)[clear].mean())

    assert abs(lift("#b9bcc0")) < 0.003
    assert 0.04 < lift("#000000") < 0.07


def test_a_picture_that_is_not_cut_out_is_cut_out_first() -> None:
    one = studio.sitter(3)
    whole = behind(one.canvas, kind="plain")
    parts = behind(Cutout().apply(one.canvas, CutoutSettings(), studio.tools()), kind="plain")
    assert np.abs(whole.rgb_HW3 - parts.rgb_HW3).mean() < 0.004
    twice = behind(whole, kind="plain", colour="#803020")
    assert twice.rgb_HW3[2, 2, 0] > twice.rgb_HW3[2, 2, 2] + 0.1  # the second one is what is seen


def own_picture(folder: Path, brighter: str, tint: tuple[float, float, float] = (1, 1, 1)) -> str:
    """A wide wall, a stop and a half brighter on one side."""
    ramp = light.ramp((400, 200), 1.5 if brighter == "right" else -1.5, 0)
    rgb = colour.to_coded(np.clip(0.3 * ramp[..., None] * np.array(tint), 0, 1))
    Image.fromarray((rgb * 255).astype(np.uint8)).save(folder / "wall.png")
    return "wall.png"


def test_a_picture_lit_from_the_other_side_is_refused_or_flattened(tmp_path: Path) -> None:
    canvas = cut(rig_flip=False)
    towards = studio.sitter(3, lighting="rembrandt lighting", rig_flip=False).light
    same, other = ("right", "left") if towards[0] > 0 else ("left", "right")
    agreeing = behind(canvas, tmp_path, picture=own_picture(tmp_path, same), shadow=0.0)
    assert slope_behind(canvas, agreeing)[0] * towards[0] > 0
    name = own_picture(tmp_path, other)
    with pytest.raises(InputError, match=rf"contradicts.*brighter on the {other}, .* lit from the {same}"):
        behind(canvas, tmp_path, picture=name)
    flat = behind(canvas, tmp_path, picture=name, flatten=True, shadow=0.0)
    assert slope_behind(canvas, flat)[0] * towards[0] > 0


def test_a_picture_of_another_warmth_is_refused() -> None:
    key = light.KeyLight((0.0, 0.6, 0.8), "face pack", 9000, 0.9, 0.9)
    warm = np.full((40, 60, 3), 0.4, np.float32) * np.array([1.0, 0.75, 0.45], np.float32)
    assert "warmer than the face's 9000 K" in str(backdrop.contradiction(warm, key))
    unsure = light.KeyLight((0.0, 0.6, 0.8), "face pack", 9000, 0.9, 0.3)
    assert backdrop.contradiction(warm, unsure) is None
    assert backdrop.warmth(backdrop.flattened(warm, key)) == pytest.approx(9000, rel=0.06)


def test_a_picture_covers_and_is_blurred(tmp_path: Path) -> None:
    stripes = np.zeros((64, 640, 3), np.uint8)
    stripes[:, ::8] = 255
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    canvas = cut(lighting="butterfly lighting")
    sharp = behind(canvas, tmp_path, picture="stripes.png", shadow=0.0).rgb_HW3[:40]
    soft = behind(canvas, tmp_path, picture="stripes.png", blur=30, shadow=0.0).rgb_HW3[:40]
    assert sharp.std() > 3 * soft.std()
    assert behind(canvas, tmp_path, picture="stripes.png").size_px == canvas.size_px


def test_a_missing_and_a_damaged_picture(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such picture for the backdrop"):
        behind(cut(), tmp_path, picture="none.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(InputError, match="broken"):
        behind(cut(), tmp_path, picture="broken.png")


def test_no_face_is_an_error() -> None:
    with pytest.raises(InputError, match="no face"):
        behind(Canvas.of(np.full((240, 192, 3), 120, np.uint8)))


@pytest.mark.parametrize(
    "values",
    [{"kind": "brick"}, {"colour": "grey"}, {"colour": ""}, {"flatten": True}, {"blur": 5}, {"light": 2}],
)
def test_wrong_settings(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        BackdropSettings.model_validate(values)
