"""Conversion of decoded pictures to eight-bit sRGB with three channels, with few copies in memory.

Downscaling comes first wherever possible, so that a large picture needs little memory.
"""

from __future__ import annotations

import contextlib
import io
from typing import Final

import numpy as np
from PIL import Image, ImageCms

from portrait_lora.pictures import srgb

MAX_PROFILE_BYTES: Final = 4_000_000
"""Larger colour profiles are not applied; those of cameras and phones have a few kilobytes."""
_EXIF_IFD: Final = 0x8769
_INTEROP_IFD: Final = 0xA005
_COLOUR_SPACE: Final = 0xA001
_UNCALIBRATED: Final = 0xFFFF
_ADOBE_GAMMA: Final = 563 / 256
_ADOBE_TO_SRGB: Final = np.array(
    [
        [1.39835574, -0.39835574, 0.0],
        [0.0, 1.0, 0.0],
        [0.0, -0.04293160, 1.04293160],
    ],
    dtype=np.float32,
)
"""Linear light, from the primaries of Adobe RGB (1998), section 4.3.1, and of IEC 61966-2-1."""
_STRIP_ROWS: Final = 256
_DIRECT: Final = ("RGB", "RGBA", "RGBX", "L", "LA", "CMYK")


def to_srgb(
    image: Image.Image, target_px: tuple[int, int] | None = None, *, adobe_rgb: bool = False
) -> Image.Image:
    """Any loaded picture as eight-bit sRGB: transparency on white, ICC profile applied.

    With `target_px` (W, H) it is reduced to that size, never enlarged.  `adobe_rgb` names the colour space
    of a picture without a profile.
    """
    profile = image.info.get("icc_profile")
    if profile == srgb.profile():
        profile = None  # nothing to convert, where littlecms would move some values by one
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
    if adobe_rgb and flat.mode == "RGB":
        return _from_adobe_rgb(flat)
    return flat if flat.mode == "RGB" else flat.convert("RGB")


def is_adobe_rgb(image: Image.Image) -> bool:
    """Whether EXIF declares Adobe RGB (1998): interoperability index R03 of DCF 2.0, or colour space 2."""
    try:
        exif = image.getexif()
        index = exif.get_ifd(_INTEROP_IFD).get(1)
        space = exif.get_ifd(_EXIF_IFD).get(_COLOUR_SPACE)
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return False
    text = index.decode("ascii", "replace") if isinstance(index, bytes) else str(index)
    return space == 2 or (text.startswith("R03") and space in (None, _UNCALIBRATED))


def _from_adobe_rgb(image: Image.Image) -> Image.Image:
    """Adobe RGB (1998) to sRGB; both have the D65 white, so that no adaptation is needed."""
    linear = ((np.arange(256) / 255.0) ** _ADOBE_GAMMA).astype(np.float32)
    values = np.array(image)
    for rows in range(0, len(values), _STRIP_ROWS):
        part = np.clip(linear[values[rows : rows + _STRIP_ROWS]] @ _ADOBE_TO_SRGB.T, 0.0, 1.0)
        low, high = 12.92 * part, 1.055 * part ** (1 / 2.4) - 0.055
        coded = np.where(part <= 0.0031308, low, high)
        values[rows : rows + _STRIP_ROWS] = np.rint(255.0 * coded).astype(np.uint8)
    return Image.fromarray(values)


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
