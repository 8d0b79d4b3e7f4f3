"""An imperceptible mark in the pixels of what this program makes, and its reading."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from portrait_lora.rights.watermark.protocol import Payload, Reading, Watermark, payload_of

if TYPE_CHECKING:
    from portrait_lora.rights.watermark.tiled import TiledWatermark

__all__ = ["Payload", "Reading", "Watermark", "embedded", "payload_of"]


@lru_cache(maxsize=1)
def embedded() -> TiledWatermark:
    """The watermark that the package ships."""
    from portrait_lora.rights.watermark import tiled

    return tiled.load()
