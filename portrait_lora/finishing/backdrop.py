"""Backdrops in linear light: colours, gradients, seamless paper, plaster, cloud, bokeh, and pictures.

Every texture is a function of size and generator; its features keep their size relative to the picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
from PIL import Image, ImageOps

from portrait_lora.finishing import colour, light
from portrait_lora.pictures import reader
from portrait_lora.records import FloatArray

Texture = Literal["plain", "paper", "plaster", "cloud", "bokeh"]
_PAINT_PX: Final = 1024
"""Longer side at which textures are painted; larger backdrops are out of focus anyway."""
MOST_STOPS: Final = 0.25
"""Stops over the width by which a backdrop may rise against the face's light."""
LEAST_SIDE: Final = 0.25
"""Share of the face's light from the side below which it has none to be contradicted."""
MOST_MIRED: Final = 90.0
"""Daylight at noon and a lamp of 4000 K are about as far apart."""


def painted(
    kind: Texture, size: tuple[int, int], first: FloatArray, second: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """(H, W, 3) linear; `first` and `second` are coded colours, `second` that of the discs of bokeh."""
    width, height = size
    scale = min(1.0, _PAINT_PX / max(size))
    small = max(4, round(width * scale)), max(4, round(height * scale))
    base = colour.to_linear(first)
    if kind == "plain":
        return np.broadcast_to(base, (height, width, 3)).copy()
    if kind == "bokeh":
        return _sized(_bokeh(small, base, colour.to_linear(second), rng), size)
    stops = {"paper": _paper, "plaster": _plaster, "cloud": _cloud}[kind](small, rng)
    return np.clip(base * _sized(np.exp2(stops), size)[..., None], 0, 1).astype(np.float32)


def gradient(
    size: tuple[int, int], first: FloatArray, second: FloatArray, towards: tuple[float, float]
) -> FloatArray:
    """(H, W, 3) linear between two coded colours, the brighter one at the end that `towards` (x right, y up)
    points to, or above where it points nowhere."""
    if colour.luma(first) < colour.luma(second):
        first, second = second, first
    x, y = towards if np.hypot(*towards) > 0.05 else (0.0, 1.0)
    along = np.log2(light.ramp(size, x, y))
    share = (along - along.min()) / max(float(np.ptp(along)), 1e-6)
    share = (share * share * (3 - 2 * share))[..., None]
    return colour.to_linear(second + (first - second) * share)


def _sized(values: FloatArray, size: tuple[int, int]) -> FloatArray:
    if values.shape[1::-1] == size:
        return values
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_CUBIC), np.float32)


def _noise(size: tuple[int, int], cells: float, rng: np.random.Generator) -> FloatArray:
    """(H, W) smooth noise of unit deviation, `cells` blotches over the longer side."""
    step = max(size) / cells
    grid = rng.standard_normal((round(size[1] / step) + 3, round(size[0] / step) + 3), dtype=np.float32)
    large = cv2.resize(grid, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
    top, left = round(step), round(step)
    part = np.asarray(large)[top : top + size[1], left : left + size[0]]
    return np.asarray((part - part.mean()) / max(float(part.std()), 1e-6), np.float32)


def _octaves(size: tuple[int, int], cells: float, count: int, rng: np.random.Generator) -> FloatArray:
    total = sum((0.55**i * _noise(size, cells * 2**i, rng) for i in range(count)), np.float32(0))
    return np.asarray(total / np.std(total), np.float32)


def _paper(size: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Stops: a faint fibre, and the sweep of a roll that darkens where it bends."""
    rise = np.linspace(0.08, -0.22, size[1], dtype=np.float32)[:, None]
    fibre = np.float32(0.012) * _noise(size, max(size) / 2.5, rng)
    return np.asarray(fibre + np.float32(0.03) * _noise(size, 4, rng) + rise, np.float32)


def _plaster(size: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Stops: trowelled relief, lit from above."""
    relief = _octaves(size, 14, 4, rng)
    lit = relief - np.roll(relief, 2, axis=0)
    lit = np.float32(0.05) * lit / max(float(lit.std()), 1e-6)
    return np.asarray(np.float32(0.10) * _octaves(size, 5, 3, rng) + lit, np.float32)


def _cloud(size: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Stops: painted canvas of old portrait studios, lighter behind the head."""
    x = np.linspace(-1, 1, size[0], dtype=np.float32)[None]
    y = np.linspace(-1, 1, size[1], dtype=np.float32)[:, None] + 0.15
    glow = np.float32(0.55) * np.exp(-1.6 * (x * x + y * y)) - np.float32(0.25)
    return np.asarray(np.float32(0.30) * _octaves(size, 3, 4, rng) + glow, np.float32)


_DISCS: Final = 26


def _bokeh(size: tuple[int, int], dark: FloatArray, glow: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Discs of light out of focus, brighter at their rim, over a dim blurred room."""
    width, height = size
    room = dark * np.exp2(0.45 * _noise(size, 3, rng))[..., None]
    total = np.zeros((height, width, 3), np.float32)
    y, x = np.mgrid[:height, :width].astype(np.float32) + np.float32(0.5)
    for place_x, place_y, radius, power, warm in rng.random((_DISCS, 5)).astype(np.float32):
        r = (0.018 + 0.045 * radius) * max(size)
        away = np.hypot(x - place_x * width, y - 0.9 * place_y * height) / r
        disc = np.clip((1 - away) * r / 2 + 0.5, 0, 1) * (0.72 + 0.28 * np.clip(away, 0, 1) ** 6)
        tint = glow * (1 + (warm - 0.5) * np.array([0.5, 0.0, -0.5], np.float32))
        total += (0.05 + 0.5 * power**2) * disc[..., None] * tint
    return np.clip(room + cv2.GaussianBlur(total, (0, 0), max(0.6, 0.0012 * max(size))), 0, 1)


def pictured(path: Path, size: tuple[int, int]) -> FloatArray:
    """(H, W, 3) linear from a picture that covers the size, its middle kept.  Raises `InputError`."""
    fitted = ImageOps.fit(Image.fromarray(reader.read_rgb(path)), size, Image.Resampling.LANCZOS)
    return colour.to_linear(np.asarray(fitted, np.float32) / 255)


def contradiction(linear_HW3: FloatArray, key: light.KeyLight) -> str | None:
    """Why a picture cannot stand behind this face, or None: light from the other side, or of other warmth."""
    right, _ = light.slope(colour.to_coded(linear_HW3))
    width = linear_HW3.shape[1] / max(linear_HW3.shape[:2])
    stops = right * width
    if abs(key.across[0]) >= LEAST_SIDE and -stops * np.sign(key.across[0]) > MOST_STOPS:
        sides = ("left", "right") if stops < 0 else ("right", "left")
        return f"it is {abs(stops):.1f} stops brighter on the {sides[0]}, the face is lit from the {sides[1]}"
    apart = 1e6 / warmth(linear_HW3) - 1e6 / key.kelvin
    if key.kelvin_confidence >= 0.5 and abs(apart) > MOST_MIRED:
        kind = "warmer" if apart > 0 else "cooler"
        return f"its light of {warmth(linear_HW3):.0f} K is {kind} than the face's {key.kelvin:.0f} K"
    return None


def warmth(linear_HW3: FloatArray) -> float:
    """Kelvin of the brightest twentieth of a picture, which shows its lamps rather than its walls."""
    pixels = linear_HW3.reshape(-1, 3)
    pixels = pixels[:: max(1, len(pixels) // 40_000)]
    bright = pixels @ colour.LUMINANCE
    return light.kelvin_of(pixels[bright >= np.quantile(bright, 0.95)].mean(axis=0))


def evened(linear_HW3: FloatArray) -> FloatArray:
    """Without its slope of light."""
    right, up = light.slope(colour.to_coded(linear_HW3))
    even = linear_HW3 * light.ramp(linear_HW3.shape[1::-1], -right, -up)[..., None]
    return np.clip(even, 0, 1).astype(np.float32)


def flattened(linear_HW3: FloatArray, key: light.KeyLight) -> FloatArray:
    """The same picture without its slope of light and with the face's warmth, ready to be lit anew."""
    change = colour.adaptation(warmth(linear_HW3), key.kelvin)
    return np.clip(evened(linear_HW3) @ change.T, 0, 1).astype(np.float32)
