"""The preprocessing of an embedder as pack.json states it: input side, colour order, mean, std, alignment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

Colour = Literal["RGB", "BGR"]
Triple = tuple[float, float, float]
Points = tuple[tuple[float, float], ...]

ARCFACE: Final[Points] = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
"""Eyes, nose and corners of the mouth in a crop of 112 px, as ArcFace was trained (insightface,
`utils/face_align.py`, `arcface_dst`)."""
ARCFACE_SIDE_PX: Final = 112


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What is done to a picture before the network: aligned, resized, (value − mean) / std per channel.

    `mean` and `std` are on the scale 0..255, in the order of `colour`.  `template` gives the five keypoints
    (left and right eye as seen, nose, left and right corner of the mouth) in pixels of the input.
    """

    side_px: int
    colour: Colour
    mean: Triple
    std: Triple
    template: Points
    named: bool = False
    """Whether the template is ArcFace's, scaled to the side."""

    @classmethod
    def arcface(
        cls, side_px: int = ARCFACE_SIDE_PX, colour: Colour = "RGB", mean: float = 127.5, std: float = 127.5
    ) -> Self:
        """Aligned as ArcFace is, the same mean and std for every channel."""
        return cls(side_px, colour, same(mean), same(std), scaled(side_px), named=True)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """One entry of pack.json, validated by `pack_file`."""
        side, template = int(raw["side_px"]), raw.get("template", "arcface")
        named = template == "arcface"
        points = scaled(side) if named else tuple((float(x), float(y)) for x, y in template)
        return cls(side, raw["colour"], _triple(raw["mean"]), _triple(raw["std"]), points, named)

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        template = "arcface" if self.named else [list(point) for point in self.template]
        return {
            "side_px": self.side_px,
            "colour": self.colour,
            "mean": list(self.mean),
            "std": list(self.std),
            "template": template,
        }

    @property
    def sentence(self) -> str:
        """For people: `RGB 112 px, (value − 127.5) / 127.5, ArcFace's alignment`."""
        mean, std = (_short(v) for v in (self.mean, self.std))
        where = "ArcFace's alignment" if self.named else "an alignment of its own"
        return f"{self.colour} {self.side_px} px, (value - {mean}) / {std}, {where}"


def scaled(side_px: int) -> Points:
    """ArcFace's template in a crop of another side."""
    ratio = side_px / ARCFACE_SIDE_PX
    return tuple((x * ratio, y * ratio) for x, y in ARCFACE)


def same(value: float) -> Triple:
    """The value for every channel."""
    return value, value, value


def _triple(value: Any) -> Triple:
    if isinstance(value, int | float):
        return same(float(value))
    first, second, third = map(float, value)
    return first, second, third


def _short(values: Triple) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else "/".join(f"{v:g}" for v in values)
