"""Paints the eyes between the lid curves: white, iris, pupil, lashes, crease.  N samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from portrait_lora.synthetic import colours, curves
from portrait_lora.synthetic.curves import Features
from portrait_lora.synthetic.geometry import bump, mix, noise, smooth, smooth_scalar
from portrait_lora.synthetic.identity import Person
from portrait_lora.synthetic.scene import Scene


@dataclass(frozen=True, slots=True)
class Eyes:
    """Visible eyeball (0..1), and eye coordinates; `outward_N` is lx counted to the picture's right."""

    cover_N: Tensor
    lx_N: Tensor
    ly_N: Tensor
    outward_N: Tensor


def paint_eyes(
    albedo_N3: Tensor, rest_N3: Tensor, on_face_N: Tensor, person: Person, f: Features, scene: Scene
) -> tuple[Tensor, Eyes]:
    """The albedo with eyes, lids and lashes painted in, and where the eyeballs are."""
    x = rest_N3[:, 0]
    lx, ly = curves.eye_coordinates(x, rest_N3[:, 1], f)
    outward = lx * x.sign()
    near = (lx.abs() < 1.8) & (ly.abs() < 1.5) & on_face_N
    cover = torch.zeros_like(x)
    index = near.nonzero()[:, 0]
    if len(index):
        painted, seen = _paint(albedo_N3[index], lx[index], ly[index], outward[index], person, f, scene)
        albedo_N3 = albedo_N3.clone()
        albedo_N3[index] = painted
        cover[index] = seen
    return albedo_N3, Eyes(cover, lx, ly, outward)


def _paint(
    albedo: Tensor, lx: Tensor, ly: Tensor, outward: Tensor, person: Person, f: Features, scene: Scene
) -> tuple[Tensor, Tensor]:
    """(albedo, eyeball cover) of samples near an eye."""
    top, low, open_top = curves.lids(lx, f, scene)
    within = (lx.abs() < 1).float()
    shut = 1 - smooth_scalar(scene.eyes_close, 0.85, 0.95)
    cover = smooth(ly, low - 0.02, low + 0.05) * (1 - smooth(ly, top - 0.05, top + 0.02)) * within * shut
    crease_y = open_top * (1 + 0.12 * scene.brow_raise) + 0.20 + 0.05 * person.lid_crease
    crease = bump((ly - crease_y) / 0.05) * (1 - smooth(lx.abs(), 0.85, 1.15))
    albedo = albedo * (1 - 0.33 * crease)[:, None]
    lid = (
        (1 - smooth(lx.abs(), 0.9, 1.2))
        * smooth(ly, -0.1, 0.2)
        * (1 - smooth(ly, open_top + 0.05, open_top + 0.5))
    )
    shadow = torch.tensor([0.05, 0.11, 0.11], device=lx.device) * (1 + 0.6 * person.female)
    albedo = albedo * (1 - lid[:, None] * shadow)
    if "eye shadow" in person.makeup_name:
        albedo = _eye_shadow(albedo, lx, ly, open_top)
    lash = bump((ly - top - 0.015) / (0.055 + 0.035 * person.female)) * smooth(lx, -1.15, -0.7)
    lash = lash * (lx.abs() < 1.12)
    lash = torch.maximum(lash, 0.35 * bump((ly - low + 0.02) / 0.04) * within)
    albedo = mix(albedo, _eyeball(lx, ly, outward, top, person, scene), cover)
    dark = torch.full_like(albedo, 0.012)
    return mix(albedo, dark, lash * (0.80 + 0.18 * person.female)), cover


def _eye_shadow(albedo: Tensor, lx: Tensor, ly: Tensor, open_top: Tensor) -> Tensor:
    """A plum that is strongest on the lid, fades towards the brow and runs out beside the eye."""
    up = smooth(ly, -0.05, 0.12) * (1 - smooth(ly, open_top + 0.12, open_top + 0.72))
    cover = up * (1 - smooth((lx - 0.12).abs(), 0.95, 1.5))
    plum = torch.tensor([0.17, 0.055, 0.13], device=lx.device)
    return mix(albedo, plum * (0.4 + 1.2 * albedo.mean(-1, keepdim=True)), 0.82 * cover)


def _eyeball(lx: Tensor, ly: Tensor, outward: Tensor, top: Tensor, person: Person, scene: Scene) -> Tensor:
    """(N, 3) albedo of white, iris and pupil, shaded under the upper lid."""
    device = lx.device
    white = torch.tensor([0.60, 0.57, 0.55], device=device) * (1 - 0.25 * lx**2).clamp(min=0.2)[:, None]
    caruncle = torch.tensor([0.55, 0.30, 0.27], device=device)
    white = mix(white, caruncle, bump((lx + 1.0) / 0.16) * 0.8)
    ix, iy = outward - scene.gaze[0], ly - 0.04 - scene.gaze[1]
    r = (ix * ix + iy * iy).sqrt() / (0.45 + 0.035 * person.iris_r)
    fibre = noise(torch.atan2(iy, ix) * 9, r * 2, 9)
    iris = colours.iris(person, device) * (0.65 + 0.55 * r.clamp(0, 1) + 0.5 * (fibre - 0.5))[:, None]
    iris = iris * ((1 + 0.5 * bump((r - 0.5) / 0.2)) * (1 - 0.75 * smooth(r, 0.80, 1.0)))[:, None]
    iris = mix(iris, torch.full_like(iris, 0.006), 1 - smooth(r, 0.38, 0.46))
    eye = mix(white, iris, 1 - smooth(r, 0.96, 1.06))
    return eye * (1 - 0.50 * bump((ly - top) / 0.18))[:, None]
