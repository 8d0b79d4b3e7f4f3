"""Formats: the crop, the sizes, what is refused, and the files that are written."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_lora import provenance
from portrait_lora.errors import ConfigError, InputError
from portrait_lora.finishing import formats
from portrait_lora.finishing.canvas import Canvas, Delivery
from portrait_lora.finishing.look import planned
from portrait_lora.finishing.resample import resized
from portrait_lora.finishing.steps.format import FormatSettings, FormatStep
from portrait_lora.pictures import srgb
from portrait_lora.records import Face, readonly
from portrait_lora.stages import finish_files
from tests.finishing.made_up import NoTools, canvas


def _face(eye_line: float = 200.0, chin: float = 300.0, middle: float = 250.0) -> Face:
    """Eyes at `eye_line`, chin at `chin`: the crown lies as far above the eyes."""
    tall = chin - eye_line
    points = np.tile(np.array([middle, eye_line], np.float32), (68, 1))
    points[8] = middle, chin
    eyes = [(middle - 30, eye_line), (middle + 30, eye_line)]
    rest = [(middle, eye_line + tall / 2), (middle - 20, chin - 30), (middle + 20, chin - 30)]
    box = (middle - 60, eye_line - 40, middle + 60, chin)
    return Face(
        box, 0.9, readonly(np.array(eyes + rest)), readonly(np.ones(4)), "a", 1.0, 100.0, landmarks_px=points
    )


class _Tools(NoTools):
    def __init__(self, face: Face):
        super().__init__()
        self._face = face

    def face(self, canvas: Canvas) -> Face:
        return self._face


def _formatted(before: Canvas, face: Face | None = None, **values: object) -> Canvas:
    return FormatStep().apply(before, FormatSettings.model_validate(values), _Tools(face or _face()))


@pytest.mark.parametrize("name", formats.PRESETS)
def test_every_preset_places_eyes_and_head(name: str) -> None:
    wanted = formats.PRESETS[name]
    face = _face(900, 1100, 700)
    box = formats.crop_box(face, (1400, 2000), wanted)
    tall = box[3] - box[1]
    assert (900 - box[1]) / tall == pytest.approx(wanted.eye_line, abs=1e-6)
    assert 400 / tall == pytest.approx(wanted.head_height, abs=1e-6)
    assert (box[2] - box[0]) / tall == pytest.approx(wanted.aspect[0] / wanted.aspect[1])
    assert (box[0] + box[2]) / 2 == pytest.approx(700, abs=1)
    if wanted.size_px:
        assert formats.size_of(box, wanted) == wanted.size_px


def test_a_crop_stays_within_the_picture() -> None:
    box = formats.crop_box(_face(150, 230, 120), (500, 500), formats.PRESETS["3:4"])
    assert box[0] == 0 or box[1] == 0
    assert box[2] <= 500
    assert box[3] <= 500


def test_a_head_that_would_be_cut_is_refused() -> None:
    with pytest.raises(InputError, match="too closely cropped"):
        formats.crop_box(_face(200, 390, 250), (500, 400), formats.PRESETS["a4"])
    with pytest.raises(InputError, match="round frame"):
        formats.crop_box(_face(200, 300, 71), (500, 500), formats.PRESETS["avatar"])


def test_pixels_are_kept_where_they_are() -> None:
    before = canvas(512, 3)
    same = _formatted(before, width_px=512, height_px=512, crop="none")
    assert np.array_equal(same.rgb_HW3, before.rgb_HW3)


def test_too_few_pixels_name_the_remedy() -> None:
    with pytest.raises(InputError, match=r"enlargement of .*`upscale: \{factor: 4\}`"):
        _formatted(canvas(512, 3), preset="speaker-page", eye_line=0.4, head_height=0.5)
    with pytest.raises(InputError, match="Take a larger picture"):
        _formatted(canvas(512, 3), preset="a4", width_px=3600, height_px=5000)


def test_another_shape_is_refused_without_a_crop() -> None:
    with pytest.raises(InputError, match="another shape"):
        _formatted(canvas(512, 3), preset="3:4", crop="none")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"preset": "linkdin"}, "did you mean 'linkedin'"),
        ({"preset": "zzz"}, "no such preset: there are linkedin"),
        ({"width_px": 200}, "belong together"),
        ({}, "needs a preset"),
        ({"width_px": 10_000, "height_px": 10_000}, "megapixels"),
        ({"preset": "x", "dip": 300}, "one of preset"),
    ],
)
def test_wrong_settings_are_errors(values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        planned([{"format": values}], "test")


def test_colours_do_not_bleed_from_under_a_clear_alpha() -> None:
    rgb = np.zeros((64, 64, 3), np.uint8)
    rgb[:, :32] = (0, 255, 0)  # hidden
    rgb[:, 32:] = (200, 30, 30)
    alpha = np.zeros((64, 64), np.uint8)
    alpha[:, 32:] = 255
    after = resized(Canvas.of(rgb, alpha), (31, 31))
    assert after.alpha_HW is not None
    seen = after.rgb_HW3[after.alpha_HW > 0.2]
    assert np.allclose(seen, np.array((200, 30, 30)) / 255, atol=1e-3)


def _coded(before: Canvas, delivery: Delivery, source: Path) -> bytes:
    return finish_files.encoded(replace(before, delivery=delivery), {"action": "finish"}, source)


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    path = tmp_path / "p.png"
    Image.new("RGB", (32, 32)).save(path, pnginfo=provenance.png_info(None))
    return path


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff"])
def test_every_file_has_profile_mark_and_resolution(kind: str, marked: Path, tmp_path: Path) -> None:
    data = _coded(canvas(64), Delivery(kind, 300), marked)  # pyright: ignore[reportArgumentType]
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.info["icc_profile"] == srgb.profile()
        if kind != "webp":
            assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    (tmp_path / "out").write_bytes(data)
    assert provenance.source_type(tmp_path / "out") == provenance.TRAINED


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff"])
def test_an_unmarked_photograph_gets_no_mark(kind: str, tmp_path: Path) -> None:
    plain = tmp_path / "plain.png"
    Image.new("RGB", (32, 32)).save(plain)
    (tmp_path / "out").write_bytes(_coded(canvas(64), Delivery(kind), plain))  # pyright: ignore[reportArgumentType]
    assert provenance.source_type(tmp_path / "out") is None


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_a_size_limit_takes_the_best_quality_that_fits(kind: str, marked: Path) -> None:
    rng = np.random.default_rng(0)
    noisy = Canvas.of(rng.integers(0, 256, (160, 160, 3)).astype(np.uint8))
    free = len(_coded(noisy, Delivery(kind), marked))  # pyright: ignore[reportArgumentType]
    most = free * 2 // 3
    data = _coded(noisy, Delivery(kind, None, most), marked)  # pyright: ignore[reportArgumentType]
    assert most * 0.93 < len(data) <= most


def test_a_limit_that_cannot_be_met_is_an_error(marked: Path) -> None:
    noisy = Canvas.of(np.random.default_rng(0).integers(0, 256, (160, 160, 3)).astype(np.uint8))
    with pytest.raises(InputError, match="at quality 40"):
        _coded(noisy, Delivery("jpeg", None, 3000), marked)
    with pytest.raises(InputError, match="Ask for JPEG"):
        _coded(noisy, Delivery("png", None, 3000), marked)


def test_the_profile_is_srgb_and_our_reader_leaves_its_pixels() -> None:
    from PIL import ImageCms

    from portrait_lora.pictures.pixels import to_srgb

    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    parsed = ImageCms.ImageCmsProfile(io.BytesIO(srgb.profile()))
    there = ImageCms.profileToProfile(Image.fromarray(pixels), parsed, ImageCms.createProfile("sRGB"))
    assert there is not None
    assert np.abs(np.asarray(there).astype(int) - pixels).max() <= 1
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", icc_profile=srgb.profile())
    assert np.array_equal(np.asarray(to_srgb(Image.open(buffer))), pixels)
