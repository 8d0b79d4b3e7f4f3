"""Paints face and ears: tone, freckles, wrinkles, beard, scalp, lips, mouth, brows and eyes.

Everything is a function of rest coordinates, so it stays crisp at any size and moves with the face.
N samples of one person.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from portrait_lora.synthetic import colours, curves
from portrait_lora.synthetic.curves import Features
from portrait_lora.synthetic.eyes import Eyes, paint_eyes
from portrait_lora.synthetic.geometry import bump, mix, noise, smooth
from portrait_lora.synthetic.identity import Person
from portrait_lora.synthetic.scene import Scene


@dataclass(frozen=True, slots=True)
class SkinSamples:
    """Attributes of the samples on face and ears; `ear_N` is True on ears."""

    rest_N3: Tensor
    u_N: Tensor
    lip_N: Tensor
    slit_N: Tensor
    rise_N: Tensor
    ear_N: Tensor

    @classmethod
    def of(cls, attributes_N8: Tensor, ear_N: Tensor) -> SkinSamples:
        """From what a figure's vertices, or the fragments between them, carry."""
        a = attributes_N8
        return cls(a[:, :3], a[:, 3], a[:, 5], a[:, 6], a[:, 7], ear_N)


@dataclass(frozen=True, slots=True)
class PaintedSkin:
    """Albedo (N, 3); per sample occlusion, shine, share of living skin; and the eyes' own surface."""

    albedo_N3: Tensor
    occlusion_N: Tensor
    specular_N: Tensor
    skin_N: Tensor
    eyes: Eyes


class _Painter:
    """Holds the coordinates that every layer needs."""

    def __init__(self, s: SkinSamples, person: Person, f: Features, scene: Scene) -> None:
        self.s, self.p, self.f, self.scene = s, person, f, scene
        self.x, self.y, self.z = s.rest_N3.unbind(-1)
        self.ax = self.x.abs()
        self.device = self.x.device
        self.seed = person.moles[0][0] * 91
        self.on_face = ~s.ear_N & (self.z > 0.05) & (self.y > -1.25)
        self.face = self.on_face.float()
        self.tone = colours.skin(person, self.device)
        self.hair = colours.hair(person, self.device)
        self.albedo = self.tone.expand(len(self.x), 3)
        self.hairiness = torch.zeros_like(self.x)

    def rgb(self, r: float, g: float, b: float) -> Tensor:
        """A colour on the right device."""
        return torch.tensor([r, g, b], device=self.device)

    def darken(self, amount_N: Tensor) -> None:
        """Multiplies the albedo by 1 - amount."""
        self.albedo = self.albedo * (1 - amount_N)[:, None]

    def complexion(self) -> None:
        """Ruddy cheeks, nose, chin and ears, mottling, freckles, moles."""
        p, x, y, ax = self.p, self.x, self.y, self.ax
        dark = colours.darkness(p)
        red = 0.9 * bump((ax - 0.40) / 0.20) * bump((y + 0.30) / 0.17)
        red = red + 0.8 * bump(ax / 0.13) * bump((y - self.f.nose_tip_y) / 0.12)
        red = (red + 0.35 * bump((y + 0.99) / 0.1) * bump(ax / 0.15)) * self.face + 0.7 * self.s.ear_N
        tint = self.rgb(0.03, -0.13, -0.13) * (1.1 - 0.5 * dark)
        self.albedo = self.albedo * (1 + red[:, None] * tint)
        self.darken(-0.05 * (noise(x * 14 + self.seed, y * 14, 1) - 0.5))
        amount = max(p.freckles - 0.6, 0.0) * 2.5 * (1 - min(max((dark - 0.4) / 0.25, 0), 1))
        if amount > 0:
            where = bump((ax - 0.28) / 0.28) * bump((y + 0.22) / 0.2) + bump(ax / 0.1) * bump((y + 0.2) / 0.2)
            dots = smooth(noise(x * 42 + self.seed, y * 42, 3), 0.66, 0.80) * where * self.face
            self.albedo = mix(
                self.albedo, self.albedo * self.rgb(0.62, 0.48, 0.40), (dots * amount).clamp(0, 0.9)
            )
        for mx, my in p.moles:
            if (mx * 7.3 + my * 3.1) % 1 < 0.35:
                away = ((x - (mx - 0.5)) ** 2 + (y + 0.15 + 0.9 * (my - 0.2)) ** 2).sqrt()
                self.darken((1 - smooth(away, 0.012, 0.028)) * self.face * 0.6)

    def wrinkles(self) -> None:
        """Forehead lines, frown lines, crow's feet."""
        age, s, y, ax = self.p.age, self.scene, self.y, self.ax
        lines = bump(((y - 0.45 + 0.02 * torch.cos(self.x * 6)) % 0.105 - 0.05) / 0.011)
        lines = lines * bump((y - 0.47) / 0.13) * (1 - smooth(ax, 0.25, 0.45)) * self.face
        self.darken(lines * (0.10 * min(max(age - 0.7, 0), 1.5) + 0.20 * s.brow_raise))
        between = bump((ax - 0.045) / 0.012) * bump((y - 0.2) / 0.07) * self.face
        self.darken(between * (0.30 * s.frown + 0.07 * age))
        feet = bump((y % 0.05 - 0.025) / 0.008) * bump((y + 0.02) / 0.07) * self.face
        feet = feet * bump((ax - self.f.eye_x - self.f.eye_width * 1.5) / 0.06)
        self.darken(feet * min(0.08 * age + 0.12 * s.smile, 0.3))

    def beard(self) -> None:
        """Shaved shadow, stubble, goatee or full beard."""
        if self.p.female > 0.5:
            return
        kind = int(self.p.beard)
        cover = curves.beard_cover(self.s.rest_N3, self.s.lip_N, self.f, goatee=kind == 2) * self.face
        strand = noise(self.x * 60 + self.seed, self.y * 26, 5)
        if kind >= 2:
            ragged = cover + (strand - 0.5) * 0.5 * (cover > 0.02) * (1 - cover)
            amount = (ragged.clamp(0, 1) * (0.80 + 0.3 * strand)).clamp(0, 0.97)
            self.hairiness = amount
        elif kind == 1:
            amount = cover * (0.34 + 0.34 * strand)
        else:
            amount = cover * (0.03 + 0.12 * self.p.stubble) * self.p.hair_mel
        colour = self.hair * 0.9 * (0.6 + 0.8 * strand)[:, None] + 0.010
        self.albedo = mix(self.albedo, colour, amount)

    def scalp(self) -> None:
        """Hair-coloured skin above the hairline, ragged like strands."""
        bald = self.p.style_name == "bald head"
        around = torch.atan2(self.ax, self.z + 0.06)
        rise = self.s.rise_N + 0.05 * (noise(around * 70 + self.seed, self.y * 9, 11) - 0.5) - 0.012
        if bald:
            cover = 0.10 * self.p.stubble * smooth(rise, -0.02, 0.06)
        else:
            cover = smooth(rise, -0.012, 0.035) * (0.75 if self.p.style_name == "buzz cut" else 1.0)
        cover = cover * (~self.s.ear_N)
        strand = noise(around * 45 + self.seed, self.y * 7, 12)
        self.albedo = mix(self.albedo, self.hair * (0.55 + 0.7 * strand)[:, None], cover)
        self.hairiness = torch.maximum(self.hairiness, cover)

    def lips(self) -> Tensor:
        """Paints lips and mouth line; gives the lips' cover (N,)."""
        p, lip, ax = self.p, self.s.lip_N, self.ax
        across = ax / self.f.mouth_width
        upper, lower = curves.lips(ax, self.f, p)
        above = 1 - smooth(lip, upper * 0.90 - 0.006, upper + 0.010)
        below = 1 - smooth(-lip, lower * 0.92 - 0.006, lower + 0.012)
        cover = torch.where(lip > 0, above, below) * (1 - smooth(across, 0.93, 1.0)) * self.face
        colour = self.tone * self.rgb(0.74, 0.42, 0.42) * min(max(1 + 0.10 * p.lip_red, 0.7), 1.3)
        made_up = p.female * (0.25 + 0.25 * min(max(p.lip_red, -1), 2))
        colour = colour * (1 + (self.rgb(0.95, 0.55, 0.60) - 1) * made_up)
        colours_N3 = colour * (1 - 0.12 * (lip > 0).float())[:, None]
        amount = 0.72 + 0.2 * p.female
        if "lipstick" in p.makeup_name:
            colours_N3 = self.rgb(0.46, 0.022, 0.040) * (1 - 0.10 * (lip > 0).float())[:, None]
            amount = 0.96
        self.albedo = mix(self.albedo, colours_N3, cover * amount)
        self.darken(0.55 * bump(lip / 0.010) * (1 - smooth(across, 0.85, 1.08)) * self.face)
        self.darken(0.35 * bump((ax - self.f.mouth_width) / 0.022) * bump(lip / 0.018) * self.face)
        return cover

    def mouth(self) -> tuple[Tensor, Tensor]:
        """Paints teeth, tongue and dark; gives (inside the mouth, teeth) covers (N,)."""
        s, place = self.scene, self.s.slit_N.clamp(0, 1)
        across = self.ax / self.f.mouth_width
        inside = (self.s.slit_N >= 0) & ~self.s.ear_N & (across < 0.99)
        gap = smooth(torch.tensor(curves.mouth_gap(s), device=self.device), 0.02, 0.06)
        inside = inside & (smooth(place, 0.02, 0.06) * (1 - smooth(place, 0.94, 0.98)) > 0.5)
        smiling = smooth(torch.tensor(s.smile * (1 - s.mouth_open), device=self.device), 0.2, 0.45)
        wide = smooth(place, 0.04, 0.12) * (1 - smooth(place, 0.78, 0.90)) * (1 - smooth(across, 0.62, 0.82))
        row = smooth(place, 0.06, 0.12) * (1 - smooth(place, 0.26, 0.32)) * (1 - smooth(across, 0.60, 0.80))
        teeth = torch.maximum(0.85 * row * (s.mouth_open > 0.02), wide * smiling)
        cavity = self.rgb(0.085, 0.022, 0.020) * (1 - 0.5 * bump((place - 0.5) / 0.2))[:, None]
        tongue = smooth(place, 0.62, 0.85) * (1 - smooth(place, 0.9, 1.0))
        cavity = cavity + self.rgb(0.22, 0.06, 0.055) * tongue[:, None]
        seam = 1 - 0.20 * bump(((self.x / 0.062) % 1 - 0.5) / 0.10)
        white = self.rgb(0.70, 0.66, 0.58) * (seam * (1 - 0.45 * across**2).clamp(0.2, 1))[:, None]
        cover = inside.float() * gap
        self.albedo = mix(self.albedo, mix(cavity, white, teeth), cover)
        return cover, teeth

    def nostrils_and_brows(self) -> None:
        """Dark nostrils, hairy brows."""
        f, p, y = self.f, self.p, self.y
        nostril = bump((self.ax - f.nose_width * 0.50) / (f.nose_width * 0.25))
        self.darken(0.80 * nostril * bump((y - f.nose_base_y - 0.022) / 0.022) * self.face)
        t, middle, half = curves.brows(self.ax, f, p)
        off = y - middle
        strand = noise(self.ax * 38 + off * 26 * (1 - 1.6 * t.clamp(0, 1)) + self.seed, off * 10, 7)
        cover = 1 - smooth(off.abs() / half, 0.45, 1.05 + 0.25 * strand)
        cover = cover * smooth(t, -0.03, 0.06) * (1 - smooth(t, 0.9, 1.03)) * self.face
        self.albedo = mix(self.albedo, self.hair * 0.55 + 0.004, cover * (0.80 + 0.2 * strand))

    def occlusion(self, eyes: Eyes) -> Tensor:
        """(N,) light that reaches the creases."""
        f, y, ax = self.f, self.y, self.ax
        ao = 1 - 0.22 * bump((eyes.lx_N + 1.15) / 0.35) * bump((eyes.ly_N - 0.1) / 0.6) * self.face * (
            1 - eyes.cover_N
        )
        base = bump(ax / (f.nose_width * 1.1)) * bump((y - f.nose_base_y + 0.005) / 0.035)
        under_lip = bump((self.s.lip_N + f.lower_lip + 0.06) / 0.035) * bump(ax / 0.2)
        ao = ao - (0.30 * base + 0.20 * under_lip) * self.face
        wing = bump((ax - f.nose_width * 1.22) / 0.022) * bump((y - f.nose_base_y - 0.055) / 0.045)
        under_chin = smooth(-y, 1.12, 1.32) * (1 - smooth(-y, 1.5, 2.0)) * (~self.s.ear_N)
        ao = ao * (1 - 0.30 * wing * self.face) * (1 - 0.40 * under_chin)
        ear = 1 - 0.5 * bump((self.s.u_N - 0.30) / 0.28)
        return torch.where(self.s.ear_N, ao * ear, ao)


def paint_skin(s: SkinSamples, person: Person, f: Features, scene: Scene) -> PaintedSkin:
    """All layers from the bottom up."""
    painter = _Painter(s, person, f, scene)
    painter.complexion()
    painter.wrinkles()
    painter.beard()
    painter.scalp()
    lip_cover = painter.lips()
    mouth, teeth = painter.mouth()
    painter.nostrils_and_brows()
    albedo, eyes = paint_eyes(painter.albedo, s.rest_N3, painter.on_face, person, f, scene)
    shine = (1 - 0.6 * painter.hairiness) * (1 + 0.7 * lip_cover * (1 - mouth)) * (1 - mouth * (1 - teeth))
    living = (1 - eyes.cover_N) * (1 - painter.hairiness) * (1 - mouth)
    return PaintedSkin(albedo, painter.occlusion(eyes), shine * 0.30 * (1 - eyes.cover_N), living, eyes)
