"""Small mathematics shared by the synthetic studio: blends, bumps, table noise, lofts and rotations.

Shapes: R rows and C columns of a grid, N shaded samples, T triangles, K control rings.
World: x to the right of the picture, y up, z towards the camera; one unit is about 10 cm.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from portrait_lora.shading import dot as dot
from portrait_lora.shading import smooth as smooth
from portrait_lora.shading import unit as unit

PI = math.pi


def smooth_scalar(x: float, low: float, high: float) -> float:
    """`smooth` for one number."""
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


def bump(x: Tensor) -> Tensor:
    """Unit Gaussian bump exp(-x^2)."""
    return torch.exp(-x * x)


def power(x: Tensor, exponent: float) -> Tensor:
    """x ** exponent with negative x taken as 0 (a fractional power of a negative is not a number)."""
    return x.clamp(min=0) ** exponent


def mix(a: Tensor, b: Tensor, weight_N: Tensor) -> Tensor:
    """Blend of two colours (N, 3) or (3,) by a weight per sample."""
    return a + (b - a) * weight_N[..., None]


def ramp(colours: tuple[tuple[float, float, float], ...], t: float, device: torch.device) -> Tensor:
    """(3,) colour at position t in 0..1 along evenly spaced stops."""
    x = min(max(t, 0.0), 1.0) * (len(colours) - 1)
    i = min(int(x), len(colours) - 2)
    pair = zip(colours[i], colours[i + 1], strict=True)
    return torch.tensor([a + (b - a) * (x - i) for a, b in pair], device=device)


@lru_cache(maxsize=4)
def _noise_table(device: torch.device) -> Tensor:
    table = torch.rand(256 * 256, generator=torch.Generator().manual_seed(7))
    return table.to(device)


def noise(x: Tensor, y: Tensor, layer: int = 0) -> Tensor:
    """Smooth value noise in 0..1 from a fixed 256 x 256 table; `layer` picks another part of it."""
    table = _noise_table(x.device)
    xi, yi = x.floor(), y.floor()
    fx, fy = x - xi, y - yi
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    i = xi.long() + layer * 37
    j = yi.long() + layer * 53
    i0, i1, j0, j1 = i & 255, (i + 1) & 255, (j & 255) << 8, ((j + 1) & 255) << 8
    a, b, c, d = table[i0 + j0], table[i1 + j0], table[i0 + j1], table[i1 + j1]
    return a + (b - a) * fx + (c - a) * fy + (a - b - c + d) * fx * fy


def ripples(x: Tensor, y: Tensor, z: Tensor, phase: float) -> Tensor:
    """Three octaves of product-of-sines ripples, roughly in -1..1."""
    total = torch.zeros_like(x + y + z)
    octaves = ((5.1, 4.3, 6.2, 1.0), (9.7, 11.3, 8.1, 0.6), (17.0, 19.0, 15.0, 0.35))
    for k, (fx, fy, fz, amplitude) in enumerate(octaves):
        wave_x = torch.sin(fx * x + 1.3 * k + phase)
        wave_y = torch.sin(fy * y + 2.1 * k + phase * 1.7)
        total = total + amplitude * wave_x * wave_y * torch.sin(fz * z + 0.7 * k + phase * 0.6)
    return total


def catmull_matrix(positions: list[float], rings: int) -> Tensor:
    """(len(positions), K) weights of a Catmull-Rom curve through K control rings."""
    weights = torch.zeros(len(positions), rings)
    for row, v in enumerate(positions):
        k = min(int(v), rings - 2)
        t = v - k
        cubic = (
            (-t + 2 * t * t - t**3) / 2,
            (2 - 5 * t * t + 3 * t**3) / 2,
            (t + 4 * t * t - 3 * t**3) / 2,
            (-t * t + t**3) / 2,
        )
        for offset, weight in zip((-1, 0, 1, 2), cubic, strict=True):
            weights[row, min(max(k + offset, 0), rings - 1)] += weight
    return weights


def loft(rings_R7: Tensor, angle_C: Tensor, width_power: float, depth_power: float) -> Tensor:
    """(R, C, 3) surface through rings (y front, y side, y back, z front, z centre, z back, half width)."""
    y_front, y_side, y_back, z_front, z_centre, z_back, width = (c[:, None] for c in rings_R7.unbind(-1))
    cos, sin = angle_C.cos(), angle_C.sin()
    x = width * sin.sign() * power(sin.abs(), width_power)
    depth = power(cos.abs(), depth_power)
    z = torch.where(cos > 0, z_centre + (z_front - z_centre) * depth, z_centre + (z_back - z_centre) * depth)
    y = y_side + torch.where(cos > 0, y_front - y_side, y_back - y_side) * cos * cos
    return torch.stack([x.expand_as(z), y.expand_as(z), z], -1)


def grid_faces(rows: int, columns: int, offset: int, stride: int = 1) -> Tensor:
    """(T, 3) vertex ids of a grid's triangles, outward side by the grid's winding.

    A stride above 1 gives a coarser net over the same vertices, edges kept.
    """
    down = torch.tensor(sorted({*range(0, rows, stride), rows - 1}))
    across = torch.tensor(sorted({*range(0, columns, stride), columns - 1}))
    i = down[:, None] * columns + across[None] + offset
    a, b, c, d = i[:-1, :-1], i[:-1, 1:], i[1:, :-1], i[1:, 1:]
    upper = torch.stack([a, c, b], -1).reshape(-1, 3)
    lower = torch.stack([b, c, d], -1).reshape(-1, 3)
    return torch.cat([upper, lower])


def differences(grid: Tensor, dim: int, wrap: bool = False) -> Tensor:
    """Central differences of a grid (R, C, ...) along `dim` (not halved); `wrap` joins the two ends."""
    n = grid.shape[dim]
    inner = grid.narrow(dim, 2, n - 2) - grid.narrow(dim, 0, n - 2)
    if wrap:
        ends = grid.narrow(dim, 1, 1) - grid.narrow(dim, n - 2, 1)
        return torch.cat([ends, inner, ends], dim)
    first = grid.narrow(dim, 1, 1) - grid.narrow(dim, 0, 1)
    last = grid.narrow(dim, n - 1, 1) - grid.narrow(dim, n - 2, 1)
    return torch.cat([first, inner, last], dim)


def normals_and_tangents(grid_RC3: Tensor, wrap: bool) -> tuple[Tensor, Tensor]:
    """Unit normals and unit down-the-rows tangents of a grid, each (R, C, 3)."""
    down = differences(grid_RC3, 0)
    across = differences(grid_RC3, 1, wrap)
    return unit(torch.linalg.cross(down, across)), unit(down)


def rotation(yaw_deg: float, pitch_deg: float, roll_deg: float, device: torch.device) -> Tensor:
    """(3, 3) rotation: +yaw turns to the picture's right, +pitch looks up, +roll tilts clockwise."""
    yaw, pitch, roll = (math.radians(a) for a in (yaw_deg, pitch_deg, roll_deg))
    cy, sy, cp, sp, cr, sr = (
        math.cos(yaw),
        math.sin(yaw),
        math.cos(pitch),
        math.sin(pitch),
        math.cos(roll),
        math.sin(roll),
    )
    about_y = torch.tensor([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = torch.tensor([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    about_z = torch.tensor([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1.0]])
    return (about_z @ about_y @ about_x.float()).to(device)


def rotate(points: Tensor, matrix_33: Tensor) -> Tensor:
    """matrix @ point for every point (..., 3), written out so that no BLAS choice can change a bit."""
    x, y, z = points.unbind(-1)
    rows = [x * m[0] + y * m[1] + z * m[2] for m in matrix_33.tolist()]
    return torch.stack(rows, -1)
