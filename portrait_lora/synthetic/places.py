"""Places behind people: brick and marble walls, an office and a city street out of focus, by day and night.

Everything is drawn from the scene's own seed.  H x W pixels; x and y are counted in picture heights from the
upper left corner.  What is out of focus is painted small, blurred and enlarged, and so costs the same at
any size.  Colours are sRGB as seen, (3, H, W).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import MappingProxyType
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from portrait_lora import vocabulary
from portrait_lora.synthetic.geometry import bump, noise, smooth

Colour = tuple[float, float, float]
Draw = Callable[[float, float], float]
"""A number of the scene's own, between two."""
_SMALL_PX: Final = 72
"""Height of the canvas for what is out of focus."""
_DRAWS: Final = 6000
"""More numbers than any place takes, also in a picture ten times as wide as high."""
_COURSE: Final = 0.105
_BRICK: Final = 0.30


def paint_place(place: str, generator: torch.Generator, width: int, height: int) -> Tensor:
    """(3, H, W) picture of a word of `vocabulary.PLACES`."""

    numbers = iter(torch.rand(_DRAWS, generator=generator).tolist())

    def draw(low: float, high: float) -> float:
        return low + (high - low) * next(numbers)

    if place in _WALLS:
        paint, sharp_px = _WALLS[place]
        tall = min(height, sharp_px)
        wall = paint(draw, *_grid(max(1, round(tall * width / height)), tall))
        return _resized(wall, width, height) if tall < height else wall.clamp(0, 1)
    small = _Canvas(width / height)
    _VIEWS[place](draw, small)
    return small.enlarged(width, height, draw(0.012, 0.022))


def _resized(picture_3HW: Tensor, width: int, height: int) -> Tensor:
    big = F.interpolate(picture_3HW[None], (height, width), mode="bicubic", align_corners=False)
    return big[0].clamp(0, 1)


def _grid(width: int, height: int) -> tuple[Tensor, Tensor]:
    """(W,) and (H, 1) middles of the pixels."""
    x = (torch.arange(width) + 0.5) / height
    return x[None].expand(height, width), ((torch.arange(height) + 0.5) / height)[:, None].expand(
        height, width
    )


def _rgb(r: float, g: float, b: float) -> Tensor:
    return torch.tensor([r, g, b])[:, None, None]


def _brick(draw: Draw, x: Tensor, y: Tensor) -> Tensor:
    """Running bond with worn faces; the wall stands a little out of focus."""
    zoom, soft = draw(0.85, 1.2), draw(0.10, 0.17)
    shift_x, shift_y = draw(0, 20), draw(0, 20)
    wear = noise(x * 9 + shift_x, y * 9 + shift_y, 3) - 0.5
    row = (y / zoom + shift_y) / _COURSE
    course = row.floor()
    along = (x / zoom + shift_x) / _BRICK + 0.5 * (course % 2)
    number = along.floor()
    fx, fy = along - number, row - course
    across = torch.minimum(fx, 1 - fx) * _BRICK / _COURSE
    face = smooth(torch.minimum(across, torch.minimum(fy, 1 - fy)) + 0.06 * wear, 0.10 - soft, 0.10 + soft)
    tone, hue = noise(number * 7.3, course * 5.7, 1), noise(number * 3.1 + 9, course * 4.3, 2)
    palettes = (((0.52, 0.27, 0.20), (0.66, 0.39, 0.29)), ((0.44, 0.27, 0.21), (0.58, 0.40, 0.32)))
    dark, light = palettes[int(draw(0, 1.999))]
    brick = _rgb(*dark) + (_rgb(*light) - _rgb(*dark)) * hue
    grain = noise(x * 60 + shift_x, y * 60, 4) - 0.5
    brick = brick * (0.80 + 0.36 * tone + 0.16 * wear + 0.10 * grain)
    brick = brick * (1 + 0.14 * bump((fy - 0.16) / 0.12) - 0.22 * bump((fy - 0.90) / 0.12))
    mortar = _rgb(0.62, 0.58, 0.53) * (0.82 + 0.2 * wear)
    return mortar + (brick - mortar) * face


def _marble(draw: Draw, x: Tensor, y: Tensor) -> Tensor:
    """Polished slabs: clouds, and veins that wander and branch."""
    shift, lean = draw(0, 50), draw(0.5, 1.1) * (1 if draw(0, 1) > 0.5 else -1)
    warp_x = noise(x * 2.2 + shift, y * 2.2, 1) + 0.5 * noise(x * 5 + shift, y * 5, 2) - 0.75
    warp_y = noise(x * 2.2, y * 2.2 + shift, 3) + 0.5 * noise(x * 5, y * 5 + shift, 4) - 0.75
    u, v = x + 0.42 * warp_x, y + 0.42 * warp_y
    veins = torch.zeros_like(x)
    for layer, (scale, width, depth) in enumerate(((2.0, 0.036, 0.75), (4.3, 0.07, 0.42), (9.0, 0.09, 0.22))):
        field = noise((u + lean * v) * scale + shift, (v - lean * u) * scale * 0.35 + shift, 5 + layer)
        strength = noise(x * 3 + shift, y * 3 + shift, 9 + layer)
        veins = veins + depth * bump((field - 0.5) / width) * smooth(strength, 0.25, 0.7)
    clouds = noise(u * 1.6 + shift, v * 1.6, 12) - 0.5 + 0.4 * (noise(u * 4 + shift, v * 4, 13) - 0.5)
    palettes = (
        ((0.90, 0.895, 0.885), (0.47, 0.48, 0.51)),
        ((0.87, 0.83, 0.76), (0.55, 0.42, 0.31)),
        ((0.62, 0.63, 0.645), (0.90, 0.90, 0.90)),
    )
    ground, vein = palettes[int(draw(0, 2.999))]
    stone = _rgb(*ground) * (1 + 0.11 * clouds)
    stone = stone + (_rgb(*vein) - stone) * veins.clamp(0, 0.85)
    joint = bump((x - draw(0.05, 0.95)) / 0.006) + bump((y - draw(0.1, 0.9)) / 0.006)
    gloss = 1 + 0.07 * bump((x + 0.6 * y - draw(0.2, 1.4)) / 0.25)
    return stone * gloss * (1 - 0.22 * joint.clamp(0, 1))


class _Canvas:
    """A small picture to paint boxes and lights on."""

    def __init__(self, aspect: float) -> None:
        self.height, self.width = _SMALL_PX, max(8, round(_SMALL_PX * aspect))
        self.aspect = aspect
        self.x, self.y = _grid(self.width, self.height)
        self.pixels = np.zeros((self.height, self.width, 3), np.float32)
        self.lights = torch.zeros(3, self.height, self.width)

    def fill(self, top: Colour, bottom: Colour) -> None:
        """A gradient over everything."""
        self.pixels[:] = np.linspace(top, bottom, self.height, dtype=np.float32)[:, None]

    def box(self, x: float, y: float, w: float, h: float, colour: Colour) -> None:
        """A box with its upper left corner at (x, y)."""
        x0, x1, y0, y1 = (max(round(v * _SMALL_PX), 0) for v in (x, x + w, y, y + h))
        self.pixels[y0:y1, x0:x1] = colour

    def disc(self, x: float, y: float, radius: float, colour: Colour, strength: float) -> None:
        """A light out of focus: it is not blurred again."""
        away = ((self.x - x) ** 2 + (self.y - y) ** 2).sqrt() / radius
        self.lights += _rgb(*colour) * (strength * (1 - smooth(away, 0.8, 1.15)))

    def enlarged(self, width: int, height: int, blur: float) -> Tensor:
        """(3, H, W): blurred by `blur` picture heights, the lights laid over it."""
        soft = _blurred(torch.from_numpy(self.pixels).permute(2, 0, 1), blur * _SMALL_PX)
        lit = soft + self.lights * (1.05 - soft)
        return _resized(lit, width, height)


def _blurred(picture_3HW: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur, one axis after the other."""
    reach = math.ceil(2.5 * sigma)
    weights = bump(torch.arange(-reach, reach + 1) / (sigma * math.sqrt(2)))
    weights = weights / weights.sum()
    padded = F.pad(picture_3HW[None], (reach, reach, reach, reach), mode="replicate")[0][:, None]
    return F.conv2d(F.conv2d(padded, weights.view(1, 1, 1, -1)), weights.view(1, 1, -1, 1))[:, 0]


def _office(draw: Draw, c: _Canvas) -> None:
    """A bright room: windows on one side, lamps in the ceiling, shelves, screens on desks, a plant."""
    warm = draw(0, 1)
    c.fill((0.74 + 0.05 * warm, 0.75, 0.76 - 0.06 * warm), (0.60 + 0.05 * warm, 0.60, 0.60 - 0.05 * warm))
    c.box(0, 0, c.aspect, draw(0.08, 0.16), (0.80, 0.80, 0.79))
    left = draw(0, 1) > 0.5
    start, wide, pane = (0.0 if left else c.aspect * 0.55), c.aspect * 0.45, draw(0.15, 0.21)
    for i in range(math.ceil(wide / pane)):
        c.box(start + i * pane, 0.17, pane - 0.025, 0.42, (0.90, 0.95, 0.99))
        c.box(start + i * pane, draw(0.42, 0.5), pane - 0.025, 0.12, (0.70, 0.79, 0.80))
    wall = c.aspect * 0.52 if left else 0.0
    for i in range(3):
        for k in range(9):
            tone = draw(0.25, 0.75)
            book = (tone, tone * draw(0.7, 1.0), tone * draw(0.5, 1.0))
            c.box(wall + 0.04 + k * 0.045, 0.20 + 0.13 * i + draw(0, 0.03), 0.04, 0.09, book)
        c.box(wall + 0.03, 0.30 + 0.13 * i, 0.42, 0.02, (0.45, 0.36, 0.28))
    c.box(0, draw(0.66, 0.72), c.aspect, 0.05, (0.63, 0.50, 0.38))
    c.box(0, 0.74, c.aspect, 0.26, (0.34, 0.33, 0.34))
    for i in range(3):
        at = c.aspect * (i + draw(0.1, 0.7)) / 3
        c.box(at, draw(0.52, 0.57), 0.19, 0.12, (0.10, 0.11, 0.13))
        c.box(at + 0.015, 0.56, 0.16, 0.08, (0.36, 0.48, 0.60))
        c.box(at + draw(-0.1, 0.1), 0.78, 0.13, 0.22, (0.16, 0.17, 0.20))
    plant = draw(0.05, 0.95) * c.aspect
    for _ in range(7):
        green = draw(0.25, 0.42)
        c.box(
            plant + draw(-0.08, 0.06),
            draw(0.36, 0.58),
            draw(0.03, 0.07),
            0.12,
            (green * 0.6, green, green * 0.45),
        )
    for i in range(4):
        c.disc((i + draw(0.2, 0.8)) * c.aspect / 4, draw(0.03, 0.11), draw(0.025, 0.04), (1, 0.97, 0.90), 0.9)


def _houses(draw: Draw, c: _Canvas, night: bool) -> None:
    """Two rows of houses that grow smaller towards the end of the street, with rows of windows."""
    end = c.aspect * draw(0.42, 0.58)
    for side in (-1.0, 1.0):
        far = 0.04
        for i in range(5):
            wide = 0.07 + 0.05 * i + draw(0, 0.03)
            x = end + far if side > 0 else end - far - wide
            top = 0.42 - 0.13 * i + draw(-0.05, 0.05)
            tone = draw(0.06, 0.13) if night else draw(0.36, 0.66)
            tint = (1.0, draw(0.86, 0.97), draw(0.74, 0.95)) if not night else (0.8, 0.9, 1.25)
            c.box(x, top, wide, 0.80 - top, (tone * tint[0], tone * tint[1], tone * tint[2]))
            _windows(draw, c, (x, top, wide, 0.66), night, 0.022 + 0.010 * i)
            far += wide


def _windows(
    draw: Draw, c: _Canvas, wall: tuple[float, float, float, float], night: bool, size: float
) -> None:
    """Rows of windows on a wall given as (x, top, width, bottom)."""
    x, top, wide, bottom = wall
    for row in range(int((bottom - top) / (size * 2.1))):
        for k in range(int(wide / (size * 1.7))):
            lit = draw(0, 1)
            colour = (0.30, 0.36, 0.43) if lit < 0.7 else (0.62, 0.70, 0.76)
            if night:
                colour = (0.95, 0.74, 0.42) if lit < 0.32 else (0.05, 0.06, 0.10)
            c.box(x + size * (0.4 + 1.7 * k), top + size * (0.8 + 2.1 * row), size, size * 1.25, colour)


def _city(draw: Draw, c: _Canvas) -> None:
    """By day: sky, houses, trees, road and cars."""
    haze = draw(0, 0.10)
    c.fill((0.60 + haze, 0.73 + haze / 2, 0.87), (0.84, 0.87, 0.89))
    _houses(draw, c, night=False)
    c.box(0, 0.76, c.aspect, 0.24, (0.43, 0.43, 0.44))
    c.box(0, 0.74, c.aspect * draw(0.2, 0.3), 0.26, (0.60, 0.58, 0.55))
    for _ in range(10):
        green = draw(0.26, 0.44)
        at = draw(0, 0.22) if draw(0, 1) > 0.5 else c.aspect - draw(0, 0.22)
        c.box(at - 0.04, draw(0.34, 0.58), draw(0.06, 0.12), 0.12, (green * 0.72, green, green * 0.42))
    for _ in range(4):
        tone = draw(0.1, 0.8)
        car = (tone, tone * draw(0.3, 1.0), tone * draw(0.3, 1.0))
        at = c.aspect * draw(0.1, 0.9)
        c.box(at, 0.71, 0.15, 0.09, car)
        c.box(at + 0.03, 0.67, 0.09, 0.05, (0.25, 0.29, 0.33))
    for _ in range(3):
        c.disc(draw(0, 1) * c.aspect, draw(0.66, 0.80), draw(0.010, 0.018), (1, 0.97, 0.9), 0.6)


def _night(draw: Draw, c: _Canvas) -> None:
    """By night: dark houses, lit windows, and lamps, signs and cars as discs of light."""
    c.fill((0.045, 0.055, 0.11), (0.10, 0.085, 0.12))
    _houses(draw, c, night=True)
    c.box(0, 0.78, c.aspect, 0.22, (0.075, 0.07, 0.085))
    lamps = ((1.0, 0.74, 0.40), (1.0, 0.86, 0.62), (1.0, 0.28, 0.18), (0.35, 0.85, 1.0), (1.0, 0.35, 0.75),
             (0.95, 0.95, 1.0))  # fmt: skip
    for i in range(22):
        low = draw(0, 1)
        y = draw(0.60, 0.84) if low > 0.35 else draw(0.12, 0.60)
        colour = lamps[i % len(lamps)] if draw(0, 1) > 0.4 else lamps[0]
        c.disc(draw(0, 1) * c.aspect, y, draw(0.014, 0.042), colour, draw(0.25, 0.85))
    for _ in range(5):
        at, tone = draw(0, 1) * c.aspect, draw(0.2, 0.5)
        c.box(at, 0.82, 0.03, 0.16, (tone, tone * 0.65, tone * 0.4))


_BRICK_WALL, _MARBLE_WALL, *_SEEN_FAR = vocabulary.PLACES
_WALLS: Final = MappingProxyType({_BRICK_WALL: (_brick, 320), _MARBLE_WALL: (_marble, 112)})
"""What paints a wall, and how many pixels high it is painted at most: it stands a little out of focus."""
_VIEWS: Final = MappingProxyType[str, Callable[[Draw, _Canvas], None]](
    dict(zip(_SEEN_FAR, (_office, _city, _night), strict=True))
)
