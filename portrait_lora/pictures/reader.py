"""The picture reader: an allow-list of formats by content; upright, sRGB, eight bits, three channels.

The original file is opened for reading only; its metadata is dropped, and whatever follows
the picture (the video of a motion photo, a gain map, a second picture) is ignored.
Arrays are RGB uint8 HWC.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from portrait_lora.errors import InputError
from portrait_lora.pictures import formats, heif, heif_worker, jpeg
from portrait_lora.pictures.pixels import is_adobe_rgb, to_srgb
from portrait_lora.records import Photo, PhotoEdit, RGBImage

FORMATS: Final = ("JPEG", "PNG", "WEBP", "AVIF")
"""Formats decoded in this process; `heif` decodes HEIC in a separate one."""
MAX_PIXELS: Final = 120_000_000
"""Pictures with more pixels are rejected before any pixel is decoded."""
MAX_FILE_BYTES: Final = 200_000_000
MAX_SCAN_MEGAPIXELS: Final = 3_000.0
"""Scans × megapixels of a JPEG: every scan covers the whole picture, and a crafted file has thousands."""
_DEFLATE_MOST: Final = 1100.0
"""Maximum compression ratio of a PNG: deflate reaches 1032 at best."""
_PNG_BITS: Final = {"RGB": 24, "RGBA": 32, "LA": 16, "I;16": 16}
_JPEG_LEAST_BYTES: Final = 1 / 64 / 8 / 2
"""Minimum bytes per pixel; a complete JPEG spends at least a bit on every block of 8 × 8."""
QUICK_SHARE: Final = 0.78
"""A quick downscaling may be this much smaller than requested when that halves the decoder's work."""

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
    """A file that cannot be used as a photo; `advice` is the reason and remedy, `photo` its record."""

    def __init__(self, photo: Photo, reason: str, remedy: str) -> None:
        self.photo = photo
        self.advice = f"{reason[:1].upper()}{reason[1:]}. {remedy}"
        super().__init__(reason, where=photo.path.name, remedy=remedy)


def list_photos(folder: Path) -> list[Path]:
    """The files of `folder` (not of its subfolders) that are or could be pictures, sorted by name.

    Hidden files are skipped, and so are those whose name or content is of another kind.
    Raises InputError when `folder` is not a readable folder.
    """
    if not folder.is_dir():
        got = "a file" if folder.exists() else "no such folder"
        raise InputError(
            "not a folder of photos", where=folder, got=got, remedy="Pass the folder that contains them."
        )
    entries = (e for e in folder.iterdir() if not e.name.startswith(".") and (e.is_symlink() or e.is_file()))
    return sorted((e for e in entries if formats.could_be_photo(e)), key=lambda e: e.name)


def photos_in_subfolders(folder: Path) -> list[tuple[str, int]]:
    """(name, number of pictures) of every visible subfolder with pictures, judged by name only."""
    rows: list[tuple[str, int]] = []
    for inner in sorted(e for e in folder.iterdir() if not e.name.startswith(".") and not e.is_symlink()):
        if inner.is_dir():
            with contextlib.suppress(OSError):
                names = [e.name for e in inner.iterdir() if not e.name.startswith(".")]
                count = sum(Path(n).suffix.lower() in formats.PICTURE_SUFFIXES for n in names)
                rows += [(inner.name, count)] if count else []
    return rows


def load_photo(
    path: Path,
    max_side_px: int | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
    quick: bool = False,
    edit: PhotoEdit | None = None,
) -> tuple[Photo, RGBImage]:
    """The photo's record and its upright sRGB pixels, (H, W, 3) uint8.

    With `max_side_px` the longer side is reduced to at most that many pixels (a JPEG is then decoded
    at a fraction of its size; with `quick`, possibly down to `QUICK_SHARE` of that); `Photo.size_px`
    is always the full size.  `edit` is applied to the upright picture, and all sizes but `max_pixels` are
    those after it.  Raises UnreadablePhoto.
    """
    data = _read(path)
    photo = Photo(path, hashlib.sha256(data).hexdigest(), (0, 0), edit=edit)
    return _decoded(photo, data, max_side_px, max_pixels=max_pixels, slack=QUICK_SHARE if quick else 1.0)


def decode_photo(name: str, data: bytes, *, max_pixels: int = MAX_PIXELS) -> RGBImage:
    """The upright sRGB pixels, (H, W, 3) uint8, of a file's bytes; `name` is for errors.

    Raises UnreadablePhoto.
    """
    photo = Photo(Path(name), hashlib.sha256(data).hexdigest(), (0, 0))
    return _decoded(photo, data, None, max_pixels=max_pixels, slack=1.0)[1]


def _decoded(
    photo: Photo, data: bytes, max_side_px: int | None, *, max_pixels: int, slack: float
) -> tuple[Photo, RGBImage]:
    kind = formats.kind_of(data[: formats.HEAD_BYTES])
    if kind is None:
        raise UnreadablePhoto(photo, _not_read(data), "Save it as JPEG, PNG or WebP.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind == "HEIC":
                with heif.decoded(data, max_pixels) as image:
                    return _decode(photo, image, max_side_px, slack)
            scans = 0
            if kind == "JPEG":
                walk = jpeg.walk(data)
                data, scans = data[: walk.end], walk.scans
            with Image.open(io.BytesIO(data), formats=(kind,)) as image:
                _refuse_excess(photo, image, len(data), scans, max_pixels)
                return _decode(photo, image, max_side_px, slack)
    except UnreadablePhoto:
        raise
    except (Image.DecompressionBombError, heif.TooManyPixels) as error:
        raise _too_many_pixels(photo, max_pixels) from error
    except heif.NotInstalled as error:
        remedy = "Save it as JPEG, or install the extra: pip install 'portrait-lora[heic]'."
        raise UnreadablePhoto(photo, "a HEIC picture, which needs the extra 'heic'", remedy) from error
    except Exception as error:  # damaged bytes make decoders raise nearly anything
        remedy = "Copy it again from the camera or phone."
        raise UnreadablePhoto(photo, "the file is damaged or truncated", remedy) from error


def read_rgb(path: Path) -> RGBImage:
    """The whole picture, upright sRGB, (H, W, 3) uint8.  Raises UnreadablePhoto."""
    return load_photo(path)[1]


def _not_read(data: bytes) -> str:
    name = formats.unsupported(data[: formats.HEAD_BYTES])
    if name is None:
        return "not a JPEG, PNG or WebP picture, despite its name"
    return f"not a JPEG, PNG or WebP picture but {name}, which is not supported"


def _refuse_excess(photo: Photo, image: Image.Image, size: int, scans: int, max_pixels: int) -> None:
    """Raise before decoding if that would take too much memory or time."""
    pixels = image.size[0] * image.size[1]
    if pixels > max_pixels:
        raise _too_many_pixels(photo, max_pixels)
    least = 0.0
    if image.format == "PNG":
        least = pixels * _PNG_BITS.get(image.mode, 1) / 8 / _DEFLATE_MOST
    elif image.format in ("JPEG", "MPO"):
        least = pixels * _JPEG_LEAST_BYTES
    if size < least:
        reason = "the file is truncated: it is too small for the size in its header"
        raise UnreadablePhoto(photo, reason, "Copy it again from the camera or phone.")
    if scans * pixels / 1e6 > MAX_SCAN_MEGAPIXELS:
        reason = "the picture has far more scans than a camera writes"
        raise UnreadablePhoto(photo, reason, "Save it again as a plain JPEG.")


def _read(path: Path) -> bytes:
    """The file's bytes; rejects links out of the folder, folders, devices, empty and huge files."""
    nothing = Photo(path, "", (0, 0))
    try:
        target = path.resolve(strict=True)
        if path.is_symlink() and not target.is_relative_to(path.parent.resolve()):
            remedy = "Replace it by a copy of the photo."
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
        reason = "a broken link" if path.is_symlink() else "the file cannot be opened"
        raise UnreadablePhoto(nothing, reason, "Check that it exists and is readable.") from error


def _too_many_pixels(photo: Photo, max_pixels: int) -> UnreadablePhoto:
    reason = f"the picture has more than {max_pixels / 1e6:.3g} million pixels"
    return UnreadablePhoto(photo, reason, "Save a smaller copy of it.")


def _decode(
    photo: Photo, image: Image.Image, max_side_px: int | None, slack: float
) -> tuple[Photo, RGBImage]:
    width, height = image.size
    orientation = _orientation(image)
    full = (height, width) if orientation >= 5 else (width, height)
    edit = photo.edit
    size = full if edit is None else edit.size_px(full)
    target = None
    if max_side_px is not None and max_side_px < max(size):
        ratio = max_side_px / max(size)
        target = (max(1, round(width * ratio)), max(1, round(height * ratio)))
        image.draft(None, (max(1, round(target[0] * slack)), max(1, round(target[1] * slack))))
    image.load()
    rgb = to_srgb(image, target, adobe_rgb=is_adobe_rgb(image))
    if orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[orientation])
    pixels = np.array(rgb, dtype=np.uint8)
    seen = Photo(photo.path, photo.sha256, size, _taken_s(image), edit)
    return seen, pixels if edit is None else edit.of(pixels)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation 1..8; 1 when absent or invalid."""
    try:
        value = int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return 1
    return value if 1 <= value <= 8 else 1


def _taken_s(image: Image.Image) -> float | None:
    """The time of exposure in the EXIF block, with the fraction of a second if stated; None when absent or
    invalid."""
    try:
        block = image.getexif().get_ifd(heif_worker.EXIF_IFD)
        taken, subsecond = (str(block.get(tag, "")) for tag in heif_worker.TIME_TAGS)
        moment = datetime.strptime(taken.strip("\0 "), "%Y:%m:%d %H:%M:%S")
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return None
    digits = subsecond.strip("\0 ")
    fraction = float(f"0.{digits}") if digits.isascii() and digits.isdigit() else 0.0
    return moment.replace(tzinfo=UTC).timestamp() + fraction
