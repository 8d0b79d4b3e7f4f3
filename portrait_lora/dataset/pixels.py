"""From whatever a decoder gives to eight-bit sRGB with three channels, without holding many copies of it.

A reduction comes before every other step that allows it, so that a large picture costs little memory.
"""

from __future__ import annotations

import contextlib
import io
from typing import Final

import numpy as np
from PIL import Image, ImageCms

MAX_PROFILE_BYTES: Final = 4_000_000
"""Colour profiles beyond this are not applied; those of cameras and phones have a few kilobytes."""
_DIRECT: Final = ("RGB", "RGBA", "RGBX", "L", "LA", "CMYK")


def to_srgb(image: Image.Image, target_px: tuple[int, int] | None = None) -> Image.Image:
    """Any loaded picture as eight-bit sRGB: transparency on white, ICC profile applied.

    With `target_px` (W, H) it is reduced to that size, never enlarged.
    """
    profile = image.info.get("icc_profile")
    if image.mode in _DIRECT and "transparency" not in image.info:
        image = _reduced(image, target_px)
    flat = _reduced(_flatten(image), target_px)
    if isinstance(profile, bytes) and 0 < len(profile) <= MAX_PROFILE_BYTES:
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(
                flat, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
            if converted is not None:
                return converted
    return flat if flat.mode == "RGB" else flat.convert("RGB")


def _reduced(image: Image.Image, target_px: tuple[int, int] | None) -> Image.Image:
    if target_px is None or max(image.size) <= max(target_px):
        return image
    return image.resize(target_px, Image.Resampling.LANCZOS, reducing_gap=2.0)


def _flatten(image: Image.Image) -> Image.Image:
    """Eight bits per channel, no palette, no alpha; CMYK and grey stay for the colour profile."""
    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        return Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float32)
        top = 65535.0 if values.max(initial=0.0) > 255.0 else 255.0
        return Image.fromarray(np.clip(np.rint(values * (255.0 / top)), 0, 255).astype(np.uint8))
    if image.mode in ("CMYK", "L", "RGB") and "transparency" not in image.info:
        return image
    if image.has_transparency_data:
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGB", rgba.size, (255, 255, 255))
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    return image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
