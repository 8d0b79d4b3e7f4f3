"""A picture between two steps of finishing: floating point, straight alpha, and how it is delivered."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np

from portrait_lora.errors import InputError
from portrait_lora.records import FloatArray, RGBImage, readonly

FileFormat = Literal["png", "jpeg", "webp", "tiff"]
MIN_SIDE_PX: Final = 16
MAX_PIXELS: Final = 60_000_000
"""Of any picture within a chain; larger prints are upscaled by the printer's own software."""
_GREY: Final = 0.5
_STRIP_ROWS: Final = 256


@dataclass(frozen=True, slots=True)
class Delivery:
    """The file that is written: format, resolution for print, and the largest size in bytes (None: any)."""

    file_format: FileFormat = "png"
    dpi: int | None = None
    max_bytes: int | None = None
    quality: int = 95


@dataclass(frozen=True, slots=True)
class Product:
    """A further file beside the picture, such as a layered one: `name` ends the picture's own name.

    `frames`: of a moving one, some that stand for all, in which likeness is measured; `drawn`: by a model,
    which may have drawn somebody else.
    """

    name: str
    data: bytes
    frames: tuple[RGBImage, ...] = field(default=(), compare=False)
    drawn: bool = False


@dataclass(frozen=True, slots=True)
class Canvas:
    """`rgb_HW3`: sRGB-coded, 0..1, float32.  `alpha_HW`: straight (not premultiplied) coverage, or None."""

    rgb_HW3: FloatArray
    alpha_HW: FloatArray | None = None
    delivery: Delivery = Delivery()
    products: tuple[Product, ...] = field(default=())

    def __post_init__(self) -> None:
        shape = self.rgb_HW3.shape
        if (
            len(shape) != 3
            or shape[2] != 3
            or (self.alpha_HW is not None and self.alpha_HW.shape != shape[:2])
        ):
            got = f"{shape} and {None if self.alpha_HW is None else self.alpha_HW.shape}"
            raise ValueError(f"a canvas is (H, W, 3) with an alpha of (H, W), not {got}")

    @classmethod
    def of(cls, rgb: RGBImage, alpha: np.ndarray | None = None) -> Canvas:
        """From eight-bit RGB (H, W, 3), and alpha (H, W).  Raises `InputError` for one out of limits."""
        height, width = rgb.shape[:2]
        if min(height, width) < MIN_SIDE_PX or height * width > MAX_PIXELS:
            raise InputError(
                "a picture of this size cannot be finished",
                got=f"{width} x {height} px",
                needed=f"{MIN_SIDE_PX} px a side at least, {MAX_PIXELS // 1_000_000} megapixels at most",
            )
        coverage = None if alpha is None else readonly(np.asarray(alpha, np.float32) / 255.0)
        return cls(readonly(np.asarray(rgb, np.float32) / 255.0), coverage)

    @property
    def size_px(self) -> tuple[int, int]:
        """(W, H)."""
        return self.rgb_HW3.shape[1], self.rgb_HW3.shape[0]

    def with_rgb(self, rgb_HW3: np.ndarray) -> Canvas:
        """The same canvas with other colours of the same size, clipped to 0..1."""
        return replace(self, rgb_HW3=readonly(np.clip(rgb_HW3, 0.0, 1.0)))

    def flat(self) -> RGBImage:
        """Eight-bit RGB as an embedder sees it: what is cut out lies on a middle grey."""
        rgb = self.rgb_HW3
        if self.alpha_HW is not None:
            rgb = _GREY + (rgb - _GREY) * self.alpha_HW[..., None]
        return to_bytes(rgb)


def to_bytes(values: np.ndarray) -> np.ndarray:
    """0..1 as eight bits, rounded half up: the same on every machine."""
    out = np.empty(values.shape, np.uint8)
    for rows in range(0, len(values), _STRIP_ROWS):  # floats of a whole print would be copied three times
        part = np.clip(values[rows : rows + _STRIP_ROWS], 0.0, 1.0)
        out[rows : rows + _STRIP_ROWS] = np.floor(part * 255.0 + 0.5)
    return out


def mixed(before: Canvas, after: Canvas, strength: float) -> Canvas:
    """`after` by `strength` and `before` for the rest; both have one size.  Alpha is that of `after`."""
    if strength >= 1.0:
        return after
    return after.with_rgb(before.rgb_HW3 + (after.rgb_HW3 - before.rgb_HW3) * np.float32(strength))
