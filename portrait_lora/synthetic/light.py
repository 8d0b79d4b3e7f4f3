"""Soft shadows of the key lamp, from depth seen from it.

N samples.  Lamps and shading are in `portrait_lora.shading`, the rigs in `portrait_lora.rigs`.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from portrait_lora.shading import Lighting, dot, unit
from portrait_lora.synthetic.figure import Figure
from portrait_lora.synthetic.raster import DEPTH_STEPS, rasterise

_SHADOW_CENTRE: Final = (0.0, -0.75, -0.05)
_SHADOW_RADIUS: Final = 2.25
_SHADOW_TEXELS: Final = 270


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
