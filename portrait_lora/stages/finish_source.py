"""The picture that is to be finished: read with its alpha and its record, and told apart by its pixels."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from portrait_lora import provenance
from portrait_lora.errors import ArtifactError, InputError
from portrait_lora.evaluation import similarity
from portrait_lora.finishing.canvas import Canvas, to_bytes
from portrait_lora.generation import save


def read_picture(path: Path) -> tuple[Canvas, save.Record | None]:
    """The canvas of a picture and its generation record, None for a picture from elsewhere.

    Raises `InputError` for a file that is no picture, `ArtifactError` for a damaged record.
    """
    if not path.is_file():
        raise InputError("no such picture", where=path)
    rgb = similarity.read_rgb(path)
    alpha, kind = None, None
    with contextlib.suppress(UnidentifiedImageError), Image.open(path) as picture:  # HEIC has neither
        kind = picture.format
        if "A" in picture.getbands() or "transparency" in picture.info:
            alpha = np.asarray(picture.convert("RGBA"))[..., 3]
    if alpha is not None and alpha.shape != rgb.shape[:2]:  # turned by its EXIF
        raise InputError("a turned picture with alpha", where=path, remedy="Save it upright first.")
    record = None
    if kind == "PNG":
        try:
            record = provenance.read_record(path)
        except ArtifactError as error:
            if error.what != provenance.NO_RECORD:
                raise
    return Canvas.of(rgb, alpha), record


def canvas_digest(canvas: Canvas) -> str:
    """Hex sha256 of the eight-bit pixels with their alpha, independent of the file format."""
    total = hashlib.sha256(repr(canvas.size_px).encode())
    total.update(to_bytes(canvas.rgb_HW3).tobytes())
    if (alpha := alpha_bytes(canvas)) is not None:
        total.update(alpha.tobytes())
    return total.hexdigest()


def alpha_bytes(canvas: Canvas) -> np.ndarray | None:
    """(H, W) eight-bit alpha, or None."""
    return None if canvas.alpha_HW is None else to_bytes(canvas.alpha_HW)
