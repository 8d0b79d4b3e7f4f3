"""Photos as the dataset reads them: the program's picture reader."""

from portrait_lora.pictures.reader import (
    FORMATS,
    MAX_FILE_BYTES,
    MAX_PIXELS,
    UnreadablePhoto,
    list_photos,
    load_photo,
    photos_in_subfolders,
)
from portrait_lora.records import Photo

__all__ = [
    "FORMATS",
    "MAX_FILE_BYTES",
    "MAX_PIXELS",
    "UnreadablePhoto",
    "list_photos",
    "load_photo",
    "photos_in_subfolders",
    "pixels_of",
]


def pixels_of(photo: Photo) -> int:
    """How many pixels a photo may have when it is read again: those of the file, whatever is cut from it."""
    seen = max(1, photo.size_px[0] * photo.size_px[1])
    if photo.edit is None:
        return seen
    x0, y0, x1, y1 = photo.edit.crop
    return round(1.1 * seen / max((x1 - x0) * (y1 - y0), 1e-4)) + 1000  # sizes of crops are rounded
