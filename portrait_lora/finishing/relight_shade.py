"""Maps of the network of `relight` under the lamps of a rig, by the studio's own shading.  N pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

from portrait_lora.shading import EXPOSURE, Lighting, Surface, illuminate

_LEAST: Final = 1e-3
"""Linear light below which a coded value is straight anyway, and roots have no slope."""


def shown(maps: Mapping[str, Tensor], seen_N1: Tensor, gains_N3: Tensor, lights: Lighting) -> Tensor:
    """(N, 3) display-linear, 0..1.  The maps of `relight_net.RANGES` as (N, C), albedo as a square root."""
    plain = {name: values[:, 0] for name, values in maps.items() if values.shape[1] == 1}
    surface = Surface(
        maps["albedo"].square(), maps["normal"], maps["tangent"], plain["occlusion"], plain["specular"],
        plain["gloss"], plain["skin"], plain["strand"] * plain["hair"], plain["hair"],
    )  # fmt: skip
    radiance = illuminate(surface, maps["view"], seen_N1[:, 0].clamp(_LEAST, 1), lights)
    return 1 - torch.exp(-EXPOSURE * radiance * gains_N3)


def diffuse(maps: Mapping[str, Tensor], seen_N1: Tensor, lights: Lighting) -> Tensor:
    """(N, 3) radiance of white matt surfaces of these shapes and materials."""
    white = torch.ones_like(maps["normal"])
    plain = {name: values[:, 0] for name, values in maps.items() if values.shape[1] == 1}
    none = torch.zeros_like(plain["hair"])
    surface = Surface(
        white, maps["normal"], maps["tangent"], plain["occlusion"], none, plain["gloss"], plain["skin"], none,
        plain["hair"],
    )  # fmt: skip
    return illuminate(surface, maps["view"], seen_N1[:, 0].clamp(_LEAST, 1), lights)


def spread(lamps: Sequence[Lighting], counts: Tensor | int) -> Lighting:
    """The lamps of every pixel, of pictures with so many pixels each."""
    if len(lamps) == 1:
        return lamps[0]

    def each(values: list[Tensor], axis: int) -> Tensor:
        return torch.stack(values, axis).repeat_interleave(counts, axis)

    return Lighting(
        each([one.direction_33 for one in lamps], 1), each([one.colour_33 for one in lamps], 1),
        each([one.sky_3 for one in lamps], 0), each([one.ground_3 for one in lamps], 0), 1.0,
    )  # fmt: skip


def rows(values_BCHW: Tensor) -> Tensor:
    """(B × H × W, C)."""
    return values_BCHW.permute(0, 2, 3, 1).flatten(0, 2)


def coded(linear: Tensor) -> Tensor:
    """sRGB of linear light, with a slope everywhere."""
    root = 1.055 * linear.clamp(min=_LEAST) ** (1 / 2.4) - 0.055
    return torch.where(linear < 0.0031308, 12.92 * linear, root)
