"""Hats: a knitted beanie with a cuff, and a brimmed hat with a band, both cut to the head that wears them.

R rows and C columns of a grid, N samples.  `edge` is the height at which a hat ends, in rest coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

from portrait_lora import vocabulary
from portrait_lora.synthetic import colours
from portrait_lora.synthetic import head as head_grid
from portrait_lora.synthetic.geometry import bump, catmull_matrix, mix, noise, smooth, unit
from portrait_lora.synthetic.head import Head
from portrait_lora.synthetic.identity import Person

BEANIE, BRIMMED = vocabulary.HATS[1:]
CROWN, RIM = 0, 1
"""The pieces of a hat: what covers the head, and its cuff or brim."""
# height of the edge at the side, then how it changes with the cosine and its square (1 in front, -1 behind)
_EDGES: Final = {BEANIE: (0.27, 0.28, -0.07), BRIMMED: (0.40, 0.14, -0.02)}
_LAST_RING: Final = 6.5
_SHELL_ROWS: Final = 22
# a beanie's cuff: share of its height, distance from the head
_CUFF: Final = ((0.10, 0.05), (0.0, 0.09), (0.0, 0.125), (0.12, 0.15), (0.5, 0.155), (0.9, 0.15), (1.0, 0.12),
                (0.95, 0.07))  # fmt: skip
_CUFF_HEIGHT: Final = 0.31
# a brimmed hat from its top: share of the radius at the band, share of the height above it
_PROFILE: Final = ((0.0, 0.93), (0.25, 0.93), (0.55, 0.96), (0.78, 1.0), (0.87, 0.94), (0.91, 0.75),
                   (0.95, 0.45), (1.0, 0.0), (1.0, -0.06))  # fmt: skip
_PROFILE_STEPS: Final = 4
_TALL: Final = 0.30
_BRIM_ROWS: Final = 8
_BRIM: Final = 0.46


def edge(person: Person, device: torch.device) -> Tensor:
    """(C,) height at which the hat ends, at every column of the head grid."""
    side, ahead, both = _EDGES[person.hat_name]
    cos = head_grid.topology(device).angle_C.cos()
    return side + ahead * cos + both * cos * cos


def room_for_hair(person: Person, y_RC: Tensor) -> Tensor:
    """(R, C) how thick hair can be: flat under a hat, free again well below it."""
    return 0.03 + 0.26 * smooth(edge(person, y_RC.device) - y_RC, 0.02, 0.55)


def build_hat(person: Person, head: Head) -> tuple[Tensor, Tensor]:
    """Crown and rim, each (rows, C, 3), in the order of `CROWN` and `RIM`."""
    return _beanie(person, head) if person.hat_name == BEANIE else _brimmed(person, head)


def _around(head: Head, height_RC: Tensor) -> Tensor:
    """(R, C, 3): points of the head at these heights, one column below another."""
    rings = torch.tensor(head_grid.RING_OF_ROW)
    rows = int((rings < _LAST_RING).sum())
    falling = head.rest[:rows, :, 1].T.neg().contiguous()
    below = torch.searchsorted(falling, height_RC.T.neg().contiguous()).clamp(1, rows - 1)
    y = head.rest[:rows, :, 1].T
    high, low = y.gather(1, below - 1), y.gather(1, below)
    t = ((high - height_RC.T) / (high - low).clamp(min=1e-6)).clamp(0, 1)[..., None]
    columns = torch.arange(head_grid.COLUMNS, device=below.device)[:, None]
    points = head.rest[below - 1, columns] * (1 - t) + head.rest[below, columns] * t
    return points.transpose(0, 1)


def _outward(points: Tensor) -> Tensor:
    x, y, z = points.unbind(-1)
    return unit(points - torch.stack([torch.zeros_like(x), y * 0.35 + 0.15, torch.full_like(z, -0.1)], -1))


def _beanie(person: Person, head: Head) -> tuple[Tensor, Tensor]:
    device = head.rest.device
    low = edge(person, device)
    down = torch.linspace(0, 1, _SHELL_ROWS, device=device)[:, None]
    top = head.rest[0, :, 1].amin()
    shell = _around(head, top - (top - low) * down**1.7)
    slack = 0.075 + 0.075 * smooth(shell[..., 1], 0.55, 1.1)
    crown = shell + _outward(shell) * slack[..., None]
    places = torch.tensor(_CUFF, device=device)
    ring = _around(head, low + places[:, :1] * _CUFF_HEIGHT)
    return crown, ring + _outward(ring) * places[:, 1:, None]


@lru_cache(maxsize=1)
def _profile() -> Tensor:
    """(R, 2) the profile of the crown, rounded off."""
    count = len(_PROFILE)
    places = [i / _PROFILE_STEPS for i in range((count - 1) * _PROFILE_STEPS + 1)]
    return (catmull_matrix(places, count)[:, :, None] * torch.tensor(_PROFILE)[None]).sum(1)


def _brimmed(person: Person, head: Head) -> tuple[Tensor, Tensor]:
    device = head.rest.device
    low = edge(person, device)
    ring = _around(head, low[None])[0]
    flat = torch.tensor([1.0, 0.0, 1.0], device=device)
    middle = torch.tensor([0.0, 0.0, -0.08], device=device)
    away = unit((ring - middle) * flat)
    band = ring + away * 0.075
    radius, share = _profile().to(device)[:, None].unbind(-1)
    x, z = band[:, 0] * radius, middle[2] + (band[:, 2] - middle[2]) * radius
    height = head_grid.height(person)[1] + _TALL - low
    upper = smooth(share, 0.35, 1.0)
    y = low + height * share - upper * (0.10 * bump(x / 0.20) + 0.10 * z)
    pinched = x * (1 - 0.28 * upper * smooth(z, 0.0, 0.6))
    crown = torch.stack([pinched, y, z], -1)
    out = torch.linspace(0, 1, _BRIM_ROWS, device=device)[:, None]
    side = away[:, 0].abs()
    reach = (_BRIM - 0.06 * side) * out
    lift = out**2 * (0.17 * side**3 - 0.07) - 0.03
    brim = band * flat + away * reach[..., None]
    return crown, torch.cat([brim[..., :1], (low + lift)[..., None], brim[..., 2:]], -1)


@dataclass(frozen=True, slots=True)
class PaintedHat:
    """Albedo (N, 3), occlusion (N,) and what to add to the normal (N, 3)."""

    albedo_N3: Tensor
    occlusion_N: Tensor
    slope_N3: Tensor


def paint_hat(attributes_N8: Tensor, person: Person) -> PaintedHat:
    """Ribbed wool or felt; attributes as in `figure.ATTRIBUTES`."""
    a = attributes_N8
    x, y, z, down, around = a[:, :5].unbind(-1)
    rim = a[:, 5] > 0.5
    cloth = torch.tensor(colours.GARMENTS[person.hat_colour_name], device=a.device)
    angle = torch.atan2(x, z + 0.08)
    if person.hat_name == BEANIE:
        wave = torch.sin(angle * 34)
        knots = noise(angle * 26, y * 34, 5)
        albedo = cloth * (0.80 + 0.22 * wave + 0.30 * (knots - 0.5))[:, None] + 0.004
        occlusion = 0.82 + 0.18 * wave
        occlusion = occlusion * torch.where(rim, torch.ones_like(y), 1 - 0.5 * smooth(down, 0.55, 0.80))
        slope = torch.cos(angle * 34) * 0.22
        return PaintedHat(
            albedo, occlusion, torch.stack([slope * angle.cos(), 0 * slope, -slope * angle.sin()], -1)
        )
    felt = 1 + 0.14 * (noise(x * 40 + around * 9, y * 40 + z * 31, 6) - 0.5)
    albedo = cloth * felt[:, None] + 0.003
    band = smooth(down, 0.74, 0.755) * (~rim)
    ribbon = torch.full_like(albedo, 0.010) if max(cloth.tolist()) > 0.06 else torch.full_like(albedo, 0.16)
    albedo = mix(albedo, ribbon, band)
    fold = 1 - 0.35 * torch.where(rim, 1 - smooth(down, 0.0, 0.25), bump((down - 0.99) / 0.06))
    return PaintedHat(albedo, fold, torch.zeros_like(a[:, :3]))
