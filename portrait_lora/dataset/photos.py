"""Reading photos safely: an allow-list of formats by content, upright, sRGB, eight bits, three channels.

The original file is opened for reading only; nothing of its metadata travels with the pixels.
Arrays are RGB uint8 HWC.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from portrait_lora.errors import InputError
from portrait_lora.records import Photo

ImageArray = npt.NDArray[np.uint8]

FORMATS: Final = ("JPEG", "PNG", "WEBP")
MAX_PIXELS: Final = 120_000_000
"""Pictures with more pixels than this are refused before a single pixel is decoded."""
MAX_FILE_BYTES: Final = 200_000_000

_PICTURE_SUFFIXES: Final = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp"),
    *(".heic", ".heif", ".avif", ".gif", ".tif", ".tiff", ".bmp", ".jp2", ".dng", ".cr2", ".nef", ".arw"),
)
_MAGIC: Final = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_ORIENTATION_TAG: Final = 0x0112
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadablePhoto(InputError):
    """A file that cannot be used as a photo; `advice` says why and what to do, `photo` is its record."""

    def __init__(self, photo: Photo, reason: str, remedy: str) -> None:
        self.photo = photo
        self.advice = f"{reason[:1].upper()}{reason[1:]}. {remedy}"
        super().__init__(reason, where=photo.path.name, remedy=remedy)


def list_photos(folder: Path) -> list[Path]:
    """The files of `folder` (not of its subfolders) that are or claim to be pictures, sorted by name.

    Hidden files are passed over, and so are files that neither end like a picture nor begin like one.
    Raises InputError when `folder` is not a readable folder.
    """
    if not folder.is_dir():
        got = "a file" if folder.exists() else "nothing there"
        raise InputError(
            "no folder of photos", where=folder, got=got, remedy="Give the folder that holds them."
        )
    entries = (e for e in folder.iterdir() if not e.name.startswith(".") and (e.is_symlink() or e.is_file()))
    return sorted((e for e in entries if _looks_like_a_picture(e)), key=lambda e: e.name)


def _looks_like_a_picture(path: Path) -> bool:
    if path.suffix.lower() in _PICTURE_SUFFIXES:
        return True
    if path.is_symlink():
        return False
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return False
    return head.startswith(_MAGIC) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def load_photo(
    path: Path, max_side_px: int | None = None, *, max_pixels: int = MAX_PIXELS
) -> tuple[Photo, ImageArray]:
    """The photo's record and its upright sRGB pixels, (H, W, 3) uint8.

    With `max_side_px` the longer side is reduced to at most that many pixels (a JPEG is then decoded
    at a fraction of its size); `Photo.size_px` always tells the full size.  Raises UnreadablePhoto.
    """
    data = _read(path)
    photo = Photo(path, hashlib.sha256(data).hexdigest(), (0, 0))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                return _decode(photo, image, max_side_px, max_pixels)
    except UnreadablePhoto:
        raise
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(photo, max_pixels) from error
    except Image.UnidentifiedImageError as error:
        remedy = "Save it as JPEG, PNG or WebP."
        raise UnreadablePhoto(
            photo, "not a JPEG, PNG or WebP picture, whatever its name says", remedy
        ) from error
    except Exception as error:  # damaged bytes make decoders raise nearly anything
        remedy = "Copy it again from the camera or phone."
        raise UnreadablePhoto(photo, "the file is damaged or cut short", remedy) from error


def _read(path: Path) -> bytes:
    """The file's bytes; refuses links that leave the folder, folders, devices, empty and huge files."""
    nothing = Photo(path, "", (0, 0))
    try:
        target = path.resolve(strict=True)
        if path.is_symlink() and not target.is_relative_to(path.parent.resolve()):
            remedy = "Put a copy of the photo itself there."
            raise UnreadablePhoto(nothing, "a link to a file outside the folder of photos", remedy)
        if not target.is_file():
            raise UnreadablePhoto(nothing, "not a regular file", "Remove it.")
        size = target.stat().st_size
        if size == 0:
            photo = Photo(path, hashlib.sha256(b"").hexdigest(), (0, 0))
            raise UnreadablePhoto(photo, "the file is empty", "Copy it again from the camera or phone.")
        if size > MAX_FILE_BYTES:
            limit = f"the file is larger than {MAX_FILE_BYTES // 1_000_000} MB"
            raise UnreadablePhoto(nothing, limit, "Save a smaller JPEG of it.")
        return target.read_bytes()
    except (OSError, RuntimeError) as error:
        reason = "a link that leads nowhere" if path.is_symlink() else "the file cannot be opened"
        raise UnreadablePhoto(nothing, reason, "Check that it exists and may be read.") from error


def _too_many_pixels(photo: Photo, max_pixels: int) -> UnreadablePhoto:
    reason = f"the picture has more than {max_pixels / 1e6:.3g} million pixels"
    return UnreadablePhoto(photo, reason, "Save a smaller copy of it.")


def _decode(
    photo: Photo, image: Image.Image, max_side_px: int | None, max_pixels: int
) -> tuple[Photo, ImageArray]:
    width, height = image.size
    if width * height > max_pixels:
        raise _too_many_pixels(photo, max_pixels)
    orientation = _orientation(image)
    full = (height, width) if orientation >= 5 else (width, height)
    ratio = 1.0 if max_side_px is None else min(1.0, max_side_px / max(full))
    if ratio < 1.0:
        image.draft(None, (max(1, round(width * ratio)), max(1, round(height * ratio))))
    image.load()
    rgb = to_srgb(image)
    if ratio < 1.0:
        target = (max(1, round(width * ratio)), max(1, round(height * ratio)))
        if rgb.size != target:
            rgb = rgb.resize(target, Image.Resampling.LANCZOS)
    if orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[orientation])
    return Photo(photo.path, photo.sha256, full), np.array(rgb, dtype=np.uint8)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation 1..8; 1 when absent or senseless."""
    try:
        value = int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return 1
    return value if 1 <= value <= 8 else 1


def to_srgb(image: Image.Image) -> Image.Image:
    """Any decoded picture as eight-bit sRGB: first frame, transparency on white, ICC profile applied."""
    profile = image.info.get("icc_profile")
    flat = _flatten(image)
    if isinstance(profile, bytes) and profile:
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(
                flat, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
            if converted is not None:
                return converted
    return flat.convert("RGB")


def _flatten(image: Image.Image) -> Image.Image:
    """Eight bits per channel, no palette, no alpha; CMYK and grey stay for the colour profile."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        top = 65535.0 if values.max(initial=0.0) > 255.0 else 255.0
        return Image.fromarray(np.clip(np.rint(values * (255.0 / top)), 0, 255).astype(np.uint8))
    if image.mode in ("CMYK", "L", "RGB") and "transparency" not in image.info:
        return image
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")
