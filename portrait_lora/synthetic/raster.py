"""A z-buffer in plain PyTorch: triangles in buckets of size, the nearest kept by one scatter.

A key packs inverse depth (upper 32 bits) and the triangle's number (lower 32), so the largest key is
the nearest triangle; 0 means nothing there.  N covered samples, T triangles, V vertices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from portrait_lora.synthetic.figure import Triangles

DEPTH_STEPS: Final = 2**30
_BUCKETS: Final = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64, 128, 256)
_CANDIDATES: Final = 4_000_000


@dataclass(frozen=True, slots=True)
class Samples:
    """Places to shade: row and column of the fine grid, weight in its pixel, offset to its middle."""

    y_N: Tensor
    x_N: Tensor
    weight_N: Tensor
    offset_N: Tensor | float


def rasterise(screen_V3: Tensor, triangles: Triangles, height: int, width: int) -> Tensor:
    """(height, width) keys of vertices given as (pixel x, pixel y, inverse depth in 0..1, larger nearer)."""
    faces = triangles.faces_T3
    corners_3T = triangles.corners_3T
    x0, x1, x2 = screen_V3[:, 0].contiguous()[corners_3T].unbind(0)
    y0, y1, y2 = screen_V3[:, 1].contiguous()[corners_3T].unbind(0)
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    left = (torch.minimum(torch.minimum(x0, x1), x2) - 0.5).ceil().clamp(min=0)
    top = (torch.minimum(torch.minimum(y0, y1), y2) - 0.5).ceil().clamp(min=0)
    right = (torch.maximum(torch.maximum(x0, x1), x2) - 0.5).floor().clamp(max=width - 1)
    bottom = (torch.maximum(torch.maximum(y0, y1), y2) - 0.5).floor().clamp(max=height - 1)
    seen = (area < -1e-7) | (triangles.two_sided_T & (area > 1e-7))
    seen &= (right >= left) & (bottom >= top)
    size = torch.where(seen, torch.maximum(right - left, bottom - top) + 1, torch.zeros_like(left))
    keys = torch.zeros(height * width, dtype=torch.int64, device=screen_V3.device)
    smaller = 0
    for bucket in (*_BUCKETS, max(height, width)):
        chosen = ((size > smaller) & (size <= bucket)).nonzero()[:, 0]
        smaller = max(smaller, bucket)
        step = max(1, _CANDIDATES // (bucket * bucket))
        for start in range(0, len(chosen), step):
            ids = chosen[start : start + step]
            corners = screen_V3[faces[ids]]
            _splat(corners, left[ids].long(), top[ids].long(), bucket, ids, (height, width), keys)
    return keys.view(height, width)


def _splat(
    corners_T33: Tensor,
    left: Tensor,
    top: Tensor,
    bucket: int,
    ids: Tensor,
    size: tuple[int, int],
    keys: Tensor,
) -> None:
    """Tests a bucket x bucket block of pixels for every triangle and keeps the nearest keys."""
    height, width = size
    steps = torch.arange(bucket, device=left.device)
    px, py = left[:, None] + steps, top[:, None] + steps
    b1, b2 = _barycentric_planes(corners_T33, px + 0.5, py + 0.5)
    inside = (b1 >= 0) & (b2 >= 0) & (b1 + b2 <= 1)
    inside &= (px < width)[:, None, :] & (py < height)[:, :, None]
    hits = inside.view(-1).nonzero()[:, 0]
    n = hits.div(bucket * bucket, rounding_mode="floor")
    place = hits - n * (bucket * bucket)
    row = place.div(bucket, rounding_mode="floor")
    column = place - row * bucket
    first, second, third = corners_T33[..., 2][n].unbind(1)
    depth = first + b1.view(-1)[hits] * (second - first) + b2.view(-1)[hits] * (third - first)
    key = ((depth.clamp(0, 1) * DEPTH_STEPS).long() << 32) | ids[n]
    keys.scatter_reduce_(0, (top[n] + row) * width + left[n] + column, key, "amax")


def _barycentric_planes(corners: Tensor, fx: Tensor, fy: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of corners 1 and 2 at pixel centres: (T, K, K) each from (T, K) x and y."""
    x0, x1, x2 = corners[..., 0].unbind(1)
    y0, y1, y2 = corners[..., 1].unbind(1)
    inverse = 1 / ((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0))
    a1, c1 = (y2 - y0) * inverse, -(x2 - x0) * inverse
    a2, c2 = -(y1 - y0) * inverse, (x1 - x0) * inverse
    dx, dy = fx - x0[:, None], fy - y0[:, None]
    b1 = (a1[:, None] * dx)[:, None, :] + (c1[:, None] * dy)[:, :, None]
    b2 = (a2[:, None] * dx)[:, None, :] + (c2[:, None] * dy)[:, :, None]
    return b1, b2


def choose_samples(keys_HW: Tensor, triangles: Triangles, supersample: int) -> Samples:
    """All covered places; where a pixel is plain (one material, even depth), one sample stands for it."""
    s = supersample
    if s == 1:
        y, x = (keys_HW > 0).nonzero(as_tuple=True)
        return Samples(y, x, torch.ones(len(y), device=keys_HW.device), 0.0)
    plain = _plain(keys_HW, triangles, s)
    chosen = keys_HW > 0
    for row in range(s):
        for column in range(s):
            chosen[row::s, column::s] &= ~plain
    chosen[::s, ::s] |= plain
    y, x = chosen.nonzero(as_tuple=True)
    alone = plain[y // s, x // s].float()
    return Samples(y, x, alone + (1 - alone) / (s * s), alone * (s - 1) / 2)


def _plain(keys_HW: Tensor, triangles: Triangles, s: int) -> Tensor:
    """(H / s, W / s) pixels that are covered, of one material with nothing fine, at an even depth."""
    parts = [keys_HW[row::s, column::s] for row in range(s) for column in range(s)]
    nearest, furthest = parts[0], parts[0]
    for part in parts[1:]:
        nearest, furthest = torch.maximum(nearest, part), torch.minimum(furthest, part)
    plain = (furthest > 0) & ((nearest >> 32) - (furthest >> 32) < int(DEPTH_STEPS * 0.004))
    y, x = plain.nonzero(as_tuple=True)  # materials are looked up for these alone
    numbers = [part[y, x] & 0xFFFFFFFF for part in parts]
    material = triangles.material_T[numbers[0]]
    even = torch.ones_like(material, dtype=torch.bool)
    for number in numbers:
        even &= (triangles.material_T[number] == material) & ~triangles.fine_T[number]
    plain[y, x] = even
    return plain


def weights_at(
    screen_V3: Tensor, faces_T3: Tensor, keys_HW: Tensor, samples: Samples
) -> tuple[Tensor, Tensor, Tensor]:
    """(vertex ids (N, 3), perspective-correct weights (N, 3), triangle (N,)) at the samples."""
    triangle = keys_HW[samples.y_N, samples.x_N] & 0xFFFFFFFF
    ids = faces_T3[triangle]
    x, y, near = screen_V3[ids].unbind(-1)
    fx, fy = samples.x_N + 0.5 + samples.offset_N, samples.y_N + 0.5 + samples.offset_N
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    w1 = ((fx - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (fy - y[:, 0])) / area
    w2 = ((x[:, 1] - x[:, 0]) * (fy - y[:, 0]) - (fx - x[:, 0]) * (y[:, 1] - y[:, 0])) / area
    w = torch.stack([1 - w1 - w2, w1, w2], 1).clamp(0, 1) * near
    return ids, w / (w[:, 0] + w[:, 1] + w[:, 2])[:, None], triangle


def interpolate(values_VK: Tensor, ids_N3: Tensor, weights_N3: Tensor) -> Tensor:
    """(N, K) values of the vertices blended at the samples."""
    w = weights_N3[..., None]
    return (
        values_VK[ids_N3[:, 0]] * w[:, 0]
        + values_VK[ids_N3[:, 1]] * w[:, 1]
        + values_VK[ids_N3[:, 2]] * w[:, 2]
    )
