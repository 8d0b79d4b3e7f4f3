"""Backdrops: four kinds in seven colours, and places; functions of scene seed and picture size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from portrait_lora import vocabulary
from portrait_lora.rigs import BACKDROP_TINTS, NEON_SIDES, PLACE_TINTS
from portrait_lora.synthetic import colours
from portrait_lora.synthetic.geometry import smooth
from portrait_lora.synthetic.identity import seeded
from portrait_lora.synthetic.places import paint_place
from portrait_lora.synthetic.scene import Scene

_SALT = 0x7F4A7C
_DISCS = 16


def srgb_to_linear(colour: Tensor) -> Tensor:
    """Decodes sRGB in 0..1."""
    return torch.where(colour <= 0.04045, colour / 12.92, ((colour.clamp(min=0) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(light: Tensor) -> Tensor:
    """Encodes linear light in 0..1 as sRGB."""
    return torch.where(light < 0.0031308, 12.92 * light, 1.055 * light.clamp(min=1e-6) ** (1 / 2.4) - 0.055)


def paint_backdrop(scene: Scene, width: int, height: int, device: torch.device) -> Tensor:
    """(3, height, width) linear display colour."""
    generator = seeded(scene.seed, _SALT)
    base = torch.tensor(colours.BACKDROPS[vocabulary.BACKDROP_COLOURS[scene.backdrop_colour]])
    rig, kind = vocabulary.ALL_LIGHTINGS[scene.rig], vocabulary.ALL_BACKDROPS[scene.backdrop]
    if kind in vocabulary.PLACES:
        dimmed = torch.tensor(PLACE_TINTS.get(rig, (1.0, 1.0, 1.0)))[:, None, None]
        place = paint_place(kind, generator, width, height) * dimmed
        return srgb_to_linear((place.to(device) * _cast(rig, scene, width, device)).clamp(0, 0.98))
    tint = torch.tensor(BACKDROP_TINTS.get(rig, (1.0, 1.0, 1.0)))
    shade = 0.96 + 0.08 * torch.rand(1, generator=generator)
    base = (base * shade * tint).clamp(0, 0.97).to(device)
    y = torch.linspace(-1, 1, height, device=device)[:, None]
    x = torch.linspace(-1, 1, width, device=device)[None] * min(1.0, width / height)
    vignette = 1 - 0.16 * smooth((x * x * 0.8 + (y + 0.1) ** 2).sqrt(), 0.2, 1.5)
    if kind == "gradient backdrop":
        slope = (torch.rand(1, generator=generator).to(device) - 0.5) * 0.8
        light = 1.12 - 0.52 * smooth(y + slope * x, -1.1, 1.1)
        picture = base[:, None, None] * light
    elif kind == "textured backdrop":
        picture = base[:, None, None] * (_mottle(generator, width, height, device) * vignette)
    elif kind == "bokeh backdrop":
        picture = _bokeh(base, generator, width, height, device) * vignette
    else:
        picture = base[:, None, None] * vignette
    if rig in vocabulary.MORE_LIGHTINGS:
        picture = picture * _cast(rig, scene, width, device)
    return srgb_to_linear(picture.clamp(0, 0.98))


def _cast(rig: str, scene: Scene, width: int, device: torch.device) -> Tensor:
    """(3, 1, W) effect of the lamps on the backdrop: darker away from a window, coloured in neon."""
    across = (
        torch.linspace(1, 0, width, device=device)
        if scene.rig_flip
        else torch.linspace(0, 1, width, device=device)
    )
    if rig == "window light":
        return (1.02 - 0.22 * across).expand(3, 1, width)
    if rig == "neon lighting":
        left, right = (torch.tensor(c, device=device)[:, None, None] for c in NEON_SIDES)
        return (left + (right - left) * smooth(across, 0.1, 0.9)) * 0.86
    return torch.ones(3, 1, width, device=device)


def _mottle(generator: torch.Generator, width: int, height: int, device: torch.device) -> Tensor:
    """(height, width) painted-canvas brightness about 0.9, from coarse blotches to fine brush marks."""
    total = torch.full((height, width), 0.9, device=device)
    for cells, amount in ((4, 0.16), (9, 0.14), (22, 0.11), (48, 0.08)):
        grid = torch.rand(1, 1, cells + 1, cells + 1, generator=generator).to(device) - 0.5
        total = (
            total
            + 2 * amount * F.interpolate(grid, (height, width), mode="bicubic", align_corners=True)[0, 0]
        )
    return total


def _bokeh(
    base_3: Tensor, generator: torch.Generator, width: int, height: int, device: torch.device
) -> Tensor:
    """(3, height, width): a dim blurred room with soft discs of light."""
    room = torch.rand(1, 1, 5, 7, generator=generator).to(device)
    room = F.interpolate(room, (height, width), mode="bicubic", align_corners=True)[0, 0]
    values = torch.rand(_DISCS, 4, generator=generator).tolist()
    aspect = width / height
    y = torch.linspace(0, 1, height, device=device)[:, None]
    x = torch.linspace(0, aspect, width, device=device)[None]
    glow = torch.zeros(height, width, device=device)
    for cx, cy, size, strength in values:
        radius = (0.035 + 0.065 * size) * min(1.0, aspect * 1.5)
        away = ((x - cx * aspect) ** 2 + (y - cy * 0.85) ** 2).sqrt() / radius
        glow = glow + (1 - smooth(away, 0.85, 1.08)) * (0.10 + 0.35 * strength**2)
    dim = base_3[:, None, None] * (0.72 + 0.30 * (room - 0.5))
    light = base_3[:, None, None] * 0.5 + 0.5
    return dim + (light - dim) * glow.clamp(0, 0.8)
