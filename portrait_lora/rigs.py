"""Twelve lighting rigs: position, strength and colour of the lamps, and what they do to a backdrop.

A rig's azimuth is 0 at the camera and positive to the picture's right; a flipped rig mirrors it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from portrait_lora import vocabulary

RGB = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Lamp:
    """Direction in degrees, strength and colour of one lamp."""

    azimuth_deg: float
    elevation_deg: float
    strength: float
    colour: RGB


@dataclass(frozen=True, slots=True)
class Rig:
    """Key, fill and rim lamp, light from above and below, and the softness of the key's shadow."""

    key: Lamp
    fill: Lamp
    rim: Lamp
    sky: RGB
    ground: RGB
    softness: float


def _rig(key: tuple, fill: tuple, rim: tuple, sky: RGB, ground: RGB, softness: float) -> Rig:
    return Rig(Lamp(*key), Lamp(*fill), Lamp(*rim), sky, ground, softness)


RIGS: Final = {
    "three-point lighting": _rig(
        (-40, 35, 2.5, (1, 0.97, 0.93)),
        (45, 10, 0.75, (0.9, 0.95, 1)),
        (150, 35, 1.6, (1, 1, 1)),
        (0.30, 0.31, 0.33),
        (0.18, 0.17, 0.16),
        2.2,
    ),
    "rembrandt lighting": _rig(
        (-55, 46, 3.1, (1, 0.93, 0.84)),
        (50, 5, 0.25, (0.9, 0.95, 1)),
        (140, 30, 0.7, (1, 0.95, 0.9)),
        (0.13, 0.13, 0.14),
        (0.08, 0.07, 0.07),
        1.7,
    ),
    "butterfly lighting": _rig(
        (0, 54, 2.8, (1, 0.98, 0.96)),
        (0, -30, 0.55, (1, 1, 1)),
        (180, 50, 0.9, (1, 1, 1)),
        (0.22, 0.22, 0.23),
        (0.15, 0.14, 0.14),
        2.0,
    ),
    "split lighting": _rig(
        (-88, 12, 3.3, (1, 0.95, 0.9)),
        (60, 0, 0.14, (0.8, 0.9, 1)),
        (120, 20, 0.3, (0.8, 0.9, 1)),
        (0.09, 0.09, 0.10),
        (0.06, 0.06, 0.06),
        1.7,
    ),
    "rim lighting": _rig(
        (-150, 28, 4.6, (0.85, 0.92, 1)),
        (-20, 20, 0.55, (1, 0.95, 0.9)),
        (150, 25, 4.6, (1, 0.85, 0.7)),
        (0.11, 0.11, 0.13),
        (0.06, 0.06, 0.07),
        1.8,
    ),
    "golden hour lighting": _rig(
        (62, 18, 3.2, (1, 0.68, 0.34)),
        (-40, 25, 0.55, (0.70, 0.75, 0.95)),
        (-150, 20, 2.0, (1, 0.75, 0.45)),
        (0.27, 0.26, 0.28),
        (0.22, 0.16, 0.10),
        1.8,
    ),
    "high-key lighting": _rig(
        (-20, 35, 1.75, (1, 1, 1)),
        (40, 20, 1.25, (1, 1, 1)),
        (170, 40, 1.2, (1, 1, 1)),
        (0.56, 0.56, 0.57),
        (0.43, 0.42, 0.41),
        3.5,
    ),
    "low-key lighting": _rig(
        (-68, 30, 1.55, (1, 0.94, 0.86)),
        (55, 5, 0.05, (0.8, 0.9, 1)),
        (135, 30, 0.45, (0.85, 0.92, 1)),
        (0.035, 0.035, 0.04),
        (0.02, 0.02, 0.02),
        1.4,
    ),
    "loop lighting": _rig(
        (-34, 40, 2.9, (1, 0.97, 0.93)),
        (40, 0, 0.40, (0.95, 0.97, 1)),
        (160, 40, 0.8, (1, 1, 1)),
        (0.20, 0.20, 0.21),
        (0.12, 0.11, 0.11),
        1.7,
    ),
    "clamshell lighting": _rig(
        (0, 42, 2.0, (1, 0.99, 0.98)),
        (0, -42, 1.35, (1, 0.99, 0.98)),
        (180, 45, 1.2, (1, 1, 1)),
        (0.34, 0.34, 0.35),
        (0.34, 0.33, 0.33),
        3.0,
    ),
    "window light": _rig(
        (-72, 20, 2.7, (0.80, 0.91, 1)),
        (-40, 10, 0.45, (0.82, 0.92, 1)),
        (100, 5, 0.10, (1, 0.86, 0.72)),
        (0.105, 0.12, 0.15),
        (0.065, 0.062, 0.06),
        3.4,
    ),
    "neon lighting": _rig(
        (-52, 12, 2.5, (1, 0.10, 0.62)),
        (62, 6, 1.9, (0.06, 0.72, 1)),
        (150, 24, 2.2, (0.40, 0.25, 1)),
        (0.045, 0.035, 0.085),
        (0.05, 0.02, 0.06),
        1.9,
    ),
}
"""In the order of `vocabulary.ALL_LIGHTINGS`."""
assert tuple(RIGS) == vocabulary.ALL_LIGHTINGS

BACKDROP_TINTS: Final[dict[str, RGB]] = {
    "golden hour lighting": (1.0, 0.97, 0.90),
    "low-key lighting": (0.90, 0.90, 0.91),
    "split lighting": (0.95, 0.95, 0.95),
    "rim lighting": (0.94, 0.94, 0.96),
}
"""Factors of a backdrop's coded colour; 1 for every other rig."""
PLACE_TINTS: Final[dict[str, RGB]] = {
    "golden hour lighting": (1.02, 0.86, 0.66),
    "low-key lighting": (0.42, 0.42, 0.43),
    "split lighting": (0.58, 0.58, 0.59),
    "rim lighting": (0.55, 0.56, 0.60),
    "rembrandt lighting": (0.74, 0.73, 0.72),
    "neon lighting": (0.60, 0.58, 0.66),
}
"""Brightness of a place under a rig, for places without a colour in the caption."""
NEON_SIDES: Final[tuple[RGB, RGB]] = ((1.0, 0.60, 0.90), (0.60, 0.93, 1.0))
"""Factors of the backdrop's coded colour beside the key and beside the fill of the neon rig."""
