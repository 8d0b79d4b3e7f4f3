"""Colour arithmetic on sRGB-coded and linear pixels, (…, 3) float32 in 0..1."""

from __future__ import annotations

from typing import Final

import numpy as np

from portrait_lora.records import FloatArray

LUMINANCE: Final = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
"""Weights of linear sRGB, ITU-R BT.709."""
_TO_LMS: Final = np.array(
    [
        [0.41222147, 0.53633254, 0.05144599],
        [0.21190350, 0.68069955, 0.10739696],
        [0.08830246, 0.28171884, 0.62997870],
    ],
    dtype=np.float32,
)
_TO_OKLAB: Final = np.array(
    [
        [0.21045426, 0.79361778, -0.00407205],
        [1.97799850, -2.42859221, 0.45059371],
        [0.02590404, 0.78277177, -0.80867577],
    ],
    dtype=np.float32,
)
"""Linear sRGB to cone responses, their cube roots to OKLab (Björn Ottosson, "A perceptual color space for
image processing", 2020)."""


def to_linear(coded: np.ndarray) -> FloatArray:
    """sRGB-coded values to linear light (IEC 61966-2-1)."""
    values = np.asarray(coded, np.float32)
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** np.float32(2.4)).astype(
        np.float32
    )


def to_coded(linear: np.ndarray) -> FloatArray:
    """Linear light to sRGB-coded values; negative light is black."""
    values = np.maximum(np.asarray(linear, np.float32), 0.0)
    coded = np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** np.float32(1 / 2.4) - 0.055)
    return coded.astype(np.float32)


def luma(coded: np.ndarray) -> FloatArray:
    """Weighted sum of coded values: the grey that a picture shows on a monitor (BT.709 weights)."""
    return np.asarray(np.asarray(coded, np.float32) @ LUMINANCE, np.float32)


def to_oklab(coded: np.ndarray) -> FloatArray:
    """sRGB-coded to OKLab: lightness 0..1, a and b around 0."""
    cones = np.cbrt(to_linear(coded) @ _TO_LMS.T)
    return np.asarray(cones @ _TO_OKLAB.T, np.float32)


def from_oklab(lab: np.ndarray) -> FloatArray:
    """OKLab to sRGB-coded, not clipped above 1."""
    cones = np.asarray(lab, np.float32) @ np.linalg.inv(_TO_OKLAB).T.astype(np.float32)
    return to_coded(cones**3 @ np.linalg.inv(_TO_LMS).T.astype(np.float32))


def white_point_xyz(kelvin: float) -> np.ndarray:
    """XYZ (Y 1) of daylight of 4,000 to 25,000 K (CIE 15:2018, eq. 3.2 to 3.4)."""
    t = float(np.clip(kelvin, 4000.0, 25000.0))
    low = (-4.6070e9 / t**3) + (2.9678e6 / t**2) + (0.09911e3 / t) + 0.244063
    high = (-2.0064e9 / t**3) + (1.9018e6 / t**2) + (0.24748e3 / t) + 0.237040
    x = low if t <= 7000.0 else high
    y = -3.0 * x * x + 2.87 * x - 0.275
    return np.array([x / y, 1.0, (1 - x - y) / y])


_RGB_TO_XYZ: Final = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_BRADFORD: Final = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
D65_KELVIN: Final = 6504.0


def adaptation(from_kelvin: float, to_kelvin: float) -> FloatArray:
    """(3, 3) on linear sRGB: what was white under the first daylight is white under the second (Bradford)."""
    first, second = (_BRADFORD @ white_point_xyz(k) for k in (from_kelvin, to_kelvin))
    change = np.linalg.inv(_BRADFORD) @ np.diag(second / first) @ _BRADFORD
    return np.asarray(np.linalg.inv(_RGB_TO_XYZ) @ change @ _RGB_TO_XYZ, np.float32)


def parse(colour: str) -> FloatArray:
    """`#rrggbb` as three coded values.  Raises ValueError."""
    text = colour.strip().removeprefix("#")
    if len(text) != 6:
        raise ValueError(f"{colour!r} is not a colour such as '#8a8f94'")
    return np.array([int(text[i : i + 2], 16) / 255.0 for i in (0, 2, 4)], np.float32)
