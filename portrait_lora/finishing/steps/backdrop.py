"""Backdrop: a new one behind the person, lit as the face is; the person's pixels stay."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Final, Literal

import cv2
import numpy as np
from pydantic import Field, field_validator, model_validator

from portrait_lora.errors import InputError
from portrait_lora.finishing import backdrop, colour, light
from portrait_lora.finishing.canvas import Canvas
from portrait_lora.finishing.foreground import OPAQUE
from portrait_lora.finishing.step import BehindOnly, Tools
from portrait_lora.finishing.steps.cutout import Cutout, CutoutSettings, is_cut
from portrait_lora.records import FloatArray, readonly
from portrait_lora.settings import Section

Share = Annotated[float, Field(ge=0.0, le=1.0)]
FULL_STOPS: Final = 1.6
"""Fall-off over the longer side at `light` 1 from a lamp at right angles to the camera."""
_SURE: Final = 0.3
"""Confidence from which on a measured light counts in full."""
_SMALL_PX: Final = 512
_LEAST_NOISE: Final = 0.5 / 255
"""Dither: without it smooth backdrops show bands in eight bits."""
_MOST_NOISE: Final = 0.02
_MOST_BLACK: Final = 0.06
_PICTURE: Final = "picture for the backdrop"


class BackdropSettings(Section):
    """A light grey paper by default."""

    kind: Literal["plain", "gradient", "paper", "plaster", "cloud", "bokeh"] = Field(
        default="paper", description="plain, gradient, paper, plaster, cloud or bokeh"
    )
    colour: str = Field(default="#b9bcc0", description="colour such as '#b9bcc0'")
    second: str = Field(
        default="", description="second colour of a gradient, or of bokeh's discs; empty: made from the first"
    )
    picture: str = Field(default="", description="a picture of one's own instead, a file")
    blur: float = Field(
        default=0.0, ge=0, le=60, description="blur of that picture in thousandths of the longer side"
    )
    flatten: bool = Field(
        default=False, description="take that picture's own light out of it, and give it the face's"
    )
    light: Share = Field(default=0.6, description="fall-off from the side of the face's key light")
    warmth: Share = Field(default=0.5, description="colour temperature taken over from the face's light")
    shadow: Share = Field(default=0.3, description="soft shadow round head and shoulders")
    grade: Share = Field(
        default=1.0, description="black point and noise matched to the picture of the person"
    )

    @field_validator("colour", "second")
    @classmethod
    def _is_colour(cls, value: str) -> str:
        if value:
            colour.parse(value)
        return value

    @model_validator(mode="after")
    def _is_whole(self) -> BackdropSettings:
        if not self.colour:
            raise ValueError("colour must not be empty")
        if not self.picture and (self.blur or self.flatten):
            raise ValueError("blur and flatten are for a picture of one's own")
        return self


class Backdrop(BehindOnly):
    """The step `backdrop`.  A picture that is not cut out yet is cut out first, with the usual settings."""

    name = "backdrop"
    settings = BackdropSettings
    of_colour = True

    def open(self, settings: Any, tools: Tools) -> None:
        """Decode the picture of one's own."""
        if settings.picture:
            backdrop.pictured(tools.file(settings.picture, _PICTURE), (_SMALL_PX, _SMALL_PX))

    def apply(self, canvas: Canvas, settings: Any, tools: Tools) -> Canvas:
        """The opaque composite.

        Raises `InputError` as the cut-out does, and for a picture whose light contradicts the face's.
        """
        one: BackdropSettings = settings
        face = tools.face(canvas)
        key = light.measure(canvas.rgb_HW3, face, tools.parts(canvas))
        if not is_cut(canvas):
            canvas = Cutout().apply(canvas, CutoutSettings(), tools)
        assert canvas.alpha_HW is not None
        behind = _behind(canvas.size_px, one, key, tools)
        if one.shadow:
            behind = behind * _shadow(canvas.alpha_HW, key, face.size_px, one.shadow)[..., None]
        coded = colour.to_coded(np.clip(behind, 0, 1))
        if one.grade:
            coded = _matched(coded, canvas, one.grade, tools.random("noise"))
        return replace(canvas, rgb_HW3=_over(canvas, coded), alpha_HW=None)


def _over(canvas: Canvas, behind_HW3: FloatArray) -> FloatArray:
    """(H, W, 3) coded: mixed in linear light; where the person is opaque, their pixels to the bit."""
    assert canvas.alpha_HW is not None
    share = canvas.alpha_HW[..., None]
    mixed = colour.to_linear(canvas.rgb_HW3) * share + colour.to_linear(behind_HW3) * (1 - share)
    result = np.where(share >= OPAQUE, canvas.rgb_HW3, np.clip(colour.to_coded(mixed), 0, 1))
    return readonly(np.where(share <= 0, behind_HW3, result).astype(np.float32))


def _behind(size: tuple[int, int], one: BackdropSettings, key: light.KeyLight, tools: Tools) -> FloatArray:
    """(H, W, 3) linear: what stands behind, lit by the face's light."""
    first = colour.parse(one.colour)
    sure = min(1.0, key.direction_confidence / _SURE)
    right, up = (v * sure for v in key.across)
    if one.picture:
        painted = _picture(size, one, key, tools)
        if not one.flatten:
            return painted  # it has a light of its own, which does not contradict the face's
    elif one.kind == "gradient":
        second = colour.parse(one.second) if one.second else first * np.float32(0.55)
        painted = backdrop.gradient(size, first, second, (right * one.light, up * one.light))
    else:
        second = colour.parse(one.second) if one.second else 1 - (1 - first) * np.float32(0.35)
        painted = backdrop.evened(backdrop.painted(one.kind, size, first, second, tools.random(one.kind)))
    if one.picture or one.kind != "gradient":
        stops = FULL_STOPS * one.light
        painted = painted * light.ramp(size, stops * right, stops * up)[..., None]
    if one.picture:
        return painted  # its warmth is the face's already
    daylight = 1e6 / colour.D65_KELVIN
    mired = daylight + (1e6 / key.kelvin - daylight) * one.warmth * key.kelvin_confidence
    return painted @ colour.adaptation(colour.D65_KELVIN, 1e6 / mired).T


def _picture(size: tuple[int, int], one: BackdropSettings, key: light.KeyLight, tools: Tools) -> FloatArray:
    path = tools.file(one.picture, _PICTURE)
    own = backdrop.pictured(path, size)
    if one.blur:
        sigma = max(0.3, one.blur * max(size) / 1000)
        own = np.asarray(cv2.GaussianBlur(own, (0, 0), sigma), np.float32)
    if one.flatten:
        return backdrop.flattened(own, key)
    reason = backdrop.contradiction(own, key)
    if reason is not None:
        raise InputError(
            "the light of the backdrop contradicts that of the face",
            where=path,
            got=reason,
            remedy="Mirror it, choose another one, or set flatten: true.",
        )
    return own


def _shadow(alpha_HW: FloatArray, key: light.KeyLight, face_px: float, strength: float) -> FloatArray:
    """(H, W) factors: a wide shadow away from the lamp, and a narrow one where body and backdrop meet."""
    height, width = alpha_HW.shape
    scale = min(1.0, _SMALL_PX / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(cv2.resize(alpha_HW, size, interpolation=cv2.INTER_AREA), np.float32)
    unit = face_px * scale
    x, y = (0.22 * unit * v for v in key.across)
    move = np.array([[1, 0, -x], [0, 1, y]], np.float32)
    fallen = cv2.warpAffine(small, move, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    wide = cv2.GaussianBlur(fallen, (0, 0), max(1.0, 0.20 * unit))
    near = cv2.GaussianBlur(small, (0, 0), max(0.7, 0.05 * unit))
    cover = np.asarray(0.75 * wide + 0.25 * near, np.float32)
    return 1 - np.float32(strength) * np.asarray(cv2.resize(cover, (width, height)), np.float32)


def _matched(behind_HW3: FloatArray, canvas: Canvas, strength: float, rng: np.random.Generator) -> FloatArray:
    """Coded: not blacker than the person's darkest tones, and with the noise of their picture."""
    assert canvas.alpha_HW is not None
    person = canvas.alpha_HW >= OPAQUE
    grey = colour.luma(canvas.rgb_HW3)
    black = min(float(np.quantile(grey[person], 0.002)), _MOST_BLACK) if person.any() else 0.0
    own = float(np.quantile(colour.luma(behind_HW3), 0.002))
    lift = strength * max(0.0, black - own) / (1 - own) if own < 1 else 0.0
    lifted = behind_HW3 + (1 - behind_HW3) * np.float32(lift)
    sigma = max(_LEAST_NOISE, strength * min(noise_of(grey, person), _MOST_NOISE))
    noise = rng.standard_normal(grey.shape, dtype=np.float32)[..., None]
    return np.clip(lifted + np.float32(sigma) * noise, 0, 1).astype(np.float32)


def noise_of(grey_HW: FloatArray, person: np.ndarray) -> float:
    """Deviation of the noise on coded luma, of the plainest tenth of the person (Immerkaer 1996)."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    side = max(4, min(grey_HW.shape) // 40)
    rough = cv2.blur(np.abs(cv2.filter2D(grey_HW, -1, kernel)), (side, side))
    inside = cv2.erode(person.astype(np.uint8), np.ones((side + 2, side + 2), np.uint8)) > 0
    if not inside.any():
        return 0.0
    return float(np.quantile(np.asarray(rough)[inside], 0.1) * np.sqrt(np.pi / 2) / 6)
