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

__all__ = [
    "FORMATS",
    "MAX_FILE_BYTES",
    "MAX_PIXELS",
    "UnreadablePhoto",
    "list_photos",
    "load_photo",
    "photos_in_subfolders",
]
