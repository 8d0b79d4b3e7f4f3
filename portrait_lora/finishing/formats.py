"""Formats of delivery: size, crop by eye line and head height, resolution, file and its largest size.

LinkedIn and X are known to take profile photos of 400 x 400 px at least and of 8 MB and 2 MB at most;
platforms change their rules without notice.  Sizes for print follow from the paper at 300 dpi.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from portrait_lora.errors import InputError
from portrait_lora.faces.head import head_lines_px
from portrait_lora.finishing.canvas import FileFormat
from portrait_lora.finishing.resample import Box
from portrait_lora.records import Face


@dataclass(frozen=True, slots=True)
class Format:
    """`aspect`: (W, H); without a `size_px` the pixels of the crop are kept.  Framing in picture heights."""

    about: str
    aspect: tuple[int, int]
    size_px: tuple[int, int] | None = None
    eye_line: float = 0.40
    head_height: float = 0.50
    circle: bool = False
    dpi: int | None = None
    file_format: FileFormat = "png"
    max_bytes: int | None = None


PRESETS: Final[Mapping[str, Format]] = {
    "linkedin": Format(
        "LinkedIn profile photo: 800 x 800 px, JPEG up to 8 MB, safe for the round frame",
        (1, 1), (800, 800), 0.45, 0.58, True, None, "jpeg", 8_000_000,
    ),
    "x": Format(
        "X profile photo: 400 x 400 px, JPEG up to 2 MB, safe for the round frame",
        (1, 1), (400, 400), 0.45, 0.58, True, None, "jpeg", 2_000_000,
    ),
    "avatar": Format(
        "avatar: 512 x 512 px PNG, the whole head within the inscribed circle",
        (1, 1), (512, 512), 0.47, 0.64, True,
    ),
    "speaker-page": Format(
        "speaker page: 1200 x 1200 px, JPEG up to 1 MB, head and shoulders",
        (1, 1), (1200, 1200), 0.40, 0.45, False, None, "jpeg", 1_000_000,
    ),
    "3:4": Format("upright 3:4, pixels kept", (3, 4), None, 0.40, 0.42),
    "2:3": Format("upright 2:3, pixels kept", (2, 3), None, 0.38, 0.38),
    "8x10": Format(
        "print of 8 x 10 inches at 300 dpi: 2400 x 3000 px TIFF",
        (4, 5), (2400, 3000), 0.40, 0.42, False, 300, "tiff",
    ),
    "a4": Format(
        "A4 at 300 dpi: 2480 x 3508 px TIFF", (2480, 3508), (2480, 3508), 0.38, 0.38, False, 300, "tiff",
    ),
}  # fmt: skip
MIN_SIDE_PX: Final = 32
MAX_HEAD_SHARE: Final = 1.8
"""A picture that is cropped too closely for a format gets a head this much larger than asked at most."""
_WIDTH_OF_HEAD: Final = 0.75
"""Of its height, hair included: heads of Farkas' tables (1994) are 0.65 to 0.75 as wide as high."""
_CHIN_ANGLES: Final = tuple(math.radians(a) for a in range(0, 360, 15))


def crop_box(face: Face, picture_px: tuple[int, int], wanted: Format) -> Box:
    """The part of the picture (W, H) for a format.

    The head gets its height and the eyes their line; where the picture ends too early, the crop is moved, and
    then made smaller.  Raises `InputError` where that would cut the head, or enlarge it beyond measure.
    """
    eye_line, crown, chin = head_lines_px(face)
    tall = chin - crown
    middle = float(np.asarray(face.keypoints_px)[:, 0].mean())
    aspect = wanted.aspect[0] / wanted.aspect[1]
    height = min(tall / wanted.head_height, picture_px[1], picture_px[0] / aspect)
    x0 = _within(middle - height * aspect / 2, height * aspect, picture_px[0])
    y0 = _within(eye_line - wanted.eye_line * height, height, picture_px[1])
    share = tall / height
    cut = [
        side
        for side, off in (
            ("crown", y0 - max(crown, 0.0)),
            ("chin", chin - (y0 + height)),
            ("left", x0 - (middle - _WIDTH_OF_HEAD * tall / 2)),
            ("right", middle + _WIDTH_OF_HEAD * tall / 2 - (x0 + height * aspect)),
        )
        if off > 0.02 * tall
    ]
    if cut or share > MAX_HEAD_SHARE * wanted.head_height:
        raise InputError(
            "the picture is too closely cropped for this format",
            got=f"a head of {share:.0%} of the height" + (f", cut at the {cut[0]}" if cut else ""),
            needed=f"{wanted.head_height:.0%}",
            remedy="Take a portrait with more room around the head, or a closer format.",
        )
    box = (x0, y0, x0 + height * aspect, y0 + height)
    if wanted.circle:
        _refuse_outside_circle(box, (middle, (crown + chin) / 2, tall))
    return box


def _within(start: float, length: float, limit: float) -> float:
    return min(max(start, 0.0), limit - length)


def _refuse_outside_circle(box: Box, head: tuple[float, float, float]) -> None:
    """The ellipse of the head must lie in the circle that the box contains."""
    centre, radius = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), (box[3] - box[1]) / 2
    middle, level, tall = head
    farthest = max(
        math.hypot(
            middle + _WIDTH_OF_HEAD * tall / 2 * math.cos(a) - centre[0],
            level + tall / 2 * math.sin(a) - centre[1],
        )
        for a in _CHIN_ANGLES
    )
    if farthest > radius * 1.02:
        raise InputError(
            "the head does not fit into the round frame",
            got=f"{farthest / radius:.2f} of its radius",
            needed="1.02 at most",
            remedy="Take a portrait with more room around the head.",
        )


def size_of(box: Box, wanted: Format) -> tuple[int, int]:
    """(W, H) of the result: that of the format, or the pixels of the crop in its exact aspect."""
    if wanted.size_px is not None:
        return wanted.size_px
    height = round(box[3] - box[1])
    return round(height * wanted.aspect[0] / wanted.aspect[1]), height
