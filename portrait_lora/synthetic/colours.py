"""Colours of skin, hair, irises, cloth and backdrops, and the words for them.

Albedos are linear RGB; backdrop colours are sRGB as seen.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from portrait_lora import vocabulary
from portrait_lora.synthetic.geometry import ramp, smooth_scalar
from portrait_lora.synthetic.identity import Person

_SKIN: Final = (
    (0.84, 0.60, 0.50),
    (0.75, 0.49, 0.375),
    (0.60, 0.355, 0.245),
    (0.41, 0.225, 0.14),
    (0.24, 0.122, 0.075),
    (0.125, 0.064, 0.042),
)
_PIGMENT: Final = (
    (0.66, 0.47, 0.24),
    (0.42, 0.255, 0.105),
    (0.20, 0.105, 0.045),
    (0.075, 0.040, 0.020),
    (0.016, 0.012, 0.011),
)
_RED_HAIR: Final = (0.38, 0.10, 0.022)
_GREY_HAIR: Final = ((0.17, 0.168, 0.165), (0.50, 0.49, 0.47))
_IRIS: Final = (
    (0.22, 0.38, 0.55),
    (0.19, 0.30, 0.30),
    (0.17, 0.17, 0.07),
    (0.13, 0.062, 0.022),
    (0.045, 0.02, 0.010),
)
_GREEN_IRIS: Final = (0.10, 0.26, 0.11)
GARMENTS: Final = {
    "navy": (0.012, 0.022, 0.085),
    "teal": (0.012, 0.16, 0.17),
    "blue": (0.025, 0.12, 0.52),
    "brown": (0.14, 0.062, 0.024),
    "red": (0.46, 0.018, 0.022),
    "emerald": (0.008, 0.25, 0.075),
    "white": (0.70, 0.69, 0.67),
    "black": (0.007, 0.007, 0.008),
    "mustard": (0.52, 0.30, 0.025),
    "denim": (0.13, 0.23, 0.38),
    "plum": (0.17, 0.022, 0.15),
    "charcoal": (0.062, 0.064, 0.068),
}
SHIRTS: Final = ((0.75, 0.75, 0.74), (0.45, 0.58, 0.75), (0.70, 0.56, 0.56))
BACKDROPS: Final = {
    "white": (0.95, 0.95, 0.945),
    "grey": (0.55, 0.555, 0.56),
    "charcoal": (0.185, 0.19, 0.205),
    "blue": (0.26, 0.40, 0.62),
    "beige": (0.80, 0.70, 0.56),
    "green": (0.33, 0.50, 0.36),
    "pink": (0.87, 0.62, 0.67),
}
assert tuple(GARMENTS) == vocabulary.GARMENT_COLOURS
assert tuple(BACKDROPS) == vocabulary.BACKDROP_COLOURS


def darkness(person: Person) -> float:
    """Place of a person's skin on the ramp from very pale (0) to dark (1)."""
    return min(max(0.45 + 0.25 * person.melanin, 0.0), 1.0)


def skin(person: Person, device: torch.device) -> Tensor:
    """(3,) albedo of plain skin."""
    red, yellow = person.skin_red, person.skin_yellow
    tint = torch.tensor([1 + 0.03 * red, 1 - 0.02 * red + 0.01 * yellow, 1 - 0.05 * yellow], device=device)
    return ramp(_SKIN, darkness(person), device) * tint


def _redness(person: Person) -> float:
    return smooth_scalar(person.hair_red, 0.80, 0.86) * (1 - smooth_scalar(person.hair_mel, 0.62, 0.70))


def hair(person: Person, device: torch.device) -> Tensor:
    """(3,) albedo of the hair."""
    colour = ramp(_PIGMENT, person.hair_mel, device)
    colour = colour + (torch.tensor(_RED_HAIR, device=device) - colour) * _redness(person) * 0.88
    grey = ramp(_GREY_HAIR, smooth_scalar(person.hair_grey, 0.56, 0.68), device)
    return colour + (grey - colour) * smooth_scalar(person.hair_grey, 0.05, 0.32) * 0.92


def iris(person: Person, device: torch.device) -> Tensor:
    """(3,) albedo of the iris."""
    colour = ramp(_IRIS, person.eye_mel, device)
    green = 0.7 * (1 - smooth_scalar(person.eye_mel, 0.4, 0.7)) if person.eye_green > 0.7 else 0.0
    return colour + (torch.tensor(_GREEN_IRIS, device=device) - colour) * green


def skin_words(person: Person) -> str:
    """The word of `SKIN_TONES`."""
    limits = (0.15, 0.38, 0.60, 0.80)
    return vocabulary.SKIN_TONES[sum(darkness(person) >= limit for limit in limits)]


def hair_colour_word(person: Person) -> str:
    """The word of `HAIR_COLOURS`."""
    if person.hair_grey > 0.25:
        return "white" if person.hair_grey > 0.6 else "grey"
    if _redness(person) > 0.5:
        return "red"
    limits = (0.25, 0.50, 0.75)
    pigments = ("blond", "light brown", "brown", "black")
    return pigments[sum(person.hair_mel >= limit for limit in limits)]
