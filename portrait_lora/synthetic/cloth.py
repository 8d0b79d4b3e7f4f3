"""Paints torso and collar: five garments cut into one torso grid by curves.  N samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from portrait_lora import vocabulary
from portrait_lora.synthetic import colours
from portrait_lora.synthetic.geometry import PI, bump, mix, noise, smooth
from portrait_lora.synthetic.identity import Person
from portrait_lora.synthetic.scene import Scene


@dataclass(frozen=True, slots=True)
class ClothSamples:
    """Rest position, grid place u, v, on the collar?, seen from behind?"""

    rest_N3: Tensor
    u_N: Tensor
    v_N: Tensor
    collar_N: Tensor
    inside_N: Tensor


@dataclass(frozen=True, slots=True)
class PaintedCloth:
    """Albedo (N, 3), bare skin (N,) 0..1, occlusion (N,), fold slope to add to the normal's x."""

    albedo_N3: Tensor
    bare_N: Tensor
    occlusion_N: Tensor
    fold_N: Tensor


class _Tailor:
    """Colours and coordinates that every cut needs."""

    def __init__(self, s: ClothSamples, person: Person, scene: Scene) -> None:
        self.scene, self.person = scene, person
        self.x, self.y, self.z = s.rest_N3.unbind(-1)
        self.ax = self.x.abs()
        self.front = (self.z > -0.1).float()
        device = self.x.device
        self.skin = colours.skin(person, device)
        names = vocabulary.GARMENT_COLOURS
        weave = 1 + 0.06 * (noise(self.x * 60, self.y * 60, 3) - 0.5)
        self.plain = torch.tensor(colours.GARMENTS[names[scene.garment_colour]], device=device)
        self.main = self.plain * weave[:, None]
        self.shirt = torch.tensor(colours.SHIRTS[scene.shirt], device=device)
        self.tie = torch.tensor(colours.GARMENTS[names[scene.tie_colour]], device=device)

    def suit(self) -> tuple[Tensor, Tensor]:
        """Jacket with lapels over a shirt, tie or open collar."""
        ax, y, front = self.ax, self.y, self.front
        opening = ((y + 3.15) * 0.33).clamp(min=0) + 0.03 + 0.3 * smooth(y, -1.95, -1.7)
        inside = _below(ax, opening) * front * (y < -1.5)
        lapel_end = opening + 0.20 * smooth(y, -3.0, -2.3)
        edges = torch.maximum(bump((ax - opening) / 0.012), bump((ax - lapel_end) / 0.014) * (y < -1.95))
        notch = bump((y + 2.22 - (ax - 0.3) * 0.35) / 0.014) * (ax > opening) * (ax < opening + 0.2)
        jacket = self.main * (1 - 0.55 * torch.maximum(edges, notch) * front)[:, None]
        jacket = jacket * torch.where((ax > opening) & (ax < lapel_end) & (front > 0), 1.12, 1.0)[:, None]
        jacket = jacket + 0.008 * (torch.maximum(edges, notch) * front)[:, None]
        shirt = self.shirt * (1 - 0.18 * bump(ax / 0.010) * front)[:, None]
        bare = torch.zeros_like(ax)
        if self.person.female < 0.5 and self.scene.tie:
            shirt = mix(shirt, self._tie_cloth(), self._tie_area())
        else:
            bare = _below(ax, 0.16 * ((y + 2.45) / 0.6).clamp(0, 1)) * inside
        return mix(jacket, shirt, inside), bare

    def _tie_area(self) -> Tensor:
        y = self.y
        width = torch.where(y > -2.06, 0.075 + 0.2 * (y + 2.06).clamp(min=0), 0.055 + 0.05 * (-2.06 - y))
        return _below(self.ax, width) * self.front * (y < -1.80)

    def _tie_cloth(self) -> Tensor:
        stripe = 0.85 + 0.3 * (((self.x + self.y) * 9) % 1 > 0.5)
        return self.tie * (stripe * (1 - 0.4 * bump((self.y + 2.06) / 0.015)))[:, None]

    def t_shirt(self) -> tuple[Tensor, Tensor]:
        """Crew neck."""
        ring = ((self.x / 0.60) ** 2 + ((self.y + 1.52 + 0.10 * (self.z < -0.2)) / 0.42) ** 2).sqrt()
        cloth = self.main * (1 - 0.25 * bump((ring - 1.07) / 0.02))[:, None]
        return cloth, _below(ring, torch.ones_like(ring), 0.04)

    def v_neck(self) -> tuple[Tensor, Tensor]:
        """Deep V."""
        edge = (self.y + 2.55) * 0.62
        bare = torch.maximum(
            _below(self.ax, edge) * self.front, ((self.ax < 0.52) & (self.y > -1.72)).float()
        )
        cloth = self.main * (1 - 0.30 * bump((self.ax - edge - 0.03) / 0.02) * self.front)[:, None]
        return cloth, bare

    def button_shirt(self) -> tuple[Tensor, Tensor]:
        """Open collar and a button strip."""
        bare = _below(self.ax, 0.15 * ((self.y + 2.4) / 0.6).clamp(0, 1)) * self.front
        strip = 0.2 * bump(self.ax / 0.010) + 0.2 * bump((self.ax - 0.09) / 0.008)
        buttons = bump(self.ax / 0.028) * bump((self.y % 0.28 - 0.14) / 0.028)
        cloth = self.main * (1 - strip * self.front)[:, None]
        tint = (0.5 * buttons * self.front)[:, None]
        return cloth + (0.35 - cloth) * tint, bare

    def collar(self, s: ClothSamples) -> Tensor:
        """(N, 3) albedo on the collar grid."""
        garment = self.scene.garment_name
        colour = self.shirt if garment == "suit" else self.plain
        if garment == "turtleneck":
            ribs = 1 - 0.14 * (torch.sin(s.v_N * 2 * PI * 42) > 0.3).float()
        else:
            ribs = 1 - 0.25 * bump((s.u_N - 0.42) / 0.05)
        return colour * ribs[:, None]


def _below(x: Tensor, limit: Tensor, softness: float = 0.02) -> Tensor:
    """(N,) 1 where x is under the limit, with an edge `softness` wide."""
    return ((limit - x) / softness + 0.5).clamp(0, 1)


def paint_cloth(s: ClothSamples, person: Person, scene: Scene) -> PaintedCloth:
    """Cloth, and the skin that it leaves bare."""
    tailor = _Tailor(s, person, scene)
    cuts = {
        "suit": tailor.suit,
        "t-shirt": tailor.t_shirt,
        "v-neck": tailor.v_neck,
        "shirt": tailor.button_shirt,
    }
    nothing = torch.zeros_like(tailor.ax)
    albedo, bare = cuts[scene.garment_name]() if scene.garment_name in cuts else (tailor.main, nothing)
    bare = bare * ~s.collar_N
    albedo = mix(albedo, tailor.skin.expand_as(albedo), bare)
    if s.collar_N.any():
        albedo = torch.where(s.collar_N[:, None], tailor.collar(s), albedo)
    x, y = tailor.x, tailor.y
    occlusion = torch.where(s.collar_N & s.inside_N, 0.5, 1.0)
    occlusion = occlusion * (1 - 0.35 * bump(tailor.ax / 0.55) * bump((y + 1.6) / 0.25))
    fold = (
        torch.sin(x * 7 + y * 3 + torch.sin(y * 5 + x * 3) * 1.5) * 0.10 * smooth(-y, 1.9, 2.5) * (1 - bare)
    )
    return PaintedCloth(albedo, bare, occlusion, fold)
