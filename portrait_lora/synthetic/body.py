"""Ears, torso, collar, glasses, sunglasses: separate grids of fixed size.  Units are those of `geometry`."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

from portrait_lora import vocabulary
from portrait_lora.synthetic import head as head_grid
from portrait_lora.synthetic.curves import Features
from portrait_lora.synthetic.geometry import PI, bump, catmull_matrix, loft, power, smooth
from portrait_lora.synthetic.hair import CURTAINED
from portrait_lora.synthetic.head import Head
from portrait_lora.synthetic.identity import Person

EAR_ROWS, EAR_COLUMNS = 11, 25
TORSO_COLUMNS: Final = 65
COLLAR_ROWS, COLLAR_COLUMNS = 9, 49
RIM_ROWS, TUBE_COLUMNS, ARM_ROWS, BRIDGE_ROWS = 33, 6, 9, 7
COLLARED: Final = ("suit", "turtleneck", "shirt")
_EAR_RING: Final = 5.9
SUNGLASSES: Final = vocabulary.ALL_GLASSES.index("sunglasses")
_LENS_ROWS: Final = 6
_LENS_Z: Final = 0.93
# squareness of the outline, half width, half height, thickness of the frame: by the index of the glasses
_FRAMES: Final = {1: (2.2, 0.205, 0.19, 0.013), 2: (4.0, 0.225, 0.145, 0.018), 3: (3.0, 0.255, 0.190, 0.024)}

# y front, y side, y back, z front, z centre, z back, half width: neck, shoulders, chest, waist, far below
_TORSO: Final = (
    (-1.50, -1.43, -1.33, 0.06, -0.20, -0.52, 0.38),
    (-1.76, -1.58, -1.46, 0.15, -0.24, -0.70, 0.60),
    (-1.90, -1.71, -1.60, 0.26, -0.26, -0.82, 1.00),
    (-2.08, -1.86, -1.78, 0.38, -0.26, -0.88, 1.42),
    (-2.38, -2.23, -2.18, 0.50, -0.26, -0.92, 1.66),
    (-2.88, -2.83, -2.78, 0.60, -0.26, -0.95, 1.74),
    (-3.90, -3.90, -3.90, 0.62, -0.26, -0.95, 1.72),
    (-6.50, -6.50, -6.50, 0.60, -0.26, -0.90, 1.55),
    (-20.0, -20.0, -20.0, 0.60, -0.26, -0.90, 1.60),
    (-30.0, -30.0, -30.0, 0.60, -0.26, -0.90, 1.60),
)
_TORSO_STEPS: Final = [0.2 * i for i in range(31)] + [6.33, 6.66, 7.0, 7.5, 8.0]
TORSO_ROWS: Final = len(_TORSO_STEPS)


@lru_cache(maxsize=1)
def _torso_weights() -> Tensor:
    return catmull_matrix(_TORSO_STEPS, len(_TORSO))


def build_torso(person: Person, device: torch.device) -> Tensor:
    """(TORSO_ROWS, TORSO_COLUMNS, 3) shoulders and chest, running down out of any picture."""
    control = torch.tensor(_TORSO)
    control[2:, 6] *= 1 + 0.05 * person.shoulder
    control[:2, 6] *= 1 + 0.05 * person.neck_w
    rings = (_torso_weights()[:, :, None] * control[None]).sum(1).to(device)
    return loft(rings, torch.linspace(-PI, PI, TORSO_COLUMNS, device=device), 0.85, 0.8)


def build_ear(person: Person, head: Head, side: float) -> Tensor:
    """(EAR_ROWS, EAR_COLUMNS, 3) ear at the picture's right (side +1) or left (-1) of a frontal head."""
    device = head.rest.device
    r = torch.linspace(0, 1, EAR_ROWS, device=device)[:, None]
    around = torch.linspace(-PI, PI, EAR_COLUMNS, device=device)[None]
    size = 1 + 0.075 * person.ear_size
    cos, sin = around.cos(), around.sin()
    half_width = 0.155 * (1 + 0.22 * sin) * size
    relief = 0.050 * bump((r - 0.86) / 0.12) * (1 - 0.75 * smooth(-cos - 0.2, 0, 0.8))
    relief = relief - 0.05 * bump((r - 0.2) / 0.3) - 0.10 * smooth(r, 0.93, 1.0)
    relief = relief + 0.03 * bump((r - 0.55) / 0.12) * smooth(cos, -0.2, 0.6)
    across = r * cos * half_width + half_width * 0.75
    up = r * sin * 0.265 * size + 0.03
    row = min(range(head_grid.ROWS), key=lambda i: abs(head_grid.RING_OF_ROW[i] - _EAR_RING))
    width = float(head.rest[row, :, 0].max())
    flare = torch.tensor(0.55 + 0.16 * person.ear_out)
    c, s = float(flare.cos()), float(flare.sin())
    inward = 0.3 if person.style_name in CURTAINED else 1.0
    x = side * (inward * (width - 0.035) + s * across + c * relief)
    y = -0.13 - 0.05 * across + up
    z = -c * across - 0.18 * up + s * relief
    return torch.stack([x, y, z], -1)


def build_collar(person: Person, garment: str, device: torch.device) -> Tensor:
    """(COLLAR_ROWS, COLLAR_COLUMNS, 3) shirt collar, or the tube of a turtleneck."""
    u = torch.linspace(-1, 1, COLLAR_COLUMNS, device=device)[None]
    t = torch.linspace(0, 1, COLLAR_ROWS, device=device)[:, None]
    neck = 1 + 0.05 * person.neck_w
    if garment == "turtleneck":
        angle = PI + u * PI + 0 * t
        cos, sin = angle.cos(), angle.sin()
        front = (cos + 1) / 2
        y = -1.72 - 0.14 * front + t * (0.44 - 0.02 * front)
        radius = (0.475 + 0.035 * torch.sin(t * PI)) * neck + 0 * u
        forward = torch.zeros_like(radius)
    else:
        folded = ((t - 0.35) / 0.65).clamp(0, 1)
        angle = PI + u * (PI - 0.07 - 0.22 * folded)
        cos, sin = angle.cos(), angle.sin()
        front = (cos + 1) / 2
        rise = smooth(t, 0, 0.35)
        y = -1.58 - 0.22 * front**2 + rise * (0.22 - 0.02 * front**2) - folded * (0.17 + 0.20 * front**8)
        radius = (0.465 + 0.02 * t + folded * (0.14 + 0.10 * sin.abs())) * neck
        forward = 0.17 * folded * front
    z = -0.21 + torch.where(cos > 0, radius * 0.88, radius * 0.98) * cos + forward
    return torch.stack([radius * sin, y, z], -1)


def build_glasses(person: Person, f: Features, device: torch.device) -> list[Tensor]:
    """Rim, arm, rim, arm, bridge: thin tubes, each (rows, TUBE_COLUMNS, 3)."""
    squareness, half_w, half_h, tube = _FRAMES[int(person.glasses)]
    t = torch.linspace(0, 2 * PI, RIM_ROWS, device=device)[:, None]
    ring = torch.linspace(0, 2 * PI, TUBE_COLUMNS, device=device)[None]
    cos, sin = t.cos(), t.sin()
    lens_x = half_w * cos.sign() * power(cos.abs(), 2 / squareness)
    lens_y = half_h * sin.sign() * power(sin.abs(), 2 / squareness)
    z_front = _LENS_Z
    grids = []
    for side in (1.0, -1.0):
        x = side * f.eye_x + lens_x
        z = z_front - 0.22 * power(x.abs() - 0.1, 1.2)
        grids.append(
            torch.stack(
                [x + tube * cos * ring.cos(), lens_y - 0.03 + tube * sin * ring.cos(), z + tube * ring.sin()],
                -1,
            )
        )
        along = torch.linspace(0, 1, ARM_ROWS, device=device)[:, None]
        hinge = f.eye_x + half_w
        x = side * (hinge + (0.775 - hinge) * smooth(along, 0, 0.5)) + tube * ring.cos()
        y = 0.03 + tube * 1.3 * ring.sin() + 0 * along
        grids.append(torch.stack([x, y, z_front - 0.14 - along * 0.90 + 0 * ring], -1))
    along = torch.linspace(-1, 1, BRIDGE_ROWS, device=device)[:, None]
    x = along * (f.eye_x - half_w) + 0 * ring
    y = 0.02 + 0.03 * (1 - along * along) + tube * ring.cos()
    grids.append(torch.stack([x, y, z_front + 0.01 + tube * ring.sin() + 0 * along], -1))
    return grids


def build_lenses(f: Features, device: torch.device) -> list[Tensor]:
    """Two bulging dark lenses within the frames of sunglasses, each (_LENS_ROWS, RIM_ROWS, 3)."""
    squareness, half_w, half_h, _ = _FRAMES[SUNGLASSES]
    t = torch.linspace(0, 2 * PI, RIM_ROWS, device=device)[None]
    r = torch.linspace(0, 1, _LENS_ROWS, device=device)[:, None]
    cos, sin = t.cos(), t.sin()
    across = r * half_w * cos.sign() * power(cos.abs(), 2 / squareness)
    up = r * half_h * sin.sign() * power(sin.abs(), 2 / squareness)
    grids = []
    for side in (1.0, -1.0):
        x = side * f.eye_x + across
        z = _LENS_Z - 0.22 * power(x.abs() - 0.1, 1.2) + 0.025 * (1 - r * r)
        grids.append(torch.stack([x, up - 0.03, z], -1))
    return grids
