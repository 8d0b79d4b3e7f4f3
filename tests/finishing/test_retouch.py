"""Retouch: every layer does its own work, the person's marks stay, and only the face changes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from portrait_lora.errors import ConfigError, InputError
from portrait_lora.faces import quality, resolve_pack
from portrait_lora.faces.backends import Analyzer, open_analyzer
from portrait_lora.finishing import retouch
from portrait_lora.finishing.canvas import Canvas, to_bytes
from portrait_lora.finishing.look import planned
from portrait_lora.finishing.retouch_regions import Regions, regions
from portrait_lora.finishing.steps.retouch import Retouch, RetouchSettings
from portrait_lora.finishing.tools import PictureTools
from portrait_lora.generation.checklist import skin_texture
from portrait_lora.records import Face, Parts, RGBImage
from portrait_lora.synthetic import render, sample_people, sample_scenes
from tests.finishing.made_up import NoTools

_SKIN = np.array([0.72, 0.035, 0.045], np.float32)


@cache
def _analyzer() -> Analyzer:
    return open_analyzer(resolve_pack("embedded"), "select")


@cache
def _portrait(expression: str = "laughing", seed: int = 896_001) -> RGBImage:
    scenes = sample_scenes(
        [seed * 7], view="frontal", expression=expression, head_fraction=0.55, lighting="three-point lighting"
    )
    drawn = render(sample_people([seed]), scenes, size_px=(384, 480), supersample=1)
    return np.ascontiguousarray(drawn.image_BCHW[0].permute(1, 2, 0).numpy())


def _tools() -> PictureTools:
    return PictureTools(_analyzer(), Path(), 0, lambda name: Path(name))


def _where(rgb: RGBImage) -> tuple[Regions, Face]:
    tools, before = _tools(), Canvas.of(rgb)
    face = tools.face(before)
    return regions(rgb.shape[:2], face, tools.parts(before)), face


def _retouched(rgb: RGBImage, **values: float) -> np.ndarray:
    return Retouch().apply(Canvas.of(rgb), RetouchSettings.model_validate(values), _tools()).rgb_HW3


def _flat(noise: float = 0.0) -> tuple[np.ndarray, Regions]:
    """A patch of skin of 200 x 200 px, 100 px between the eyes, with fine noise."""
    grain = np.random.default_rng(0).normal(0, noise, (200, 200, 1)).astype(np.float32)
    one, none = np.ones((200, 200), np.float32), np.zeros((200, 200), np.float32)
    lab = np.tile(_SKIN, (200, 200, 1)) + grain * np.array([1, 0, 0], np.float32)
    return lab.astype(np.float32), Regions(100.0, one, none, none, none, none)


def _planted(lab: np.ndarray, at: tuple[int, int], radius: float, change: tuple[float, ...]) -> np.ndarray:
    rows, columns = np.mgrid[: lab.shape[0], : lab.shape[1]]
    bump = np.exp(-((rows - at[0]) ** 2 + (columns - at[1]) ** 2) / radius**2)
    return (lab + bump[..., None] * np.array(change)).astype(np.float32)


_PIMPLE = (-0.03, 0.045, 0.01)
_MOLE = (-0.18, 0.006, 0.015)


def test_pimples_go_and_moles_stay() -> None:
    clean, where = _flat(noise=0.01)
    spotted = _planted(_planted(clean, (60, 60), 4, _PIMPLE), (130, 140), 4, _MOLE)
    after = spotted + retouch.without_spots(spotted, where, blemishes=1.0, marks=0.0)
    pimple, mole = (slice(55, 66), slice(55, 66)), (slice(120, 151), slice(130, 151))
    assert np.abs(after[pimple][..., 1] - clean[pimple][..., 1]).max() < 0.006
    assert after[pimple][..., 0].std() > 0.7 * clean[pimple][..., 0].std()  # texture, not a smear
    assert np.array_equal(after[mole], spotted[mole])
    without_marks = spotted + retouch.without_spots(spotted, where, blemishes=0.0, marks=1.0)
    assert np.array_equal(without_marks[pimple], spotted[pimple])
    assert np.abs(without_marks[mole][..., 0] - clean[mole][..., 0]).max() < 0.06


def test_half_a_strength_is_half_the_change() -> None:
    clean, where = _flat()
    spotted = _planted(clean, (60, 60), 4, _PIMPLE)
    half, full = (retouch.without_spots(spotted, where, blemishes=s, marks=0) for s in (0.5, 1.0))
    assert np.allclose(half * 2, full, atol=1e-5)
    assert np.abs(full).max() > 0.03


def test_lines_and_large_shadows_are_no_spots() -> None:
    clean, where = _flat()
    lined = clean.copy()
    lined[100:103, 40:160, 0] -= 0.15
    shadow = _planted(clean, (100, 100), 40, (-0.15, 0.02, 0))
    assert retouch.spots(lined, where) == []
    assert retouch.spots(shadow, where) == []


def test_the_rim_of_shine_is_no_blemish() -> None:
    clean, where = _flat()
    shine = _planted(clean, (100, 100), 6, (0.25, -0.02, 0))
    rimmed = _planted(shine, (100, 108), 4, (0.02, 0.045, 0.02))
    assert [one for one in retouch.spots(rimmed, where) if not one.mark] == []


def test_blotches_are_evened_and_pores_kept() -> None:
    clean, where = _flat(noise=0.012)
    blotched = _planted(_planted(clean, (70, 70), 14, (-0.02, 0.015, 0)), (130, 120), 14, (0.02, -0.01, 0))
    after = blotched + retouch.evened(blotched, where, 1.0)

    def fine(lab: np.ndarray) -> float:
        return float((lab[..., 0] - retouch._smooth(lab, np.ones((200, 200), bool), 3)[..., 0]).std())

    for y, x in ((70, 70), (130, 120)):
        here = slice(y - 4, y + 5), slice(x - 4, x + 5)
        begun, left = ((lab - clean)[here].mean(axis=(0, 1)) for lab in (blotched, after))
        assert abs(left[0]) < 0.85 * abs(begun[0])
        assert abs(left[1]) < 0.75 * abs(begun[1])
    assert fine(after) == pytest.approx(fine(blotched), rel=0.02)


def test_the_form_of_the_face_stays() -> None:
    clean, where = _flat()
    shaded = clean + np.linspace(-0.2, 0.2, 200, dtype=np.float32)[None, :, None] * np.array(
        [1, 0, 0], np.float32
    )
    change = retouch.evened(shaded.astype(np.float32), where, 1.0)[:, 40:160]
    assert np.abs(change).max() < 0.004


def test_hollows_are_lifted_towards_the_cheeks_and_never_darkened() -> None:
    clean, where = _flat()
    mask = np.zeros((200, 200), np.float32)
    mask[60:80, 60:140] = 1
    cheeks = np.zeros((200, 200), np.float32)
    cheeks[120:160, 60:140] = 1
    where = Regions(100.0, where.skin, where.eyes, where.teeth, mask, cheeks)
    dark = clean.copy()
    dark[50:90, 50:150, 0] -= 0.08
    lifted = retouch.under_eyes(dark, where, 1.0)
    assert 0.02 < lifted[70, 100, 0] < 0.05
    assert not lifted[mask == 0].any()
    bright = clean.copy()
    bright[50:90, 50:150, 0] += 0.08
    assert retouch.under_eyes(bright, where, 1.0)[70, 100, 0] == pytest.approx(0, abs=1e-6)


def test_teeth_lose_yellow_and_lips_stay() -> None:
    lab, where = _flat()
    where = Regions(100.0, where.skin, where.eyes, np.ones((200, 200), np.float32), where.eyes, where.eyes)
    lab[:100] = (0.78, 0.005, 0.05)  # teeth
    lab[100:150] = (0.55, 0.11, 0.05)  # lips
    lab[150:] = (0.2, 0.02, 0.01)  # the dark of the mouth
    change = retouch.teeth(lab, where, 1.0)
    assert change[50, 100, 2] < -0.015
    assert 0 < change[50, 100, 0] <= 0.04
    assert not change[100:].any()


def test_a_catchlight_is_lifted_and_none_is_drawn() -> None:
    lab, where = _flat()
    where = Regions(100.0, where.skin, np.ones((200, 200), np.float32), where.teeth, where.teeth, where.teeth)
    lab[...] = (0.3, 0.0, 0.02)
    dull = retouch.eyes(lab, where, 1.0)
    assert np.abs(dull).max() < 1e-5
    lit = _planted(lab, (100, 100), 3, (0.55, 0, -0.02))
    change = retouch.eyes(lit, where, 1.0)
    assert change[100, 100, 0] > 0.04
    assert change[100, 100, 0] + lit[100, 100, 0] <= 1.0


@pytest.mark.parametrize("landmarks", [True, False])
def test_nothing_outside_the_face_changes(landmarks: bool) -> None:
    rgb = _portrait()
    _, face = _where(rgb)

    class Tools(NoTools):
        def face(self, canvas: Canvas) -> Face:
            return face if landmarks else _without_landmarks(face)

        def parts(self, canvas: Canvas) -> Parts | None:
            return _tools().parts(canvas) if landmarks else None

    before = Canvas.of(rgb)
    settings = RetouchSettings(eyes=1, teeth=1, blemishes=1, marks=1, under_eyes=1, skin=1)
    after = Retouch().apply(before, settings, Tools())
    x0, y0, x1, y1 = face.box_xyxy_px
    inside = np.zeros(rgb.shape[:2], bool)
    rise, aside = 0.3 * (y1 - y0), 0.12 * (x1 - x0)
    inside[max(0, int(y0 - rise)) : int(y1 + aside), max(0, int(x0 - aside)) : int(x1 + aside)] = True
    changed = (after.rgb_HW3 != before.rgb_HW3).any(axis=-1)
    assert not changed[~inside].any()
    assert 0.05 < changed.mean() < 0.5
    if landmarks:  # hair and clothes are the segmenter's
        parts = _tools().parts(before)
        assert parts is not None
        assert not changed[parts.where("backdrop", "clothes", "hair", "thing")].any()


def _without_landmarks(face: Face) -> Face:
    return replace(face, landmarks_px=None)


@pytest.mark.parametrize("seed", [896_001, 896_002, 896_003])
def test_skin_does_not_become_plastic(seed: int) -> None:
    rgb = _portrait("neutral", seed)
    _, face = _where(rgb)
    after = to_bytes(_retouched(rgb, blemishes=0.6, skin=0.5, under_eyes=0.5))
    textures = [
        skin_texture(quality.aligned_crop(one, np.asarray(face.keypoints_px))) for one in (rgb, after)
    ]
    assert textures[1] >= 0.985 * textures[0]


def test_likeness_is_kept() -> None:
    rgb = _portrait()
    after = to_bytes(_retouched(rgb, eyes=0.5, teeth=0.5, blemishes=0.5, under_eyes=0.5, skin=0.5))
    first, second = (_analyzer().find(one)[0].embedding for one in (rgb, after))
    assert float(first @ second) > 0.98


def test_no_strength_is_no_change() -> None:
    rgb = _portrait()
    assert np.array_equal(_retouched(rgb), Canvas.of(rgb).rgb_HW3)


def test_too_small_a_face_and_wrong_settings_are_errors() -> None:
    small = np.ascontiguousarray(_portrait()[::8, ::8])
    face = _where(_portrait())[1]

    class Tools(NoTools):
        def face(self, canvas: Canvas) -> Face:
            points = np.asarray(face.landmarks_px) / 8
            return replace(face, keypoints_px=face.keypoints_px / 8, landmarks_px=points)

    with pytest.raises(InputError, match=r"too small to retouch.*upscale before it"):
        Retouch().apply(Canvas.of(small), RetouchSettings(skin=0.5), Tools())
    with pytest.raises(ConfigError, match=r"retouch.*got 1\.5"):
        planned([{"retouch": {"eyes": 1.5}}], "test")
