"""What marked pictures go through: compression, resampling, cropping, tone."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Final

import numpy as np
from PIL import Image

from portrait_lora.records import RGBImage

Spoiler = Callable[[RGBImage, np.random.Generator], RGBImage]


def compressed(rgb: RGBImage, form: str, quality: int) -> RGBImage:
    """Through a file of this format (`JPEG`, `WEBP`) as Pillow writes it."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, form, quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def resampled(rgb: RGBImage, scale: float, kernel: Image.Resampling = Image.Resampling.LANCZOS) -> RGBImage:
    """Scaled by a factor."""
    height, width = rgb.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(rgb).resize(size, kernel))


def cropped(rgb: RGBImage, keep: float, rng: np.random.Generator) -> RGBImage:
    """A part with this share of the area, anywhere."""
    height, width = rgb.shape[:2]
    rows, columns = round(height * keep**0.5), round(width * keep**0.5)
    y, x = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    return np.ascontiguousarray(rgb[y : y + rows, x : x + columns])


def toned(rgb: RGBImage, contrast: float, brightness: float) -> RGBImage:
    """Contrast about the middle grey, then brightness as a factor."""
    levels = ((np.arange(256) - 127.5) * contrast + 127.5) * brightness
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)[rgb]


def _toned(rgb: RGBImage, rng: np.random.Generator) -> RGBImage:
    contrast, brightness = ((0.8, 1.0), (1.2, 1.0), (1.0, 0.8), (1.0, 1.2))[int(rng.integers(4))]
    return toned(rgb, contrast, brightness)


MEASURED: Final[dict[str, Spoiler]] = {
    "untouched": lambda rgb, rng: rgb,
    "JPEG 75": lambda rgb, rng: compressed(rgb, "JPEG", 75),
    "half size": lambda rgb, rng: resampled(rgb, 0.5),
    "10 % cropped": lambda rgb, rng: cropped(rgb, 0.9, rng),
    "50 % cropped": lambda rgb, rng: cropped(rgb, 0.5, rng),
    "10 % cropped, half size": lambda rgb, rng: resampled(cropped(rgb, 0.9, rng), 0.5),
    "10 % cropped, JPEG 75": lambda rgb, rng: compressed(cropped(rgb, 0.9, rng), "JPEG", 75),
    "brightness or contrast ±20 %": _toned,
    "WebP 60": lambda rgb, rng: compressed(rgb, "WEBP", 60),
    "screenshot (0.9, PNG)": lambda rgb, rng: resampled(rgb, 0.9),
}


def any_of(rgb: RGBImage, rng: np.random.Generator) -> tuple[RGBImage, float]:
    """One of the milder to harder treatments of training, and the scale of its result."""
    kernels = (Image.Resampling.LANCZOS, Image.Resampling.BICUBIC, Image.Resampling.BOX)
    scale = float(rng.choice([1.0, 0.5, float(rng.uniform(0.5, 1.3))], p=[0.5, 0.2, 0.3]))
    if rng.random() < 0.2:
        rgb = _toned(rgb, rng)
    if scale != 1.0:
        rgb = resampled(rgb, scale, kernels[int(rng.integers(3))])
    kind = rng.random()
    if kind < 0.35:
        rgb = compressed(rgb, "JPEG", int(rng.integers(60, 96)))
    elif kind < 0.6:
        rgb = compressed(rgb, "WEBP", int(rng.integers(50, 91)))
    return rgb, scale
