"""An imperceptible mark in the pixels of what this program makes, and its reading."""

from __future__ import annotations

from functools import lru_cache

from portrait_lora.rights.watermark.protocol import Payload, Reading, Watermark, payload_of

__all__ = ["Payload", "Reading", "Watermark", "embedded", "payload_of"]


@lru_cache(maxsize=1)
def embedded() -> Watermark:
    """The watermark that the package ships."""
    from portrait_lora.rights.watermark import tiled

    return tiled.load()
