"""Lamps, soft shadows and the response of skin, hair and cloth to light.

N samples.  The rigs are in `rigs`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

from portrait_lora import vocabulary
from portrait_lora.synthetic.figure import Figure
from portrait_lora.synthetic.geometry import dot, smooth, unit
from portrait_lora.synthetic.raster import DEPTH_STEPS, rasterise
from portrait_lora.synthetic.rigs import RIGS, Lamp

_SHADOW_CENTRE: Final = (0.0, -0.75, -0.05)
_SHADOW_RADIUS: Final = 2.25
_SHADOW_TEXELS: Final = 270
_WRAP: Final = (0.42, 0.22, 0.15)
"""How far light bleeds round skin, per colour."""


@dataclass(frozen=True, slots=True)
class Lighting:
    """A rig as tensors on one device: directions (3, 3) towards key, fill, rim; colours (3, 3)."""

    direction_33: Tensor
    colour_33: Tensor
    sky_3: Tensor
    ground_3: Tensor
    softness: float


@lru_cache(maxsize=64)
def lighting(rig: int, flip: bool, device: torch.device) -> Lighting:
    """The lamps of rig number `rig`."""
    chosen = RIGS[vocabulary.ALL_LIGHTINGS[rig]]
    lamps = (chosen.key, chosen.fill, chosen.rim)
    directions = [_direction(lamp, flip) for lamp in lamps]
    colours = [[lamp.strength * c for c in lamp.colour] for lamp in lamps]

    def tensor(value: object) -> Tensor:
        return torch.tensor(value, device=device)

    return Lighting(
        tensor(directions), tensor(colours), tensor(chosen.sky), tensor(chosen.ground), chosen.softness
    )


def _direction(lamp: Lamp, flip: bool) -> tuple[float, float, float]:
    azimuth = math.radians(-lamp.azimuth_deg if flip else lamp.azimuth_deg)
    elevation = math.radians(lamp.elevation_deg)
    flat = math.cos(elevation)
    return math.sin(azimuth) * flat, math.sin(elevation), math.cos(azimuth) * flat


class ShadowMap:
    """Depth seen from the key lamp; softer lamps get coarser texels, filtered over 4 x 4 of them."""

    def __init__(self, figure: Figure, lights: Lighting) -> None:
        toward = lights.direction_33[0]
        up = torch.tensor([0.0, 1.0, 0.1], device=toward.device)
        right = unit(torch.linalg.cross(up, toward))
        self._axes = (right, torch.linalg.cross(toward, right).neg(), toward)
        self.size = int(min(max(_SHADOW_TEXELS / lights.softness, 88), 192))
        keys = rasterise(self.project(figure.position_V3), figure.shadow_triangles, self.size, self.size)
        self._depth = ((keys >> 32).float() / DEPTH_STEPS).view(-1)

    def project(self, points_N3: Tensor) -> Tensor:
        """(N, 3) texel x, texel y, nearness 0..1."""
        moved = points_N3 - torch.tensor(_SHADOW_CENTRE, device=points_N3.device)
        right, down, toward = (dot(moved, axis) for axis in self._axes)
        half, scale = self.size / 2, self.size / (2 * _SHADOW_RADIUS)
        return torch.stack(
            [half + right * scale, half + down * scale, toward / (_SHADOW_RADIUS * 3.2) + 0.5], -1
        )

    def lit(self, position_N3: Tensor, facing_N: Tensor) -> Tensor:
        """(N,) 1 in light, 0 in shadow; `facing` is the cosine between normal and key."""
        x, y, near = self.project(position_N3).unbind(-1)
        limit = near + 0.006 + 0.010 * (1 - facing_N.clamp(0, 1)) + 0.4 / self.size * 0.5
        gx, gy = x - 0.5, y - 0.5
        x0, y0 = gx.floor(), gy.floor()
        fx, fy = gx - x0, gy - y0
        column, row = x0.long() - 1, y0.long() - 1
        weight_x, weight_y = ((1 - f, torch.ones_like(f), torch.ones_like(f), f) for f in (fx, fy))
        blocked = torch.zeros_like(x)
        for j in range(4):
            base = (row + j).clamp(0, self.size - 1) * self.size
            line = torch.zeros_like(x)
            for i in range(4):
                depth = self._depth[base + (column + i).clamp(0, self.size - 1)]
                line = line + ((depth - limit) * 125).clamp(0, 1) * weight_x[i]
            blocked = blocked + line * weight_y[j]
        inside = torch.maximum((x - self.size / 2).abs(), (y - self.size / 2).abs()) < self.size / 2 - 3
        return 1 - blocked / 9 * inside


@dataclass(slots=True)
class Surface:
    """What the light meets, per sample: colours (N, 3), the rest (N,)."""

    albedo_N3: Tensor
    normal_N3: Tensor
    tangent_N3: Tensor
    occlusion_N: Tensor
    specular_N: Tensor
    gloss_N: Tensor
    skin_N: Tensor
    strand_N: Tensor


def illuminate(surface: Surface, view_N3: Tensor, lit_N: Tensor, lights: Lighting) -> Tensor:
    """(N, 3) linear radiance towards the camera."""
    facing_camera = dot(surface.normal_N3, view_N3).clamp(0, 1)
    total = torch.zeros_like(surface.albedo_N3)
    for lamp in range(3):
        shade = _shadow_colour(surface.skin_N, lit_N) if lamp == 0 else None
        if lamp == 2:
            shade = (smooth(facing_camera, -0.2, 0.25) * 0.9)[:, None]
        visible = lit_N if lamp == 0 else torch.ones_like(lit_N)
        total = (
            total
            + _one_lamp(surface, view_N3, lights.direction_33[lamp], shade, visible) * lights.colour_33[lamp]
        )
    above = (surface.normal_N3[:, 1] * 0.5 + 0.5)[:, None]
    ambient = lights.sky_3 * above + lights.ground_3 * (1 - above)
    ao = surface.occlusion_N[:, None]
    edge = (1 - facing_camera) ** 4 * 0.22 * (0.3 + surface.skin_N)
    return total * (0.35 + 0.65 * ao) + ambient * surface.albedo_N3 * ao * 1.25 + ambient * edge[:, None]


def _shadow_colour(skin_N: Tensor, lit_N: Tensor) -> Tensor:
    """(N, 3): shadows on skin end in a reddish seam."""
    base = lit_N.clamp(min=0)
    return torch.stack([base ** (1 - 0.40 * skin_N), base ** (1 - 0.1 * skin_N), base], -1)


def _fifth(x: Tensor) -> Tensor:
    square = x * x
    return square * square * x


def _one_lamp(s: Surface, view: Tensor, toward_3: Tensor, shade: Tensor | None, visible: Tensor) -> Tensor:
    """(N, 3) reflected light of one white lamp."""
    cosine = dot(s.normal_N3, toward_3)
    skin = s.skin_N[:, None]
    wrap = torch.tensor(_WRAP, device=cosine.device) * skin + 0.08 * (1 - skin)
    diffuse = ((cosine[:, None] + wrap) / (1 + wrap)).clamp(min=0)
    diffuse = diffuse * (1 - 0.25 * skin * (1 - diffuse))
    half = unit(view + toward_3)
    is_hair = (s.strand_N > 0).float()[:, None]
    along = dot(s.tangent_N3, toward_3)
    silk = (1 - along * along).clamp(min=0).sqrt() * (cosine > -0.3)
    diffuse = diffuse * (1 - is_hair) + is_hair * (diffuse * 0.75 + 0.25 * silk[:, None])
    if shade is not None:
        diffuse = diffuse * shade
    mirrored = dot(s.normal_N3, half).clamp(0, 1)
    fresnel = 0.04 + 0.96 * _fifth(1 - dot(view, half).clamp(0, 1))
    sharp = (s.gloss_N + 2) / 8 * torch.exp(s.gloss_N * mirrored.clamp(min=1e-6).log())
    broad = mirrored.square().square().square()
    shine = s.specular_N * (sharp * (0.28 + fresnel) * 0.32 + 0.10 * broad) * (cosine > 0) * visible
    ridge = (1 - (dot(s.tangent_N3, half) + 0.08) ** 2).clamp(min=0)
    ridge_4 = ridge.square().square()
    ridge_14 = ridge_4.square() * ridge_4 * ridge.square()
    ridge_40 = ridge_4.square().square().square() * ridge_4.square()
    gleam = (ridge_40 * 0.10)[:, None] + (ridge_14 * 0.49)[:, None] * s.albedo_N3
    gleam = gleam * (s.strand_N * smooth(cosine, -0.1, 0.4) * visible * 1.5)[:, None]
    return s.albedo_N3 * diffuse * 0.62 + shine[:, None] + gleam
