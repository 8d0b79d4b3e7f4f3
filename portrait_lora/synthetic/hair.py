"""Hair: a cap grown from the scalp, a curtain for bob and long hair, a bun.

One style per person, so only the meshes of that style are built.  `rise` is the rest height above the
hairline: positive where hair grows.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

from portrait_lora.synthetic import hats
from portrait_lora.synthetic import head as head_grid
from portrait_lora.synthetic.geometry import PI, bump, noise, power, ripples, smooth, unit
from portrait_lora.synthetic.head import Head
from portrait_lora.synthetic.identity import Person

CURLY: Final = ("curly hair", "afro")
CURTAINED: Final = ("bob hair", "long hair", "centre-parted hair")
CURTAIN_ROWS, CURTAIN_COLUMNS = 26, 61
BUN_ROWS, BUN_COLUMNS = 14, 25
_LAST_CAP_RING: Final = 12.6

# Height of the hairline at these angles from the front, in radians.
_ANGLES: Final = (0.0, 0.35, 0.70, 0.95, 1.15, 1.32, 1.45, 1.75, 2.0, 2.5, PI)
_SHORT: Final = (0.70, 0.69, 0.62, 0.40, 0.22, -0.12, -0.10, 0.08, -0.45, -0.72, -0.78)
_FRINGE: Final = (0.36, 0.35, 0.31, 0.17, 0.02, -0.35, -0.5, -0.5, -0.7, -0.8, -0.82)
_LONG: Final = (0.72, 0.70, 0.58, 0.28, 0.0, -0.6, -2.0, -2.0, -2.0, -2.0, -2.0)
_BOB: Final = _FRINGE[:5] + _LONG[5:]
_HEIGHT_SHIFT: Final = (1, 1, 1, 0.6, 0.3, 0, 0, 0, 0, 0, 0)
_RECESS_SHIFT: Final = (0, 0.3, 1, 0.6, 0.1, 0, 0, 0, 0, 0, 0)


@lru_cache(maxsize=4)
def cap_rows(device: torch.device) -> Tensor:
    """Rows of the head grid that the cap uses: every second one above the throat."""
    rows = [i for i in range(0, head_grid.ROWS, 2) if head_grid.RING_OF_ROW[i] < _LAST_CAP_RING]
    return torch.tensor(rows, device=device)


def hairline(person: Person, device: torch.device) -> Tensor:
    """(C,) rest height of the hairline at every column of the head grid."""
    style = person.style_name
    knots = {"fringe hair": _FRINGE, "bob hair": _BOB}.get(style, _LONG if style in CURTAINED else _SHORT)
    base = torch.tensor(knots) + (person.hairline - 0.5) * 0.12 * torch.tensor(_HEIGHT_SHIFT)
    if person.female < 0.5 and style != "fringe hair":
        base = base + person.recess * 0.16 * torch.tensor(_RECESS_SHIFT)
    angles = torch.tensor(_ANGLES)
    at = head_grid.topology(torch.device("cpu")).angle_C.abs()
    i = torch.searchsorted(angles, at.contiguous()).clamp(1, len(_ANGLES) - 1)
    t = (at - angles[i - 1]) / (angles[i] - angles[i - 1])
    t = t * t * (3 - 2 * t)
    return (base[i - 1] * (1 - t) + base[i] * t).to(device)


def rise_above_hairline(person: Person, head: Head) -> Tensor:
    """(R, C) rest height above an uneven hairline."""
    grid = head_grid.topology(head.rest.device)
    x, y, z = head.rest.unbind(-1)
    rise = y - hairline(person, head.rest.device)
    rise = rise + 0.022 * ripples(x * 2, y * 0.7, z * 2, person.phase)
    if person.style_name not in CURLY:
        column = torch.arange(head_grid.COLUMNS, device=x.device) * 0.71 + person.phase
        rise = rise + 0.05 * (noise(column, torch.zeros_like(column), 4) - 0.5) * smooth(z, -0.1, 0.3)
    return torch.where(grid.ring_of_row_R[:, None] > 12.2, rise.clamp(max=-0.2), rise)


def _thickness(person: Person, rest_RC3: Tensor) -> Tensor:
    """(R, C) thickness of the cap, before it thins towards its edge."""
    x, y, z = rest_RC3.unbind(-1)
    phase, volume = person.phase, 0.5 + person.hair_vol
    side = 1.0 if person.part > 0.5 else -1.0
    top = smooth(y, 0.3, 0.95)
    across = x * side
    match person.style_name:
        case "buzz cut":
            return torch.full_like(x, 0.018)
        case "short hair":
            return 0.045 + 0.07 * top * volume + 0.02 * ripples(x, y, z, phase) * top
        case "side-parted hair":
            groove = bump((across - 0.28) / 0.05) * smooth(z, -0.4, 0.2)
            sweep = 1 + 0.55 * torch.tanh((0.28 - across) * 4)
            return 0.05 + 0.12 * top * volume * sweep * (1 - 0.8 * groove)
        case "quiff":
            crest = 0.08 + 0.22 * bump((z - 0.45) / 0.35) * bump(x / 0.45)
            return 0.035 + top * volume * crest + 0.02 * ripples(x, y, z, phase) * top
        case "curly hair":
            curls = ripples(x * 2.6, y * 2.6, z * 2.6, phase)
            return 0.07 + 0.09 * top * volume + 0.055 * curls
        case "fringe hair":
            return 0.07 + 0.09 * top * volume
        case "bob hair":
            return 0.125 + 0.09 * top * volume
        case "long hair":
            sweep = 1 + 0.4 * torch.tanh((0.2 - across) * 4)
            return 0.115 + 0.10 * top * volume * sweep * (1 - 0.6 * bump((across - 0.2) / 0.05))
        case "centre-parted hair":
            return 0.11 + 0.10 * top * volume * (1 - 0.75 * bump(x / 0.06) * smooth(z, -0.5, 0.1))
        case "bun hair":
            return 0.035 + 0.03 * top
        case "afro":
            curls = ripples(x * 2.2, y * 2.2, z * 2.2, phase)
            return 0.22 + 0.22 * volume * smooth(y, -0.3, 0.8) + 0.03 * curls
    return torch.full_like(x, -0.06)


def build_cap(person: Person, head: Head, rise_RC: Tensor) -> tuple[Tensor, Tensor]:
    """Cap grid (rows of `cap_rows`, C, 3) and its rise."""
    rows = cap_rows(rise_RC.device)
    rest, base, rise = head.rest[rows], head.position[rows], rise_RC[rows]
    x, y, z = rest.unbind(-1)
    style = person.style_name
    thickness = _thickness(person, rest)
    around = torch.atan2(x, z + 0.1)
    if style not in CURLY:
        clump = torch.sin(around * 23 + person.phase * 3 + 2 * torch.sin(y * 5))
        thickness = thickness * (1 + 0.16 * clump * torch.sin(around * 11 + person.phase))
    if person.hatted:
        thickness = torch.minimum(thickness, hats.room_for_hair(person, y))
    edge = smooth(rise, -0.02, 0.25) if style == "afro" else smooth(rise, 0.0, 0.16)
    grown = thickness * edge + 0.25 * rise.clamp(max=0.03)
    offset = torch.where(rise > 0, grown, (0.6 * rise).clamp(min=-0.42))
    centre = torch.stack([torch.zeros_like(x), y * 0.35 + 0.15, torch.full_like(x, -0.1)], -1)
    position = base + unit(rest - centre) * offset[..., None]
    if style == "quiff" and not person.hatted:
        crest = bump((z - 0.6) / 0.25) * bump(x / 0.4) * smooth(rise, 0, 0.15)
        position[..., 1] += 0.10 * (0.5 + person.hair_vol) * crest
    return position, rise


def build_curtain(person: Person, device: torch.device) -> Tensor:
    """(CURTAIN_ROWS, CURTAIN_COLUMNS, 3): hair hanging at the sides and the back, open in front."""
    bob = 1.0 if person.style_name == "bob hair" else 0.0
    free = 1 - bob
    t = torch.linspace(0, 1, CURTAIN_ROWS, device=device)[:, None]
    u = torch.linspace(-1, 1, CURTAIN_COLUMNS, device=device)[None]
    length = 1.45 + 0.2 * person.hair_vol if bob else 2.1 + 0.5 * person.hair_vol
    volume = 0.6 + 0.6 * person.hair_vol
    bulge = power(torch.sin(t.mul(1.1).clamp(0, 1) * PI), 0.8)
    wave = torch.sin(t * 9 + person.moles[0][0] * 6) * 0.03 * person.hair_vol
    width = 0.735 * (1 + 0.03 * person.head_w) + 0.085 + 0.085 * volume * bulge + wave
    width = width * (1 - bob * 0.22 * smooth(t, 0.75, 1)) - 0.11 * (1 - smooth(t, 0, 0.45))
    width = width + free * 0.05 * smooth(t, 0.6, 1)
    z_back = -1.10 - 0.08 * volume * torch.sin(t * PI) + 0.35 * smooth(t, 0.4, 0.8)
    z_back = z_back - 0.15 * free * smooth(t, 0.7, 1) + 0.14 * (1 - smooth(t, 0, 0.22))
    z_front = 0.60 - 0.1 * t - 0.16 * (1 - smooth(t, 0, 0.25)) + free * 0.12 * smooth(t, 0.6, 1)
    z_centre = -0.06 - 0.05 * t
    start = 0.98 + 0.16 * smooth(t, 0.2, 0.5) - free * 0.18 * smooth(t, 0.6, 1)
    angle = PI + u * (PI - start)
    cos, sin = angle.cos(), angle.sin()
    edge = smooth(1 - u.abs(), 0, 0.10)
    width = width - (0.16 - 0.05 * t) * (1 - edge)
    width = width + 0.018 * torch.sin(u * 11 + 4 * t) * smooth(t, 0.15, 0.5) * edge
    x = width * sin.sign() * power(sin.abs(), 0.9)
    reach = torch.where(cos > 0, z_front - z_centre, z_back - z_centre)
    z = z_centre + reach * power(cos.abs(), 0.9) - 0.10 * (1 - edge)
    strands = 0.05 * (noise(u * 40 + person.phase, t * 2, 6) - 0.5)
    y = (
        0.62
        - t * length
        - 0.06 * cos * t
        + 0.28 * (1 - edge) * smooth(t, 0.7, 1)
        + strands * smooth(t, 0.85, 1)
    )
    wavy = 1 + 0.018 * torch.sin(u * 40 + t * 3) * smooth(t, 0.1, 0.4)
    return torch.stack([x * wavy, y.expand_as(x), z * wavy], -1)


def build_bun(person: Person, device: torch.device) -> Tensor:
    """(BUN_ROWS, BUN_COLUMNS, 3): a ball of hair on top of the head or behind it."""
    polar = torch.linspace(0, PI, BUN_ROWS, device=device)[:, None]
    around = torch.linspace(-PI, PI, BUN_COLUMNS, device=device)[None]
    ball = torch.stack(
        [polar.sin() * around.sin(), polar.cos().expand(-1, BUN_COLUMNS), polar.sin() * around.cos()], -1
    )
    centre = (0.0, 1.26 + 0.06 * person.head_h, -0.40) if person.part > 0.5 else (0.0, 0.45, -1.20)
    return torch.tensor(centre, device=device) + ball * (0.26 + 0.1 * person.hair_vol)
