"""What a marked picture is likely to go through, in miniature, so that the mark can be made for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np

from portrait_lora.records import RGBImage

Treatment = Callable[[RGBImage], RGBImage]
_JPEG: Final = (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 75])
_WEBP: Final = (".webp", [cv2.IMWRITE_WEBP_QUALITY, 60])


def _through(rgb: RGBImage, suffix: str, options: list[int]) -> RGBImage:
    _, data = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(np.asarray(decoded), cv2.COLOR_BGR2RGB), np.uint8)


def _halved(rgb: RGBImage) -> RGBImage:
    height, width = rgb.shape[:2]
    size = round(width / 2), round(height / 2)
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


TREATMENTS: Final[tuple[Treatment, ...]] = (
    lambda rgb: _through(rgb, *_JPEG),
    lambda rgb: _through(rgb, *_WEBP),
    _halved,
)
"""JPEG at quality 75, WebP at 60, half the size; what survives all three survives milder things too."""
