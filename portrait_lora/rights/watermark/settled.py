"""What marking a picture settled on for all of it, so that an edited copy can be marked alike.

The strength at each place follows from what lies around it, and the pattern from the payload.  Everything
else that depends on the whole picture is here: by how much the strength was held back, how the changes are
shared among colours, and in a small picture the amplitudes of the waves and the corner of the tile.
"""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from portrait_lora.errors import ArtifactError

_HEAD: Final = struct.Struct("<?BBd")
MOST_RAISED: Final = 2.0
"""Factor on the strength of a mark that nothing would hide, at most."""
MAX_TEXT: Final = 4000
"""Characters of a text at most; that of the shipped scheme has 1,320."""


@dataclass(frozen=True, slots=True)
class Waves:
    """Of a small picture: `amplitude` (N,) as `informed` orders them; the corner (y, x) of the tile in steps.

    Those of the data are numbers of 32 bits, those of the pilot of 64, as marking uses them.
    """

    amplitude: npt.NDArray[np.float64]
    corner: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Settled:
    """`scale` of the strength, up to `MOST_RAISED`; `in_colour`: changes are shared as brightness is."""

    scale: float
    in_colour: bool = False
    waves: Waves | None = None

    def text(self, data: int) -> str:
        """For a record; `data` is how many of the amplitudes are the data's."""
        waves = self.waves
        corner = waves.corner if waves else (0, 0)
        raw = _HEAD.pack(self.in_colour, *corner, self.scale)
        if waves:
            raw += (
                waves.amplitude[:data].astype("<f4").tobytes()
                + waves.amplitude[data:].astype("<f8").tobytes()
            )
        return base64.b64encode(raw).decode()

    @classmethod
    def read(cls, text: str, data: int, pilot: int, power: float) -> Settled:
        """`ArtifactError` for a text that is none of ours: wrong length, or values no mark has.

        `power` is the sum of the squares of all amplitudes at most.
        """
        try:
            raw = base64.b64decode(text[:MAX_TEXT], validate=True)
            in_colour, y, x, scale = _HEAD.unpack_from(raw)
        except (binascii.Error, ValueError, struct.error) as error:
            raise _damaged(error) from error
        rest = raw[_HEAD.size :]
        if len(rest) not in (0, 4 * data + 8 * pilot):
            raise _damaged(f"{len(rest)} bytes of amplitudes")
        low, high = np.frombuffer(rest[: 4 * data], "<f4"), np.frombuffer(rest[4 * data :], "<f8")
        amplitude = np.concatenate([low, high]).astype(np.float64)
        size = float((amplitude**2).sum())
        if not 0 <= scale <= MOST_RAISED or not size <= 1.01 * power:  # false for what is no number, too
            raise _damaged(f"scale {scale:g}, power {size:g}")
        return cls(scale, in_colour, Waves(amplitude, (y, x)) if rest else None)


def _damaged(got: object) -> ArtifactError:
    return ArtifactError(
        "the record of how a watermark was laid is damaged", got=str(got)[:80], needed="as it was written"
    )
