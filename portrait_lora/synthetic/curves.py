"""Lids, lips and brows as curves over rest coordinates: one source for the shader and for the landmarks.

Rest coordinates (x, y) lie on the face before any feature or expression moves it.  Eye coordinates
(lx, ly) are in half eye widths from the eye's centre, lx outwards.  Lip height is measured from the
mouth line.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from portrait_lora.synthetic.geometry import PI, bump, power, smooth
from portrait_lora.synthetic.identity import Person
from portrait_lora.synthetic.scene import Scene

BROW_START = 0.085
"""|x| where a brow begins."""


@dataclass(frozen=True, slots=True)
class Features:
    """Where one person's features lie, in rest coordinates."""

    eye_x: float
    eye_y: float
    eye_width: float
    eye_height: float
    eye_tilt: float
    brow_y: float
    nose_tip_y: float
    nose_base_y: float
    nose_width: float
    mouth_width: float
    upper_lip: float
    lower_lip: float


def features_of(person: Person) -> Features:
    """The feature positions that this person's parameters mean."""
    p = person
    return Features(
        eye_x=0.315 + 0.021 * p.eye_x + 0.008 * p.head_w,
        eye_y=0.0,
        eye_width=0.178 + 0.013 * p.eye_w,
        eye_height=0.425 + 0.05 * p.eye_h,
        eye_tilt=0.05 + 0.055 * p.eye_tilt,
        brow_y=0.215 + 0.027 * p.brow_y,
        nose_tip_y=-0.375 - 0.024 * p.nose_len + 0.012 * p.nose_up,
        nose_base_y=-0.49 - 0.024 * p.nose_len,
        nose_width=0.148 + 0.024 * p.nose_w,
        mouth_width=0.245 + 0.029 * p.mouth_w,
        upper_lip=0.062 + 0.010 * p.female + 0.013 * p.lip_up,
        lower_lip=0.080 + 0.010 * p.female + 0.016 * p.lip_lo,
    )


def eye_coordinates(x: Tensor, y: Tensor, f: Features) -> tuple[Tensor, Tensor]:
    """Eye coordinates of rest points (N,)."""
    lx = (x.abs() - f.eye_x) / f.eye_width
    return lx, (y - f.eye_y) / f.eye_width - f.eye_tilt * lx


def eye_to_rest(lx: float, ly: float, f: Features) -> tuple[float, float]:
    """(|x|, y) in rest coordinates of an eye coordinate."""
    return f.eye_x + lx * f.eye_width, f.eye_y + f.eye_width * (ly + f.eye_tilt * lx)


def eye_opening(scene: Scene) -> float:
    """Share of the fully open lid gap: 0 closed, 1 at rest, above 1 with raised brows."""
    relaxed = 1 - 0.30 * scene.smile - 0.18 * scene.frown + 0.22 * scene.brow_raise
    return (1 - scene.eyes_close) * relaxed


def lids(lx: Tensor, f: Features, scene: Scene) -> tuple[Tensor, Tensor, Tensor]:
    """(upper lid, lower lid, fully open upper lid): ly of each edge at lx (N,)."""
    arc = 1 - lx * lx
    open_top = f.eye_height * 1.08 * power(arc, 0.72) * (1 - 0.12 * lx)
    depth = f.eye_height * 0.66 * power(arc, 0.85) * (1 + 0.15 * lx)
    low = -depth * (1 - 0.25 * scene.smile * (1 - scene.eyes_close))
    return low + (open_top - low) * eye_opening(scene), low, open_top


def lips(x: Tensor, f: Features, person: Person) -> tuple[Tensor, Tensor]:
    """(upper, lower) lip height away from the mouth line at |x| (N,), both positive."""
    ax = x.abs()
    across = (ax / f.mouth_width).clamp(max=1)
    bow = 1 - (0.16 + 0.05 * person.cupid) * bump(ax / 0.038) + 0.05 * bump((ax - 0.065) / 0.05)
    upper = f.upper_lip * power(1 - across**2.2, 0.75) * bow
    return upper, f.lower_lip * power(1 - across**2.4, 0.7)


def brow_end(person: Person) -> float:
    """|x| where a brow ends."""
    return 0.46 + 0.022 * person.brow_len


def brows(x: Tensor, f: Features, person: Person) -> tuple[Tensor, Tensor, Tensor]:
    """(place along the brow, 0 inner to 1 outer; y of its middle; half thickness) at |x| (N,)."""
    t = (x.abs() - BROW_START) / (brow_end(person) - BROW_START)
    tc = t.clamp(0, 1)
    arch = (0.055 + 0.022 * person.brow_arch) * (torch.sin(PI * tc**1.35 * 0.95) - 0.25)
    middle = f.brow_y + 0.017 * person.brow_tilt * (tc - 0.4) + arch - 0.01
    taper = (1 - 0.72 * tc**2.2) * (0.65 + 0.35 * smooth(tc, 0, 0.18))
    return t, middle, (0.040 + 0.0105 * person.brow_thick) * taper


def mouth_gap(scene: Scene) -> float:
    """How far the jaw drops, 0..1: an open mouth, or the sliver of a toothy smile."""
    return scene.mouth_open + 0.17 * max(0.0, scene.smile - 0.1)


def beard_cover(rest_N3: Tensor, lip_height: Tensor, f: Features, goatee: bool) -> Tensor:
    """(N,) 0..1: where a full beard (or a goatee) grows."""
    x, y, z = rest_N3.unbind(-1)
    ax = x.abs()
    lip = torch.where(lip_height > 0, lip_height / (f.upper_lip * 1.05), lip_height / (f.lower_lip * 1.1))
    lip_free = 1 - smooth(1.12 - (ax / (f.mouth_width * 1.05)) ** 2 - lip * lip, 0.0, 0.25)
    moustache = bump((lip_height - 0.13) / 0.055)
    moustache = moustache * (1 - smooth(ax, f.mouth_width, f.mouth_width * 1.35))
    if goatee:
        chin = smooth(-lip_height, 0.13, 0.18) * (1 - smooth(ax, 0.22, 0.30)) * (1 - smooth(-y, 1.15, 1.25))
        side = bump((ax - f.mouth_width * 1.2) / 0.05) * (1 - smooth(lip_height.abs(), 0.1, 0.25))
        hair = torch.maximum(torch.maximum(chin, moustache), side * 0.9)
        return hair * lip_free * smooth(z, 0.2, 0.4)
    line = 0.55 * (ax - 0.25) + 0.25 * power(ax - 0.45, 1.5)
    cheek = smooth(-y + line, 0.60, 0.78) * smooth(z, -0.12, 0.06) * (1 - smooth(-y, 1.12, 1.32))
    under_lip = 1 - 0.3 * bump(ax / 0.05) * bump((lip_height + f.lower_lip + 0.04) / 0.02)
    return torch.maximum(cheek, moustache) * lip_free * under_lip


def brow_points() -> tuple[float, ...]:
    """Places along a brow, inner to outer, of its five landmarks."""
    return 0.02, 0.26, 0.5, 0.75, 0.98
