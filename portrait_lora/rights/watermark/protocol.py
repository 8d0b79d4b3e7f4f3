"""What a watermark is, whichever network makes it: a payload, a reading, and the two directions.

A payload names the tool (with the version of the scheme) and one picture, and nothing of the person.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, Protocol

from portrait_lora.errors import InputError
from portrait_lora.records import RGBImage

TOOL_BITS: Final = 8
PICTURE_BITS: Final = 32
SCHEME: Final = 1
"""Version of the meaning of the payload, in the upper half of `Payload.tool`."""
PORTRAIT_LORA: Final = 1
"""This program, in the lower half."""


@dataclass(frozen=True, slots=True)
class Payload:
    """What a mark says: `tool` 0..255 (the scheme in the upper four bits), `picture` 0..2**32 - 1.

    Raises `InputError` for numbers that do not fit.
    """

    tool: int
    picture: int

    def __post_init__(self) -> None:
        for name, value, bits in (("tool", self.tool, TOOL_BITS), ("picture", self.picture, PICTURE_BITS)):
            if not 0 <= value < 1 << bits:
                raise InputError(
                    f"the {name} of a watermark does not fit", got=value, needed=f"0 to {(1 << bits) - 1}"
                )

    @property
    def scheme(self) -> int:
        """Version of the scheme."""
        return self.tool >> 4

    @property
    def is_ours(self) -> bool:
        """Whether this program marked the picture."""
        return self.tool & 0xF == PORTRAIT_LORA


def payload_of(recipe: bytes | str) -> Payload:
    """The payload for a picture of this program whose recipe (or its digest) this is.

    The picture's number is the first 32 bits of a sha256 over it: it tells pictures apart, and neither the
    recipe nor the person can be computed from it.
    """
    data = recipe.encode() if isinstance(recipe, str) else recipe
    digest = hashlib.sha256(b"portrait_lora watermark\0" + data).digest()
    return Payload(SCHEME << 4 | PORTRAIT_LORA, int.from_bytes(digest[: PICTURE_BITS // 8], "big"))


@dataclass(frozen=True, slots=True)
class Reading:
    """A mark that was read.

    `confidence` 0..1 is the agreement of the picture with the mark (the cosine between what was measured and
    what the payload's mark would give); `corrected_bits` of the coded bits were wrong and mended; `whole` is
    False where a part of the picture does not carry the mark, such as something pasted in.  A picture that
    was cropped is still whole: what is left carries the mark.
    """

    payload: Payload
    confidence: float
    corrected_bits: int
    whole: bool


class Watermark(Protocol):
    """An imperceptible mark in the pixels.  The same picture and payload give the same bytes."""

    name: str
    min_side_px: int
    """Smaller pictures cannot be marked."""
    false_positive_rate: float
    """How likely a picture without a mark is read as marked, by design; measured rates are in the docs."""

    def embed(self, rgb: RGBImage, payload: Payload) -> RGBImage:
        """A marked copy, (H, W, 3) uint8.

        Raises `InputError` for a side below `min_side_px` and for arrays that are no pictures.
        """
        ...

    def detect(self, rgb: RGBImage) -> Reading | None:
        """The mark of an (H, W, 3) uint8 picture; None where there is none, or where it is too small."""
        ...
