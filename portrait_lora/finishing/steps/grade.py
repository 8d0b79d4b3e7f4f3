"""Grade: white balance, tone, colour, film response, grain and vignette, in floating point throughout.

The order is that of a darkroom: light (exposure, white balance) in linear light, then the tone curve, then
colour, then a LUT, then what the lens and the film add.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import cv2
import numpy as np
from pydantic import Field, field_validator

from portrait_lora.finishing import colour, cube
from portrait_lora.finishing.canvas import Canvas
from portrait_lora.finishing.step import SameSize, Tools
from portrait_lora.records import FloatArray
from portrait_lora.settings import Section

Signed = Annotated[float, Field(ge=-1.0, le=1.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
_PIVOT: Final = 0.18
"""Linear middle grey: contrast turns about it, so that faces keep their exposure."""
_SHADOWS_TO: Final = 0.5


class GradeSettings(Section):
    """All default to no change."""

    exposure: float = Field(default=0.0, ge=-3, le=3, description="stops of light")
    temperature: float = Field(
        default=colour.D65_KELVIN,
        ge=4000,
        le=25000,
        description="colour temperature of the light in kelvin; below 6504 warms the picture",
    )
    tint: Signed = Field(default=0.0, description="green (-1) to magenta (1)")
    contrast: Signed = Field(default=0.0, description="slope at middle grey: 1 doubles it, -1 halves it")
    blacks: Signed = Field(default=0.0, description="lift (positive) or deepen the darkest tones")
    whites: Signed = Field(default=0.0, description="lift or soften the brightest tones")
    curve: tuple[tuple[Share, Share], ...] = Field(
        default=(), description="points (in, out) of a tone curve on coded values, rising"
    )
    saturation: float = Field(default=1.0, ge=0, le=3, description="factor on chroma; 0: none")
    vibrance: Signed = Field(default=0.0, description="saturation of muted colours only, skin spared")
    monochrome: tuple[float, float, float] | None = Field(
        default=None,
        description="black and white: weights of red, green and blue, as of a filter before film",
    )
    shadows: str = Field(default="", description="colour of split toning in the shadows, such as '#20343c'")
    highlights: str = Field(default="", description="the same in the highlights")
    toning: Share = Field(default=0.25, description="strength of split toning")
    lut: str = Field(default="", description="a .cube file")
    lut_strength: Share = Field(default=1.0, description="strength of the LUT")
    halation: Share = Field(
        default=0.0, description="warm glow around highlights, as film without backing has"
    )
    vignette: Signed = Field(default=0.0, description="darker (positive) or brighter corners")
    grain: Share = Field(default=0.0, description="strength of film grain")
    grain_size: float = Field(
        default=1.0, ge=0.3, le=5, description="size of the grain, in thousandths of the longer side"
    )

    @field_validator("shadows", "highlights")
    @classmethod
    def _is_colour(cls, value: str) -> str:
        if value:
            colour.parse(value)
        return value

    @field_validator("curve")
    @classmethod
    def _rises(cls, value: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        xs, ys = [x for x, _ in value], [y for _, y in value]
        if value and (len(value) < 2 or xs != sorted(set(xs)) or ys != sorted(ys)):
            raise ValueError("needs two points or more that rise from left to right")
        return value

    @field_validator("monochrome")
    @classmethod
    def _sums(cls, value: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
        if value is not None and not 0.2 <= sum(value) <= 5:
            raise ValueError("the weights must sum to a positive number")
        return value


class Grade(SameSize):
    """The step `grade`."""

    name = "grade"
    settings = GradeSettings
    of_colour = True

    def open(self, settings: Any, tools: Tools) -> None:
        """Read the LUT."""
        if settings.lut:
            cube.read_cube(tools.file(settings.lut, "LUT"))

    def apply(self, canvas: Canvas, settings: Any, tools: Tools) -> Canvas:
        """The graded canvas.  Raises `InputError` for a LUT that cannot be read."""
        one: GradeSettings = settings
        rgb = _toned(_lit(canvas.rgb_HW3, one), one)
        rgb = _coloured(rgb, one)
        if one.lut:
            table = cube.read_cube(tools.file(one.lut, "LUT"))
            rgb = rgb + (table.apply(rgb) - rgb) * np.float32(one.lut_strength)
        if one.halation:
            rgb = _halation(rgb, one.halation)
        if one.vignette:
            rgb = rgb * _falloff(rgb.shape[:2], one.vignette)[..., None]
        if one.grain:
            rgb = rgb + _grain(rgb, one, tools.random("grain"))
        return canvas.with_rgb(rgb)


def _lit(coded: FloatArray, one: GradeSettings) -> FloatArray:
    """Exposure and white balance, in linear light."""
    if one.exposure == 0 and one.temperature == colour.D65_KELVIN and one.tint == 0:
        return coded
    gains = np.array([1.0, 2.0 ** (-0.25 * one.tint), 1.0], np.float32)
    linear = colour.to_linear(coded)
    if one.temperature != colour.D65_KELVIN:
        linear = linear @ colour.adaptation(colour.D65_KELVIN, one.temperature).T
    linear = linear * gains
    linear = linear * np.float32(2.0**one.exposure)
    return colour.to_coded(_shoulder(linear) if one.exposure > 0 else linear)


def _shoulder(linear: np.ndarray) -> np.ndarray:
    """Highlights that would clip roll off from 0.8 on, so that raised exposure keeps its gradation."""
    knee = np.float32(0.8)
    over = np.maximum(linear - knee, 0.0)
    return np.where(linear > knee, knee + (1 - knee) * (1 - np.exp(-over / (1 - knee))), linear)


def _toned(coded: FloatArray, one: GradeSettings) -> FloatArray:
    """Contrast about middle grey, ends, and the curve.

    The mean of moving each channel, which shifts hues, and of moving all by one ratio, which looks flat.
    """
    if one.contrast == 0 and one.blacks == 0 and one.whites == 0 and not one.curve:
        return coded
    table_in = np.linspace(0.0, 1.0, 4097, dtype=np.float32)
    table = _tone_table(table_in, one)
    single = np.interp(coded, table_in, table).astype(np.float32)
    grey = colour.luma(coded)[..., None]
    wanted = np.interp(grey, table_in, table).astype(np.float32)
    kept_hue = coded * (wanted / np.maximum(grey, 1e-4))
    return np.asarray((single + kept_hue) / 2, np.float32)


def _tone_table(values: np.ndarray, one: GradeSettings) -> np.ndarray:
    pivot = float(colour.to_coded(np.array([_PIVOT]))[0])
    slope = 2.0**one.contrast
    # a curve through (0, 0), (pivot, pivot) and (1, 1) with that slope at the pivot
    below = pivot * (np.minimum(values, pivot) / pivot) ** slope
    above = 1 - (1 - pivot) * ((1 - np.maximum(values, pivot)) / (1 - pivot)) ** slope
    out = np.where(values <= pivot, below, above)
    out = out + one.blacks * 0.12 * (1 - values) ** 4 + one.whites * 0.12 * values**4
    if one.curve:
        from scipy.interpolate import PchipInterpolator

        xs, ys = zip(*one.curve, strict=True)
        xs = (0.0, *xs) if xs[0] > 0 else xs
        ys = (0.0, *ys) if len(ys) < len(xs) else ys
        if xs[-1] < 1:
            xs, ys = (*xs, 1.0), (*ys, 1.0)
        out = PchipInterpolator(xs, ys)(np.clip(out, 0, 1))
    return np.maximum.accumulate(np.clip(out, 0.0, 1.0)).astype(np.float32)


def _coloured(coded: FloatArray, one: GradeSettings) -> FloatArray:
    if one.monochrome is not None:
        weights = np.asarray(one.monochrome, np.float32)
        grey = colour.to_coded(colour.to_linear(coded) @ (weights / weights.sum()))
        coded = np.repeat(grey[..., None], 3, axis=-1)
    changes_chroma = one.saturation != 1 or one.vibrance != 0
    if not (changes_chroma or one.shadows or one.highlights):
        return coded
    lab = colour.to_oklab(coded)
    if changes_chroma and one.monochrome is None:
        chroma = np.hypot(lab[..., 1], lab[..., 2])
        factor = np.full_like(chroma, one.saturation)
        if one.vibrance:
            factor *= 1 + one.vibrance * np.exp(-((chroma / 0.10) ** 2)) * (1 - 0.7 * _skin(lab))
        lab[..., 1:] *= factor[..., None]
    for words, weight in (
        (one.shadows, np.clip(1 - lab[..., 0] / _SHADOWS_TO, 0, 1)),
        (one.highlights, np.clip((lab[..., 0] - _SHADOWS_TO) / (1 - _SHADOWS_TO), 0, 1)),
    ):
        if words:
            tone = colour.to_oklab(colour.parse(words))[1:]
            lab[..., 1:] += (weight * np.float32(one.toning))[..., None] * tone
    return colour.from_oklab(lab)


def _skin(lab: np.ndarray) -> np.ndarray:
    """How near a hue is to that of skin (about 50° in OKLab for all skin colours), 0..1."""
    hue = np.arctan2(lab[..., 2], lab[..., 1])
    return np.exp(-(((hue - np.deg2rad(50.0)) / 0.35) ** 2))


def _halation(coded: np.ndarray, strength: float) -> np.ndarray:
    """Light from bright places scatters back into the red layer of the film."""
    linear = colour.to_linear(np.clip(coded, 0, 1))
    bright = np.maximum(colour.luma(linear) - 0.55, 0.0)
    glow = cv2.GaussianBlur(bright, (0, 0), 0.012 * max(coded.shape[:2]))
    glow = np.asarray(glow)[..., None] * np.array([1.0, 0.38, 0.16], np.float32)
    return colour.to_coded(1 - (1 - np.clip(linear, 0, 1)) * (1 - strength * glow))


def _falloff(shape: tuple[int, int], strength: float) -> FloatArray:
    """The cosine-fourth law of a lens, scaled to the strength in the corners."""
    rows = (np.arange(shape[0]) + 0.5) / shape[0] * 2 - 1
    columns = (np.arange(shape[1]) + 0.5) / shape[1] * 2 - 1
    radius2 = (rows[:, None] ** 2 + columns[None, :] ** 2) / 2
    return np.asarray(1 - strength * 0.6 * (1 - 1 / (1 + radius2) ** 2) / 0.75, np.float32)


def _grain(coded: np.ndarray, one: GradeSettings, rng: np.random.Generator) -> np.ndarray:
    """Noise of a size that grows with the picture, strongest in the middle tones, with little colour."""
    height, width = coded.shape[:2]
    sigma = one.grain_size * max(height, width) / 1000 / 2
    noise = rng.standard_normal((height, width, 2), dtype=np.float32)
    if sigma > 0.3:
        noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), sigma))
        noise /= max(float(noise.std()), 1e-6)
    grey = np.clip(colour.luma(coded), 0, 1)
    response = (0.35 + 2.6 * grey * (1 - grey)) * np.float32(0.12 * one.grain)
    tinted = noise[..., :1] + noise[..., 1:] * np.array([0.25, -0.05, -0.3], np.float32) * (
        one.monochrome is None
    )
    return response[..., None] * tinted
