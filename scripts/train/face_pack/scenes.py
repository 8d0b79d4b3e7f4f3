"""Scenes for the detector, composed on the fly: people cut out of the corpus, and things that are no face."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from scripts.train.face_pack import augment
from scripts.train.face_pack.data import Pool, invert, move, warp

POSITIVE, IGNORED, ABSENT = 1, 0, -1
SLOTS = 4


@dataclass(slots=True)
class SceneBatch:
    """(B, 3, S, S) in 0..255 and per slot a box, keypoints and whether it counts."""

    image: Tensor
    box: Tensor  # (B, SLOTS, 4)
    keypoints: Tensor  # (B, SLOTS, 5, 2)
    state: Tensor  # (B, SLOTS) POSITIVE, IGNORED, ABSENT


def fractal(n: int, size: int, generator: torch.Generator) -> Tensor:
    """Smooth colour noise of several octaves, (n, 3, size, size) around 0, spread about 1."""
    out = torch.zeros(n, 3, size, size)
    for octave in (3, 7, 15, 40):
        noise = torch.randn(n, 3, octave, octave, generator=generator)
        grey = torch.rand(n, 1, 1, 1, generator=generator) < 0.6
        noise = torch.where(grey, noise[:, :1] + 0.25 * noise, noise)
        weight = augment.rand((n, 1, 1, 1), generator)
        out += F.interpolate(noise, size=(size, size), mode="bilinear", align_corners=False) * weight
    return out


def clutter(x: Tensor, generator: torch.Generator, count: int) -> Tensor:
    """Ellipses and boxes in any colour, many of them the colour of skin."""
    n, _, size, _ = x.shape
    axis = torch.arange(size, dtype=torch.float32)
    for _ in range(count):
        centre = augment.rand((n, 2), generator, 0, size)
        radius = augment.rand((n, 2), generator, 4, size * 0.3)
        turn = augment.rand((n,), generator, 0, math.pi)
        dx = axis[None, None] - centre[:, 0, None, None]
        dy = axis[None, :, None] - centre[:, 1, None, None]
        c, s = torch.cos(turn)[:, None, None], torch.sin(turn)[:, None, None]
        u = (c * dx + s * dy) / radius[:, 0, None, None]
        v = (c * dy - s * dx) / radius[:, 1, None, None]
        round_ = (torch.rand(n, generator=generator) < 0.6)[:, None, None]
        inside = torch.where(round_, u * u + v * v, torch.maximum(u.abs(), v.abs())) < 1
        here = (torch.rand(n, generator=generator) < 0.55)[:, None, None]
        light = augment.rand((n, 1), generator, 0.15, 1.0)
        skin = light * torch.tensor([235.0, 180.0, 150.0])
        any_colour = augment.rand((n, 3), generator, 0, 255)
        colour = torch.where(torch.rand(n, 1, generator=generator) < 0.5, skin, any_colour)
        shade = (1 - 0.25 * v.clamp(-1, 1))[:, None]
        x = torch.where((inside & here)[:, None], colour[:, :, None, None] * shade, x)
    return x


def below_neck(pool: Pool, n: int, size: int, generator: torch.Generator) -> Tensor:
    """Clothes only: the strip below the chin, blown up to the whole picture."""
    rows = torch.randint(0, len(pool), (n,), generator=generator)
    box, side = pool.box[rows], pool.size_px
    top = (box[:, 3] + 0.12 * (box[:, 3] - box[:, 1])).clamp(max=side - 12.0)
    height = (side - top) * augment.rand((n,), generator, 0.6, 1.0)
    left = augment.rand((n,), generator) * (side - height)
    scale = height / size
    zero = torch.zeros(n)
    affine = torch.stack([scale, zero, left, zero, scale, top], -1).reshape(n, 2, 3)
    return warp(pool.image[rows].float(), affine, size, size)


def background(pool: Pool, n: int, size: int, generator: torch.Generator) -> Tensor:
    """Flat, graded, noisy, cluttered or of cloth."""
    half = size // 2
    colour = augment.rand((n, 3, 1, 1), generator, 0, 255)
    x = colour + fractal(n, half, generator) * augment.rand((n, 1, 1, 1), generator) ** 2 * 70
    busy = torch.rand(n, generator=generator) < 0.45
    if busy.any():
        count = int(torch.randint(1, 7, (), generator=generator))
        x[busy] = clutter(x[busy], generator, count)
    x = F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)
    cloth = torch.rand(n, generator=generator) < 0.25
    if cloth.any():
        x[cloth] = below_neck(pool, int(cloth.sum()), size, generator)
    fine = torch.rand(n, generator=generator) < 0.07
    noise = torch.randn(n, 3, size, size, generator=generator) * 50
    return x + noise * fine[:, None, None, None]


def _cut_outs(pool: Pool, rows: Tensor, faceless: Tensor) -> Tensor:
    """(K, 4, S, S): people with their coverage; on request, the face is painted over with its own tone."""
    image, alpha = pool.image[rows].float(), pool.mask[rows].float()[:, None] / 255
    if faceless.any():
        box, size = pool.box[rows], pool.size_px
        axis = torch.arange(size, dtype=torch.float32)
        centre, radius = (box[:, :2] + box[:, 2:]) / 2, (box[:, 2:] - box[:, :2]) * 0.62
        u = (axis[None, None] - centre[:, 0, None, None]) / radius[:, 0, None, None]
        v = (axis[None, :, None] - centre[:, 1, None, None]) / radius[:, 1, None, None]
        inside = ((u * u + v * v) < 1)[:, None] & faceless[:, None, None, None]
        weight = (alpha * inside).sum((2, 3), keepdim=True).clamp(min=1)
        tone = (image * alpha * inside).sum((2, 3), keepdim=True) / weight
        image = torch.where(inside, tone * (1 - 0.15 * u.clamp(-1, 1))[:, None], image)
    return torch.cat([image, alpha], 1)


def _paste_affine(box: Tensor, height: Tensor, centre: Tensor, angle: Tensor) -> Tensor:
    """(K, 2, 3) from canvas pixels to picture pixels: the face gets `height` px, its middle at `centre`."""
    scale = (box[:, 3] - box[:, 1]).clamp(min=4) / height
    c, s = torch.cos(angle) * scale, torch.sin(angle) * scale
    turn = torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)
    middle = (box[:, :2] + box[:, 2:]) / 2
    return torch.cat([turn, middle[..., None] - turn @ centre[..., None]], -1)


def _corners(box: Tensor) -> Tensor:
    x0, y0, x1, y1 = box.unbind(-1)
    points = (x0, y0, x1, y0, x1, y1, x0, y1)
    return torch.stack(points, -1).reshape(-1, 4, 2)


def _moved_box(box: Tensor, to_canvas: Tensor) -> Tensor:
    """The box after a turn: its middle moves with it, its size only scales (a face is about round)."""
    corners = move(_corners(box), to_canvas)
    middle = corners.mean(1)
    scale = torch.linalg.det(to_canvas[:, :, :2]).abs().sqrt()
    half = (box[:, 2:] - box[:, :2]) / 2 * scale[:, None]
    return torch.cat([middle - half, middle + half], -1)


def _inside(box: Tensor, size: int) -> Tensor:
    """The share of each box that lies in the picture."""
    clipped = box.clamp(0, size)
    area = (box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1])
    kept = (clipped[..., 2] - clipped[..., 0]) * (clipped[..., 3] - clipped[..., 1])
    return kept / area.clamp(min=1e-3)


def _with_mirrored(scenes: SceneBatch) -> SceneBatch:
    """Every scene twice, the second time left for right (keypoints keep their sides of the picture)."""
    size = scenes.image.shape[-1]
    box = torch.stack([size - scenes.box[..., 2], scenes.box[..., 1], size - scenes.box[..., 0],
                       scenes.box[..., 3]], -1)  # fmt: skip
    points = scenes.keypoints[:, :, [1, 0, 2, 4, 3]].clone()
    points[..., 0] = size - 1 - points[..., 0]
    return SceneBatch(
        torch.cat([scenes.image, scenes.image.flip(-1)]),
        torch.cat([scenes.box, box]),
        torch.cat([scenes.keypoints, points]),
        torch.cat([scenes.state, scenes.state]),
    )


class Composer:
    """Makes batches of scenes from a pool."""

    def __init__(self, pool: Pool, size_px: int, smallest_px: float = 15.0):
        self.pool, self.size, self.smallest = pool, size_px, smallest_px

    def batch(self, n: int, generator: torch.Generator) -> SceneBatch:
        """Crowds (0 to 4 people pasted) and whole portraits with black margins as letterboxes have.

        Gives 2 n scenes: every one also mirrored.
        """
        whole = torch.rand(n, generator=generator) < 0.42
        image = background(self.pool, n, self.size, generator)
        image[whole] = 0
        out = SceneBatch(
            image, torch.zeros(n, SLOTS, 4), torch.zeros(n, SLOTS, 5, 2), torch.full((n, SLOTS), ABSENT)
        )
        wanted = torch.tensor([0, 0, 1, 1, 1, 2, 2, 3, 4])
        count = wanted[torch.randint(0, len(wanted), (n,), generator=generator)]
        for slot in range(SLOTS):
            rows = ((slot < count) & ~whole).nonzero()[:, 0]
            if len(rows):
                self._paste(out, rows, slot, generator)
        if whole.any():
            rows = whole.nonzero()[:, 0]
            self._portraits(out, rows, generator)
            company = rows[torch.rand(len(rows), generator=generator) < 0.25]
            if len(company):
                self._paste(out, company, 1, generator)
        out.image = out.image.clamp(0, 255)
        out = _with_mirrored(out)
        out.image = augment.camera(out.image, generator, soft=0.3, strength=1.3)
        return out

    def _paste(self, out: SceneBatch, rows: Tensor, slot: int, g: torch.Generator) -> None:
        """One more person (or a thing like one) in each of the scenes `rows`."""
        k, size = len(rows), self.size
        who = torch.randint(0, len(self.pool), (k,), generator=g)
        kind = torch.rand(k, generator=g)
        faceless, tipped = kind < 0.10, (kind >= 0.10) & (kind < 0.16)
        low, high = math.log(self.smallest), math.log(size * 0.85)
        height = torch.exp(augment.rand((k,), g, low, high))
        centre = self._clear_of_others(out, rows, height, augment.rand((k, 6, 2), g, -0.02, 1.02) * size)
        angle = torch.randn(k, generator=g).clamp(-2.2, 2.2) * 0.14
        quarter = torch.randint(1, 4, (k,), generator=g) * (math.pi / 2)
        angle = torch.where(tipped, angle + quarter, angle)
        affine = _paste_affine(self.pool.box[who], height, centre, angle)
        layer = warp(_cut_outs(self.pool, who, faceless), affine, size, size)
        alpha = layer[:, 3:]
        out.image[rows] = out.image[rows] * (1 - alpha) + layer[:, :3] * alpha
        self._occlude(out, rows, slot, alpha[:, 0])
        self._record(out, rows, slot, who, affine, ~(faceless | tipped))

    def _clear_of_others(self, out: SceneBatch, rows: Tensor, height: Tensor, candidates: Tensor) -> Tensor:
        """(K, 2) of (K, C, 2): where the new face covers least of the faces that are there."""
        box = out.box[rows][:, None]  # (K, 1, SLOTS, 4)
        low = candidates[:, :, None] - height[:, None, None, None] * 0.6
        high = candidates[:, :, None] + height[:, None, None, None] * 0.6
        shared = torch.minimum(high, box[..., 2:]) - torch.maximum(low, box[..., :2])
        covered = (shared.clamp(min=0).prod(-1) * (out.state[rows] == POSITIVE)[:, None]).sum(-1)
        return candidates[torch.arange(len(rows)), covered.argmin(1)]

    def _record(
        self, out: SceneBatch, rows: Tensor, slot: int, who: Tensor, affine: Tensor, counts: Tensor
    ) -> None:
        to_canvas = invert(affine)
        box = _moved_box(self.pool.box[who], to_canvas)
        seen = _inside(box, self.size)
        state = torch.where(seen > 0.62, POSITIVE, torch.where(seen > 0.2, IGNORED, ABSENT))
        out.box[rows, slot] = box
        out.keypoints[rows, slot] = move(self.pool.keypoints[who], to_canvas)
        out.state[rows, slot] = torch.where(counts, state, ABSENT)

    def _occlude(self, out: SceneBatch, rows: Tensor, slot: int, alpha: Tensor) -> None:
        """Faces pasted earlier that the newcomer hides are ignored, or gone."""
        table = F.pad(alpha.cumsum(1).cumsum(2), (1, 0, 1, 0))
        for earlier in range(slot):
            box = out.box[rows, earlier].clamp(0, self.size).round().long()
            n = torch.arange(len(rows))
            x0, y0, x1, y1 = box.unbind(-1)
            total = table[n, y1, x1] - table[n, y0, x1] - table[n, y1, x0] + table[n, y0, x0]
            share = total / ((x1 - x0) * (y1 - y0)).clamp(min=1)
            old = out.state[rows, earlier]
            new = torch.where(share > 0.75, torch.full_like(old, ABSENT), old.clamp(max=IGNORED))
            out.state[rows, earlier] = torch.where((share > 0.25) & (old == POSITIVE), new, old)

    def _portraits(self, out: SceneBatch, rows: Tensor, g: torch.Generator) -> None:
        """Whole corpus pictures at many sizes, some of them at the top left of black margins."""
        k, size = len(rows), self.size
        who = torch.randint(0, len(self.pool), (k,), generator=g)
        side = self.pool.size_px
        scale = side / (size * torch.exp(augment.rand((k,), g, math.log(0.35), math.log(1.25))))
        room = side - size * scale  # > 0: the canvas shows a part of the picture
        shift = torch.where(room[:, None] > 0, room[:, None] * augment.rand((k, 2), g), torch.zeros(k, 2))
        zero = torch.zeros(k)
        affine = torch.stack([scale, zero, shift[:, 0], zero, scale, shift[:, 1]], -1).reshape(k, 2, 3)
        out.image[rows] = warp(self.pool.image[who].float(), affine, size, size)
        self._record(out, rows, 0, who, affine, torch.ones(k, dtype=torch.bool))
