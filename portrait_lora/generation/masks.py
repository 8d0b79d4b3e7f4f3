"""Masks of edits as text, so that an edit can be made again without a face pack."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from portrait_lora.errors import ArtifactError
from portrait_lora.record_limits import MAX_PIXELS


def encode_mask(mask_HW: npt.NDArray[np.uint8]) -> str:
    """A mask as base64 of a 1-bit PNG, so that the edit can be reproduced without a face pack."""
    buffer = io.BytesIO()
    Image.fromarray(mask_HW).convert("1").save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def decode_mask(text: str) -> npt.NDArray[np.uint8]:
    """The mask of `encode_mask`; `ArtifactError` when the text is damaged."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"]) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ValueError(f"{picture.width} x {picture.height} px")
            return (np.asarray(picture.convert("L")) > 127).astype(np.uint8) * 255
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ArtifactError("the mask in the generation record is damaged", got=error) from error
