"""An imperceptible mark in the pixels of what this program makes, and its reading."""

from portrait_lora.rights.watermark.protocol import Payload, Reading, Watermark, payload_of

__all__ = ["Payload", "Reading", "Watermark", "payload_of"]
