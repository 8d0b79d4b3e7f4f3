"""The head: 15 rings lofted into a grid, then nose, lips, cheeks and expression as smooth displacements.

R rows run from the crown down to the throat, C columns around the head (angle 0 in front, positive to
the picture's right).  The grid's topology is the same for everybody; the mouth is a slit of extra rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

from portrait_lora.synthetic.curves import Features, beard_cover, mouth_gap
from portrait_lora.synthetic.geometry import PI, bump, catmull_matrix, loft, power, smooth
from portrait_lora.synthetic.identity import Person
from portrait_lora.synthetic.scene import Scene

# y front, y side, y back, z front, z centre, z back, half width
_RINGS: Final = (
    (1.13, 1.13, 1.12, -0.04, -0.06, -0.08, 0.010),  # 0 crown
    (1.09, 1.07, 1.07, 0.28, -0.06, -0.42, 0.330),
    (0.93, 0.90, 0.90, 0.56, -0.06, -0.76, 0.560),
    (0.66, 0.64, 0.60, 0.735, -0.07, -0.96, 0.700),  # 3 upper forehead
    (0.30, 0.32, 0.28, 0.83, -0.07, -1.00, 0.755),  # 4 brow
    (0.03, 0.06, 0.00, 0.795, -0.06, -0.98, 0.735),  # 5 root of the nose
    (-0.24, -0.20, -0.25, 0.80, -0.04, -0.90, 0.718),  # 6 cheek
    (-0.50, -0.40, -0.46, 0.815, -0.02, -0.78, 0.680),  # 7 base of the nose
    (-0.74, -0.55, -0.62, 0.815, 0.02, -0.68, 0.648),  # 8 mouth
    (-0.94, -0.67, -0.74, 0.795, 0.05, -0.60, 0.605),
    (-1.11, -0.79, -0.85, 0.765, 0.07, -0.56, 0.550),  # 10 chin and jaw line
    (-1.20, -0.86, -0.94, 0.58, 0.03, -0.54, 0.470),
    (-1.22, -1.00, -1.05, 0.22, -0.10, -0.55, 0.435),  # 12 throat
    (-1.52, -1.45, -1.45, 0.14, -0.18, -0.58, 0.430),
    (-2.05, -1.95, -1.95, 0.12, -0.24, -0.66, 0.470),
)
_ROWS_BETWEEN: Final = (4, 4, 5, 7, 11, 12, 13, 12, 9, 6, 4, 4, 3, 3)
_MOUTH_RING: Final = 8
SLIT_ROWS: Final = 5
COLUMNS: Final = 81
_Y_FRONT, _Y_SIDE, _Y_BACK, _Z_FRONT, _Z_CENTRE, _Z_BACK, _WIDTH = range(7)


def _row_table() -> tuple[list[float], list[float]]:
    """Ring position of every row, and its place in the mouth slit (0 upper lip..1 lower lip, else -1)."""
    position, slit = [], []
    for ring, count in enumerate(_ROWS_BETWEEN):
        for j in range(count):
            repeats = SLIT_ROWS if ring == _MOUTH_RING and j == 0 else 1
            position += [ring + j / count] * repeats
            slit += [q / (SLIT_ROWS - 1) for q in range(SLIT_ROWS)] if repeats > 1 else [-1.0]
    return [*position, len(_RINGS) - 1.0], [*slit, -1.0]


RING_OF_ROW, _SLIT = _row_table()
ROWS: Final = len(RING_OF_ROW)
UPPER_LIP_ROW: Final = _SLIT.index(0.0)
LOWER_LIP_ROW: Final = UPPER_LIP_ROW + SLIT_ROWS - 1


@dataclass(frozen=True, slots=True)
class Topology:
    """Constants of the head grid on one device."""

    ring_weights_RK: Tensor
    ring_of_row_R: Tensor
    slit_R: Tensor
    angle_C: Tensor


@dataclass(frozen=True, slots=True)
class Head:
    """One head: `position` moved by features and expression, `rest` before that, both (R, C, 3).

    `lip_height` (R, C) is the rest height above the mouth line.
    """

    position: Tensor
    rest: Tensor
    lip_height: Tensor


@lru_cache(maxsize=4)
def topology(device: torch.device) -> Topology:
    """The head grid's constants; columns are denser in front."""
    s = torch.linspace(-1, 1, COLUMNS)
    angle = PI * (0.42 * s + 0.58 * s.abs() ** 2.6 * s.sign())
    weights = catmull_matrix(RING_OF_ROW, len(_RINGS))
    tensors = (weights, torch.tensor(RING_OF_ROW), torch.tensor(_SLIT), angle)
    return Topology(*(t.to(device) for t in tensors))


@lru_cache(maxsize=4)
def _base_rings(device: torch.device) -> Tensor:
    return torch.tensor(_RINGS, device=device)


def _rings(p: Person, device: torch.device) -> Tensor:
    """(15, 7) control rings of one person."""
    r = _base_rings(device).clone()

    def add(rows: slice, column: int, amount: float, profile: tuple[float, ...]) -> None:
        r[rows, column] += amount * torch.tensor(profile, device=device)

    for column in (_Y_FRONT, _Y_SIDE, _Y_BACK):
        add(slice(0, 4), column, 0.06 * p.head_h, (1.0, 1.0, 0.8, 0.4))
    r[1:9, _WIDTH] *= 1 + 0.042 * p.head_w
    r[1:9, _Z_BACK] *= 1 + 0.03 * p.head_d
    add(slice(2, 5), _Z_FRONT, 0.025 * p.forehead, (1.0, 0.8, 0.1))
    r[5:8, _WIDTH] *= 1 + 0.024 * p.cheek_w
    for ring, amount in ((6, 0.012), (7, 0.028), (8, 0.041), (9, 0.045), (10, 0.045)):
        r[ring, _WIDTH] *= 1 + amount * p.jaw_w
    r[8:12, _Y_SIDE] -= 0.03 * p.jaw_y
    add(slice(8, 12), _Y_FRONT, -0.032 * p.chin_len, (0.2, 0.6, 1.0, 1.0))
    r[8, _Y_FRONT] += 0.018 * p.mouth_y - 0.012 * p.nose_len
    r[9:11, _Z_FRONT] += 0.024 * p.chin_out
    r[7, _Y_FRONT] -= 0.022 * p.nose_len
    r[11:15, _WIDTH] *= 1 + 0.06 * p.neck_w
    r[12:15, _Z_FRONT] += 0.02 * p.neck_w
    return r


def height(p: Person) -> tuple[float, float]:
    """(chin y, crown y) of a person's bare head, in world units."""
    return -1.15 - 0.032 * p.chin_len, 1.13 + 0.06 * p.head_h


class _Sculptor:
    """Gathers displacements of the rest grid; `x` is left-right symmetric through `ax` and `side`."""

    def __init__(self, rest_RC3: Tensor, person: Person, features: Features, scene: Scene) -> None:
        self.p, self.f, self.s = person, features, scene
        self.grid = topology(rest_RC3.device)
        self.rest = rest_RC3
        self.x, self.y, self.z = rest_RC3.unbind(-1)
        self.ax, self.side = self.x.abs(), self.x.sign()
        self.lip = self.y - self.y[UPPER_LIP_ROW]
        self.front = smooth(self.z, 0.05, 0.35)
        self.dx = torch.zeros_like(self.x)
        self.dy = torch.zeros_like(self.x)
        self.dz = torch.zeros_like(self.x)

    def spot(self, ax: float, width: float, y: float, height_: float) -> Tensor:
        """(R, C) soft spot at (+-ax, y)."""
        return bump((self.ax - ax) / width) * bump((self.y - y) / height_)

    def bones(self) -> None:
        """Sockets, brow ridge, cheekbones, temples, eyeballs."""
        p, f = self.p, self.f
        dz = -(0.092 + 0.018 * p.eye_depth) * self.spot(f.eye_x * 0.97, 0.20, f.eye_y + 0.02, 0.125)
        dz += (0.035 + 0.016 * p.brow_ridge) * self.spot(0.24, 0.26, f.brow_y + 0.03, 0.085)
        dz += 0.035 * self.spot(0.0, 0.2, 0.55, 0.25)
        cheekbone = self.spot(0.46, 0.20, -0.25, 0.17)
        dz += (0.045 + 0.014 * p.cheek_w) * cheekbone
        self.dx += self.side * 0.03 * cheekbone
        dz += (0.016 + 0.044 * p.cheek_full) * self.spot(0.42, 0.21, -0.50, 0.22)
        dz -= (0.004 + 0.010 * max(p.hollow, 0.0)) * self.spot(0.48, 0.14, -0.5, 0.18)
        dz -= 0.03 * self.front * self.spot(0.66, 0.12, 0.25, 0.2)
        away = (self.ax - f.eye_x) ** 2 + (self.y - f.eye_y) ** 2
        dz += 0.075 * torch.exp(-1.15 * away / (f.eye_width * 1.02) ** 2)
        dz -= (0.005 + 0.006 * p.age) * self.spot(f.eye_x - 0.06, 0.12, -0.155, 0.035)
        self.dz += dz

    def nose(self) -> None:
        """Bridge, tip, wings and the grooves beside them."""
        p, f, ax, y = self.p, self.f, self.ax, self.y
        t = ((0.06 - y) / (0.06 - f.nose_tip_y)).clamp(0, 1)
        profile = (0.205 + 0.033 * p.nose_out) * (0.20 * t + 0.80 * t**1.55)
        profile += 0.018 * max(p.nose_hump, -1.3) * bump((t - 0.42) / 0.25) + 0.045 * bump((y - 0.04) / 0.12)
        base = f.nose_tip_y - f.nose_base_y + 0.01
        profile = profile * (1 - smooth(f.nose_tip_y - y, 0.012, base))
        width = (0.052 + 0.008 * p.bridge_w) + (0.045 + 0.007 * p.nose_w) * smooth(-y, 0.12, 0.36)
        r = ax / width
        self.dz += profile * torch.exp(-0.5 * r * r * (1 + 0.10 * r * r)) * self.front
        self.dz += 0.05 * self.spot(0.0, 0.20, -0.2, 0.22)
        wing = self.spot(f.nose_width * 0.84, f.nose_width * 0.40, f.nose_base_y + 0.065, 0.062)
        self.dz += (0.080 + 0.01 * p.nose_w) * wing
        self.dx += self.side * 0.012 * wing
        self.dz += 0.034 * self.spot(0.0, 0.105, f.nose_tip_y + 0.01, 0.075)
        under = self.spot(0.0, 0.12, (f.nose_tip_y + f.nose_base_y) / 2, 0.06)
        self.dy += (-0.045 + 0.03 * p.nose_up) * under
        self.dz -= 0.030 * self.spot(f.nose_width * 1.28, 0.04, f.nose_base_y + 0.06, 0.06)

    def mouth_and_chin(self) -> None:
        """Folds beside the nose, philtrum, lips and chin."""
        p, f, ax, y, lip = self.p, self.f, self.ax, self.y, self.lip
        fold = ax - (f.nose_width + 0.035 + (f.nose_base_y + 0.08 - y) * 0.42)
        fold = bump(fold / 0.045) * smooth(-y, 0.42, 0.5) * (1 - smooth(-y, 0.70, 0.86))
        self.dz -= (0.008 + 0.009 * p.age + 0.020 * self.s.smile) * fold
        philtrum = bump((lip - 0.17) / 0.05)
        self.dz += philtrum * (0.008 * bump((ax - 0.06) / 0.035) - 0.014 * bump(ax / 0.035))
        self.dz += 0.055 * bump(ax / 0.34) * bump((lip + 0.01) / 0.20)
        across = 1 - smooth((ax / f.mouth_width).clamp(0, 1.3), 0.55, 1.08)
        upper, lower = f.upper_lip, f.lower_lip
        self.dz += (0.036 + 0.010 * p.lip_up) * bump((lip - upper * 0.50) / (upper * 0.62)) * across
        self.dz += (0.046 + 0.012 * p.lip_lo) * bump((lip + lower * 0.50) / (lower * 0.58)) * across
        self.dz -= 0.040 * bump(lip / 0.016) * across
        self.dz -= 0.030 * bump((ax - f.mouth_width * 1.02) / 0.045) * bump(lip / 0.05)
        self.dz -= 0.050 * bump(ax / 0.25) * bump((lip + lower + 0.075) / 0.055)
        chin_y = -0.99 - 0.032 * p.chin_len
        self.dz += 0.055 * self.spot(0.0, 0.19 + 0.028 * p.chin_w, chin_y, 0.10)

    def brows_and_cheeks(self) -> None:
        """Smiling cheeks and mouth corners, raised or frowning brows."""
        s, f, ax = self.s, self.f, self.ax
        corner = bump((ax - f.mouth_width) / 0.12) * bump(self.lip / 0.13)
        self.dx += self.side * corner * (0.062 * s.smile + 0.01 * s.frown - 0.030 * s.mouth_open)
        self.dy += corner * (0.066 * s.smile - 0.065 * s.frown)
        self.dz -= corner * 0.055 * s.smile
        cheek = self.spot(0.40, 0.17, -0.33, 0.13)
        self.dz += 0.050 * s.smile * cheek
        self.dy += 0.035 * s.smile * cheek
        brow = self.spot(0.27, 0.25, 0.24, 0.15)
        self.dy += 0.080 * s.brow_raise * brow
        self.dz += 0.01 * s.brow_raise * brow
        inner = self.spot(0.14, 0.10, 0.2, 0.12)
        self.dy -= 0.070 * s.frown * inner
        self.dx -= self.side * 0.035 * s.frown * inner
        self.dz += 0.015 * s.frown * inner

    def jaw(self) -> None:
        """Opens the mouth slit and drops the jaw."""
        f, ax, lip = self.f, self.ax, self.lip
        gap = mouth_gap(self.s)
        softness = 0.005 + 0.55 * (ax / f.mouth_width - 0.80).clamp(min=0)
        moved = torch.sigmoid(-(lip - 1e-4) / (softness * 0.25))
        slit = self.grid.slit_R[:, None]
        inside = power(1 - (ax / (f.mouth_width * 0.98)) ** 2, 0.7)
        moved = torch.where(slit >= 0, 0.5 + (slit - 0.5) * inside.sqrt(), moved)
        neck = smooth(self.grid.ring_of_row_R[:, None], 10.8, 12.6)
        moved = moved * smooth(self.z, -0.25, 0.25) * (1 - neck)
        self.dy -= 0.30 * gap * moved
        self.dz -= 0.085 * gap * moved
        lifted = bump(ax / (f.mouth_width * 0.8)) * smooth(lip, -0.001, 0.001) * bump(lip / 0.12)
        self.dy += 0.030 * gap * lifted
        deep = (slit > 0) & (slit < 1)
        self.dz = torch.where(deep, self.dz - 0.16 * min(gap * 3, 1.0) * inside, self.dz)

    def beard(self) -> None:
        """Gives a full beard some volume."""
        cover = 0.05 * beard_cover(self.rest, self.lip, self.f, goatee=False)
        self.dz += cover * smooth(self.z, 0.1, 0.6)
        self.dy -= cover * smooth(-self.y, 0.9, 1.1) * 1.2
        self.dx += self.side * cover * 0.6

    def result(self) -> Tensor:
        """(R, C, 3) displaced grid; x and z move in front only (and in the mouth)."""
        gate = torch.maximum(self.front, (self.grid.slit_R[:, None] >= 0).float())
        return self.rest + torch.stack([self.dx * gate, self.dy, self.dz * gate], -1)


def build_head(person: Person, features: Features, scene: Scene, device: torch.device) -> Head:
    """The head grid of one person with one expression."""
    grid = topology(device)
    control = _rings(person, device)
    rings = (grid.ring_weights_RK[:, :, None] * control[None]).sum(1)
    rest = loft(rings, grid.angle_C, 0.92, 0.88)
    x, y, z = rest.unbind(-1)
    chin = smooth(-y, 0.60, 1.05) * smooth(z, 0.2, 0.55)
    rest = torch.stack([x * (1 + chin * (0.10 * person.chin_w - 0.02)), y, z], -1)
    sculptor = _Sculptor(rest, person, features, scene)
    sculptor.bones()
    sculptor.nose()
    sculptor.mouth_and_chin()
    sculptor.brows_and_cheeks()
    sculptor.jaw()
    if int(person.beard) == 3:
        sculptor.beard()
    return Head(sculptor.result(), rest, sculptor.lip)
