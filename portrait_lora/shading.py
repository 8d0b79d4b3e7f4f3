"""Lamps, and the response of skin, hair and cloth to light: what the studio and relighting share.

N samples.  World: x to the right of the picture, y up, z towards the camera.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

from portrait_lora import vocabulary
from portrait_lora.rigs import RIGS, Lamp

EXPOSURE: Final = 1.25
"""Radiance r shows as 1 - exp(-EXPOSURE * r), in linear light."""
_WRAP: Final = (0.42, 0.22, 0.15)
"""How far light bleeds round skin, per colour."""


def smooth(x: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    """0 below `low`, 1 above `high`, a smooth cubic between."""
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of 3-vectors along the last axis (much faster than a reduction over three)."""
    product = a * b
    return product[..., 0] + product[..., 1] + product[..., 2]


def unit(v: Tensor) -> Tensor:
    """3-vectors scaled to length 1 along the last axis."""
    return v * dot(v, v).clamp(min=1e-16).rsqrt()[..., None]


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
        with torch.inference_mode(False):  # kept for training as well, whoever asks first
            return torch.tensor(value, device=device)

    return Lighting(
        tensor(directions), tensor(colours), tensor(chosen.sky), tensor(chosen.ground), chosen.softness
    )


def _direction(lamp: Lamp, flip: bool) -> tuple[float, float, float]:
    azimuth = math.radians(-lamp.azimuth_deg if flip else lamp.azimuth_deg)
    elevation = math.radians(lamp.elevation_deg)
    flat = math.cos(elevation)
    return math.sin(azimuth) * flat, math.sin(elevation), math.cos(azimuth) * flat


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
    hair_N: Tensor


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
    is_hair = s.hair_N[:, None]
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
